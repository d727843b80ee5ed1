//! Creating a container: the intermediate's side, and the first process's side up to [`crate::finish`].
//!
//! The intermediate does what needs the host: it opens bind sources and the root, makes the cgroup, clones, writes id maps.
//! The copy waits for it only where it must (maps, cgroups of version 1), and builds its world meanwhile.

use crate::cgroup_mount;
use crate::devices;
use crate::error::{Context, Error};
use crate::finish::{self, Finish, Streams};
use crate::hooks::{self, Moment};
use crate::joining::{self, Joining};
use crate::labels::{self, Labels};
use crate::launch::{Channels, Create, Stdio};
use crate::masks;
use crate::mounts::{self, Facts, Owners};
use crate::net_devices::NetDevices;
use crate::notify::{self, Notify};
use crate::options;
use crate::outside::{self, Outside};
use crate::placement::Placement;
use crate::plan::{self, Namespaces};
use crate::privileges;
use crate::report::Report;
use crate::rootfs;
use crate::scheduling::{self, Scheduling};
use crate::seccomp::Filter;
use crate::sysctl;
use crate::terminal;
use crate::times;
use crate::trees::{self, Interface};
use oci_spec::runtime::{Linux, Process};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::clone::{NEW_CGROUP, NEW_NET, NEW_TIME, NEW_USER, NEW_UTS, Side};
use types::idmap::{render, to_host};

/// Creates the container, as a child of the caller's parent, and returns when its first process is on its way. The caller has
/// no other threads, and ends after this. All results are [`Report`]s.
pub fn create(create: &Create, channels: Channels) {
    let report = match sys::process::out_of_the_way(channels.report) {
        Ok(report) => report,
        Err(_) => return,
    };
    if let Err(error) = launch(create, channels.stdio, channels.start, report.as_fd()) {
        fail(report.as_fd(), &error);
    }
}

/// True if a container's processes may make nodes: those that it is to have are made in its group, before its capabilities go.
pub(crate) fn makes_nodes(spec: &oci_spec::runtime::Spec) -> bool {
    let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    asked.is_some_and(|devices| !devices.is_empty())
        || spec.process().as_ref().is_some_and(|process| privileges::may_gain(process, sys::capability::MKNOD))
}

/// Reports `error`. There is nobody else to tell if that fails.
pub(crate) fn fail(report: BorrowedFd<'_>, error: &Error) {
    let _ = rustix::io::write(report, &Report::Failed { code: error.code(), message: error.to_string() }.line());
}

/// All that the first process takes along from the intermediate.
struct First<'a> {
    create: &'a Create,
    process: &'a Process,
    linux: &'a Linux,
    plan: &'a Namespaces,
    /// Kinds of namespaces that are not the runtime's.
    own: u64,
    /// To be joined.
    mount_namespace: Option<OwnedFd>,
    interface: Interface,
    mounts: Vec<mounts::Prepared>,
    root: Option<rootfs::Prepared>,
    filter: Option<Filter>,
    stdio: Option<Stdio>,
    start: Option<OwnedFd>,
    may_make_devices: bool,
    /// Nodes that it could not make itself.
    made: Option<devices::Made>,
    /// Its process id, as the original sees it, comes when the original has done its part.
    wait: Option<OwnedFd>,
    /// Told when everything is mounted, if the original has more to do then.
    ready: Option<OwnedFd>,
    /// The connection to who decides on system calls.
    agent: Option<OwnedFd>,
    /// As the original sees it; 0 if nobody needs it.
    pid: i32,
}

fn launch(create: &Create, stdio: Stdio, start: Option<OwnedFd>, report: BorrowedFd<'_>) -> Result<(), Error> {
    sys::process::close_on_exec_from(3).step("close descriptors")?;
    sys::signals::ignore_broken_pipes().step("ignore broken pipes")?;
    let missing =
        |what: &str| Error::Unsupported { what: format!("a specification without {what}"), instead: "add it" };
    let process = create.spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let linux = create.spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    plan::refuse(&create.spec)?;
    let plan = plan::namespaces(linux)?;
    let filter = plan::filter(linux.seccomp().as_ref(), create.filter.as_ref())?;
    let joining = Joining::open(&plan, &create.owners)?;
    let devices = NetDevices::prepare(linux, plan.new | joining.foreign())?;
    let outside = Outside::prepare(create, Scheduling::read(process)?, devices)?;
    let agent = notify::connect(filter.as_ref())?;
    let interface = Interface::probe();
    let stdio = own_streams(stdio, &plan)?;
    let start = start.map(sys::process::out_of_the_way).transpose().step("move the start pipe")?;
    let specified = create.spec.mounts().as_deref().unwrap_or_default();
    let owners =
        Owners { uids: &plan.uids, gids: &plan.gids, joined: joining.user().map(|namespace| namespace.as_fd()) };
    let label = labels::of_mounts(linux)?;
    let mounts = mounts::prepare(interface, specified, &create.bundle, &owners, label)?;
    if let Some(score) = process.oom_score_adj() {
        // Less than what this host allows us is cut to it (EACCES without CAP_SYS_RESOURCE).
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    privileges::raise_limits(process.rlimits().as_deref().unwrap_or_default());
    let may_make_devices = plan.new & NEW_USER == 0
        && !plan.join.iter().any(|(kind, _)| *kind == NEW_USER)
        && sys::namespaces::in_initial_user_namespace();
    let asked = linux.devices().as_deref().filter(|_| plan.new & NEW_USER != 0).unwrap_or_default();
    let made = devices::prepare(interface, asked, &plan.uids, &plan.gids)?;
    let mut placement = Placement::create(linux, &create.id, create.everywhere, makes_nodes(&create.spec))?;
    let launched = (|| {
        let root = rootfs::prepare(interface, &create.rootfs)?;
        let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
        let (ready, told) = match outside.is_needed() {
            true => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map(|(r, t)| (Some(r), Some(t))),
            false => Ok((None, None)),
        }
        .step("make a pipe")?;
        let own = plan.new | joining.foreign();
        let mount_namespace = joining.enter(&mut placement, create.keep_groups)?;
        if plan.new & NEW_TIME != 0 {
            times::make(&plan.clocks)?;
        }
        if plan.new & NEW_USER == 0 {
            sys::process::set_dumpable(false).step("keep others from tracing")?;
        }
        let mut first = First {
            create,
            process,
            linux,
            plan: &plan,
            own,
            mount_namespace,
            interface,
            mounts,
            root: Some(root),
            filter,
            stdio: Some(stdio),
            start,
            may_make_devices,
            made,
            wait: Some(wait),
            ready: told,
            agent,
            pid: 0,
        };
        let namespaces = plan.new & !(NEW_CGROUP | NEW_TIME);
        let pid = match placement.clone(namespaces).map_err(|source| namespace(plan.new, "make", source))? {
            Side::Child => {
                drop((go, ready));
                let error = first.run(&mut placement, report);
                fail(report, &error);
                sys::clone::exit_now(i32::from(error.code()))
            }
            Side::Parent(pid) => pid,
        };
        (first.wait, first.ready) = (None, None);
        settle(pid, &plan, &placement).inspect_err(|_| sys::process::kill_number(pid, 9))?;
        let start_time = sys::process::start_time(pid).step("read the start time of the first process")?;
        let created = Report::Created { pid, start_time, cgroup: placement.name() };
        rustix::io::write(report, &created.line()).step("report")?;
        // The first process may have failed and gone already: what it reported counts.
        let _ = rustix::io::write(&go, &pid.to_le_bytes());
        if let Some(ready) = ready
            && outside.serve(pid, &ready).inspect_err(|_| sys::process::kill_number(pid, 9))?
        {
            let _ = rustix::io::write(&go, b"g");
        }
        Ok(())
    })();
    if launched.is_err() {
        placement.remove();
    }
    launched
}

pub(crate) fn namespace(kinds: u64, step: &'static str, source: Errno) -> Error {
    let has = |kind: &u64| std::fs::exists(format!("/proc/self/ns/{}", plan::file(*kind))).unwrap_or(true);
    let kernel_lacks = (0..64).map(|bit| 1 << bit).find(|kind| kinds & kind != 0 && !has(kind));
    if let (Some(kind), Errno::INVAL | Errno::NOSYS) = (kernel_lacks, source) {
        let what = format!("a {} namespace", plan::name(kind));
        return Error::Unsupported { what, instead: "this kernel is built without that kind; leave it out" };
    }
    let kind =
        (0..64).map(|bit| 1 << bit).filter(|bit| kinds & bit != 0).map(plan::name).collect::<Vec<_>>().join(", ");
    Error::Namespace { kind, step, source }
}

/// The streams at numbers that placing others at 0, 1 and 2 cannot hit, and owned by the container's root.
fn own_streams(stdio: Stdio, plan: &Namespaces) -> Result<Stdio, Error> {
    Ok(match stdio {
        Stdio::Terminal(socket) => {
            Stdio::Terminal(sys::process::out_of_the_way(socket).step("move the terminal's socket")?)
        }
        Stdio::Descriptors(streams) => {
            let [a, b, c] = streams.map(sys::process::out_of_the_way);
            let streams = [a.step("move a stream")?, b.step("move a stream")?, c.step("move a stream")?];
            if let (Some(uid), Some(gid)) = (to_host(&plan.uids, 0), to_host(&plan.gids, 0)) {
                for stream in &streams {
                    let mode = rustix::fs::fstat(stream).step("look at a stream")?.st_mode;
                    if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Fifo {
                        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                    }
                }
            }
            Stdio::Descriptors(streams)
        }
    })
}

/// What the copy waits for: its cgroup and its id maps.
fn settle(pid: i32, plan: &Namespaces, placement: &Placement) -> Result<(), Error> {
    placement.settle(pid)?;
    if plan.new & NEW_USER != 0 {
        let deny = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
        sys::namespaces::write_maps(pid, &render(&plan.uids), &render(&plan.gids), deny)
            .map_err(|source| namespace(NEW_USER, "write the id maps", source))?;
    }
    Ok(())
}

impl First<'_> {
    /// Becomes the program; comes back only with the reason why not.
    fn run(mut self, placement: &mut Placement, report: BorrowedFd<'_>) -> Error {
        match self.build(placement) {
            Ok((streams, labels)) => {
                let moment = Moment::StartContainer;
                let state = || outside::state(self.create, moment, self.pid);
                let notify = self.agent.take().zip(self.filter.as_ref());
                let finish = Finish {
                    process: self.process,
                    container: &self.create.id,
                    user: self.create.user.as_deref(),
                    groups: &self.create.groups,
                    keep_groups: self.create.keep_groups,
                    create_cwd: self.create.create_cwd,
                    init: self.create.init,
                    preserved: self.create.preserved,
                    kept: &self.create.kept,
                    filter: self.filter.as_ref(),
                    report,
                    start: self.start.as_ref(),
                    labels,
                    notify: notify.map(|(agent, filter)| {
                        let state = outside::state(self.create, Moment::CreateContainer, self.pid);
                        Notify::new(agent, filter, self.pid, state)
                    }),
                    hooks: Some((moment.hooks(&self.create.spec), state())).filter(|(hooks, _)| !hooks.is_empty()),
                };
                finish.run(streams)
            }
            Err(error) => error,
        }
    }

    fn build(&mut self, placement: &mut Placement) -> Result<(Streams, Labels), Error> {
        self.settle_down(placement)?;
        if let Some(namespace) = self.mount_namespace.take() {
            joining::enter_mounts(&namespace)?;
        }
        // Nothing of the container's must reach the host's mounts; what the host mounts later may reach the container's, if
        // the specification says so.
        const MS_REC: u64 = 1 << 14;
        const MS_PRIVATE: u64 = 1 << 18;
        const MS_SLAVE: u64 = 1 << 19;
        let asked = match self.linux.rootfs_propagation().as_deref() {
            None | Some("") => None,
            Some(name) => Some(options::root_propagation(name).ok_or_else(|| Error::Unsupported {
                what: format!("rootfsPropagation {name:?}"),
                instead: "use private, slave, shared or unbindable, or each with r",
            })?),
        };
        let outer = if asked.is_some_and(|flags| flags & MS_PRIVATE == 0) { MS_SLAVE } else { MS_PRIVATE };
        rootfs::keep_mounts(self.interface, MS_REC | outer)?;
        let labels = Labels::open(self.process)?;
        let hooks = self.has_hooks_before_the_start();
        let root = rootfs::attach(self.root.take().ok_or(Errno::BADF).step("take the root")?, hooks)?;
        let streams = self.furnish(placement, root.as_fd())?;
        self.meet_the_original()?;
        if hooks {
            self.run_hooks()?;
        }
        self.close_the_root(root.as_fd())?;
        rootfs::change_root(root.as_fd(), self.interface, self.create.no_pivot)?;
        if let Some(flags) = asked {
            sys::mount::propagate_root(flags).step("set the propagation of the root")?;
        }
        Ok((streams, labels))
    }

    /// Hooks that look for the root where the bundle has it.
    fn has_hooks_before_the_start(&self) -> bool {
        let moments = [Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer];
        self.create.spec.hooks().is_some() && moments.iter().any(|m| !m.hooks(&self.create.spec).is_empty())
    }

    /// Lets the original do what it can do only now.
    fn meet_the_original(&mut self) -> Result<(), Error> {
        if let (Some(ready), Some(wait)) = (self.ready.take(), &self.wait) {
            rustix::io::write(&ready, b"r").step("tell that all is mounted")?;
            read_exactly(wait, &mut [0u8; 1])?;
        }
        Ok(())
    }

    fn run_hooks(&self) -> Result<(), Error> {
        let moment = Moment::CreateContainer;
        let list = moment.hooks(&self.create.spec);
        if list.is_empty() {
            return Ok(());
        }
        hooks::run(moment, list, &outside::state(self.create, moment, self.pid))
    }

    /// The process itself: session, user namespace, cgroup namespace, keys, names, loopback.
    fn settle_down(&mut self, placement: &mut Placement) -> Result<(), Error> {
        sys::signals::reset().step("reset signals")?;
        rustix::process::umask(Mode::empty());
        rustix::process::setsid().map(drop).step("start a session")?;
        placement.enter()?;
        let needs_pid = self.create.spec.hooks().is_some() || self.agent.is_some() || self.ready.is_some();
        if let Some(wait) = self.wait.as_ref().filter(|_| needs_pid || placement.must_wait(self.plan)) {
            let mut pid = [0u8; 4];
            read_exactly(wait, &mut pid)?;
            self.pid = i32::from_le_bytes(pid);
        }
        // Processes that share its pid namespace must not trace it, nor open what it has open, until it executes the program.
        // Not before the id maps are there: their files would belong to somebody else.
        sys::process::set_dumpable(false).step("keep others from tracing")?;
        if self.plan.new & NEW_USER != 0 {
            become_root(self.create.keep_groups)?;
        }
        if !self.create.keep_keyring {
            privileges::new_session_keyring()?;
        }
        let own = self.own & NEW_UTS != 0;
        let names = [self.create.spec.hostname(), self.create.spec.domainname()];
        if !own && names.iter().any(|name| name.as_ref().is_some_and(|name| !name.is_empty())) {
            return Err(Error::Unsupported {
                what: "a hostname or domainname without a uts namespace".into(),
                instead: "it would be the host's; add {\"type\": \"uts\"} to the namespaces",
            });
        }
        if let Some(name) = self.create.spec.hostname().as_deref().filter(|name| !name.is_empty()) {
            rustix::system::sethostname(name.as_bytes()).step("set the host name")?;
        }
        if let Some(name) = self.create.spec.domainname().as_deref().filter(|name| !name.is_empty()) {
            sys::process::set_domain_name(name.as_bytes()).step("set the domain name")?;
        }
        if self.plan.new & NEW_NET != 0 {
            sys::loopback::up().step("bring the loopback device up")?;
        }
        Ok(())
    }

    /// Makes the root read-only, if it is to be. Hooks of the creation still write to it, as with runc and crun.
    fn close_the_root(&self, root: BorrowedFd<'_>) -> Result<(), Error> {
        if !self.create.spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false) {
            return Ok(());
        }
        if self.create.create_cwd {
            let owner = match &self.create.user {
                None => None,
                // Whoever is not to be found is an error when the process becomes that user.
                Some(user) => crate::user::resolve(root, user, &[]).ok().map(|who| (who.uid, who.gid)),
            };
            finish::make_working_directory(root, self.process.cwd(), owner)?;
        }
        trees::make_read_only(self.interface, root).step("make the root read-only")
    }

    /// Everything below the new root, while the host's is still there.
    fn furnish(&mut self, placement: &Placement, root: BorrowedFd<'_>) -> Result<Streams, Error> {
        let own_cgroup = self.plan.new & NEW_CGROUP != 0;
        let facts = Facts {
            interface: self.interface,
            cgroup_namespace: own_cgroup || self.plan.join.iter().any(|(kind, _)| *kind == NEW_CGROUP),
            hierarchies: match mounts::has_cgroup(&self.mounts) {
                true => cgroup_mount::own_hierarchies(placement.name().as_deref()),
                false => Vec::new(),
            },
        };
        if own_cgroup {
            // Only now: its root is where this process is at this moment.
            sys::namespaces::unshare(NEW_CGROUP).map_err(|source| namespace(NEW_CGROUP, "make", source))?;
        }
        let mounted = mounts::attach(root, std::mem::take(&mut self.mounts), &facts)?;
        let asked = self.linux.devices().as_deref().unwrap_or_default();
        devices::make(self.interface, root, &mounted, asked, self.may_make_devices, self.made.take())?;
        let domain = self.create.spec.domainname().as_deref();
        sysctl::write(self.linux.sysctl().as_ref(), domain, mounted.proc.as_ref().map(|fd| fd.as_fd()), self.own)?;
        let stdio = self.stdio.take().ok_or(Errno::BADF).step("take the streams")?;
        let streams = finish::streams(stdio, finish::size(self.process), mounted.pts.as_ref().map(|fd| fd.as_fd()))?;
        if let Streams::Terminal(slave) = &streams {
            terminal::bind_console(self.interface, root, &mounted, slave.as_fd())?;
        }
        let paths = |paths: &Option<Vec<String>>| paths.clone().unwrap_or_default();
        masks::read_only(self.interface, root, &paths(self.linux.readonly_paths()))?;
        masks::mask(self.interface, root, &paths(self.linux.masked_paths()))?;
        privileges::set_personality(self.linux.personality().as_ref())?;
        if let Some(policy) = self.linux.memory_policy() {
            scheduling::set_memory_policy(policy)?;
        }
        Ok(streams)
    }
}

/// Waits for what the intermediate writes; ends if that is gone.
pub(crate) fn read_exactly(wait: &OwnedFd, bytes: &mut [u8]) -> Result<(), Error> {
    match rustix::io::retry_on_intr(|| rustix::io::read(wait, &mut *bytes)).step("wait for the intermediate")? {
        length if length == bytes.len() => Ok(()),
        // It reported why.
        _ => sys::clone::exit_now(125),
    }
}

/// In a new user namespace: become its root, and leave the host's groups. Where 0 is not mapped (one id kept as it is) the
/// ids stay: who is first in a user namespace has all its capabilities anyway.
///
/// With `keep_groups` the host's groups stay: files of theirs can be used, by whoever the process becomes.
pub(crate) fn become_root(keep_groups: bool) -> Result<(), Error> {
    match if keep_groups { Ok(()) } else { rustix::thread::set_thread_groups(&[]) } {
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(error).step("leave the host's groups"),
    }
    match rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error).step("become the group of the namespace's root"),
    }
    match rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error).step("become the namespace's root"),
    }
}
