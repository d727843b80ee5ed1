//! The last steps of a first process, in its namespaces and its root: who it is, where it is, what it may, and the program.
//!
//! Everything that can fail but execve(2) itself happens before it reports that it is parked. The filter comes last: with
//! `noNewPrivileges` any process may install one; without, `CAP_SYS_ADMIN` is kept for it and given up right after.

use crate::error::{Context, Error};
use crate::hooks::{self, Moment};
use crate::labels::Labels;
use crate::launch::{GIVE_UP, Stdio};
use crate::notify::Notify;
use crate::paths;
use crate::privileges::{self, Capabilities};
use crate::program::{self, Program};
use crate::report::Report;
use crate::seccomp::Filter;
use crate::terminal;
use crate::user::{self, Identity};
use oci_spec::runtime::{Hook, Process, State};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use sys::capability::{SYS_ADMIN, Sets};

/// What the last steps need.
#[derive(Debug)]
pub struct Finish<'a> {
    /// What to execute.
    pub process: &'a Process,
    /// The container's identifier, for messages.
    pub container: &'a str,
    /// `USER[:GROUP]` to look up; overrides the process's ids.
    pub user: Option<&'a str>,
    /// More groups to look up.
    pub groups: &'a [String],
    /// The additional groups stay what they are.
    pub keep_groups: bool,
    /// Make the working directory if it is missing.
    pub create_cwd: bool,
    /// Put the small init before the program.
    pub init: bool,
    /// Descriptors from 3 on to leave open.
    pub preserved: u32,
    /// Others.
    pub kept: &'a [i32],
    /// The filter.
    pub filter: Option<&'a Filter>,
    /// Where to report.
    pub report: BorrowedFd<'a>,
    /// What to wait for.
    pub start: Option<&'a OwnedFd>,
    /// Labels that the program gets.
    pub labels: Labels,
    /// Who decides on calls that the filter asks about.
    pub notify: Option<Notify>,
    /// Programs of the container's to run before the program, and what they are told.
    pub hooks: Option<(&'a [Hook], State)>,
}

/// The streams of the process.
#[derive(Debug)]
pub enum Streams {
    /// As given.
    Descriptors([OwnedFd; 3]),
    /// The container's side of a terminal.
    Terminal(OwnedFd),
}

impl Finish<'_> {
    /// Becomes the program; comes back only with the reason why not.
    pub fn run(self, streams: Streams) -> Error {
        match self.ready(streams) {
            Ok((program, capabilities)) => self
                .park_and_execute(&program, capabilities)
                .err()
                .unwrap_or(Error::Step { step: "execute the program", source: Errno::IO }),
            Err(error) => error,
        }
    }

    fn ready(&self, streams: Streams) -> Result<(Program, Capabilities), Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).step("open the root")?;
        let identity = self.identity(root.as_fd())?;
        // Who is named by an engine gets the directory that the image lacks; other engines make such directories themselves.
        let owner = self.user.is_some().then_some((identity.uid, identity.gid));
        enter(root.as_fd(), self.process.cwd(), self.create_cwd, owner, self.container)?;
        let is_terminal = matches!(streams, Streams::Terminal(_));
        place(streams, &identity)?;
        if is_terminal {
            terminal::control(rustix::stdio::stdin())?;
        }
        // Our own keys and limits first, who we are then, and what we may last: each step still has what it needs.
        let permitted = sys::capability::get().step("read capabilities")?.permitted;
        let capabilities = privileges::capabilities(self.process.capabilities().as_ref(), permitted);
        become_user(&identity, capabilities, self.keeps(permitted), self.keep_groups)?;
        rustix::process::umask(Mode::from_raw_mode(self.process.user().umask().unwrap_or(0o022)));
        let environment = self.environment(root.as_fd(), &identity);
        let arguments = self.process.args().as_deref().unwrap_or_default();
        let program = program::find(arguments, &environment)?;
        privileges::set_limits(self.process.rlimits().as_deref().unwrap_or_default())?;
        if self.no_new_privileges() {
            rustix::thread::set_no_new_privs(true).step("set no_new_privs")?;
        }
        Ok((program, capabilities))
    }

    fn no_new_privileges(&self) -> bool {
        self.process.no_new_privileges().unwrap_or(false)
    }

    /// Capabilities to keep permitted until the filter is installed.
    fn keeps(&self, permitted: u64) -> u64 {
        if self.filter.is_some() && !self.no_new_privileges() { permitted & SYS_ADMIN } else { 0 }
    }

    fn identity(&self, root: BorrowedFd<'_>) -> Result<Identity, Error> {
        if let Some(user) = self.user {
            return user::resolve(root, user, self.groups);
        }
        let user = self.process.user();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        if !self.groups.is_empty() {
            groups.extend(user::resolve(root, &user.uid().to_string(), self.groups)?.groups);
            groups.sort_unstable();
            groups.dedup();
        }
        Ok(Identity { uid: user.uid(), gid: user.gid(), groups, home: None })
    }

    /// The specification's, with `HOME` if there is none.
    fn environment(&self, root: BorrowedFd<'_>, identity: &Identity) -> Vec<String> {
        let mut environment = self.process.env().clone().unwrap_or_default();
        if program::value(&environment, "HOME").is_none() {
            let home = match self.user {
                Some(_) => identity.home.clone(),
                // As other runtimes do; a file that makes no sense names no home.
                None => user::home(root, identity.uid).ok(),
            };
            environment.push(format!("HOME={}", home.as_deref().unwrap_or("/")));
        }
        environment
    }

    fn park_and_execute(mut self, program: &Program, capabilities: Capabilities) -> Result<(), Error> {
        // The agent is told while the container is created: it may want to see the state before the start.
        self.labels.apply()?;
        let early = self.notify.is_some();
        if early {
            self.confine(capabilities)?;
        }
        rustix::io::write(self.report, &Report::Parked.line()).step("report")?;
        if let Some(start) = self.start {
            let mut byte = [0u8; 1];
            loop {
                match rustix::io::read(start, &mut byte) {
                    Ok(1) if byte[0] != GIVE_UP => break,
                    // Whoever would have started us is gone, or thought better of it.
                    Ok(_) => sys::clone::exit_now(0),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error).step("wait for the start"),
                }
            }
        }
        if !early {
            self.confine(capabilities)?;
        }
        // Programs of a stranger's, as the one to come: confined as that is.
        if let Some((list, state)) = &self.hooks {
            let environment = self.process.env().as_deref().unwrap_or_default();
            hooks::run_inside(Moment::StartContainer, list, state, environment)?;
        }
        sys::process::inherit(3, self.preserved).step("keep descriptors open")?;
        for number in self.kept {
            sys::process::inherit(*number, 1).step("keep descriptors open")?;
        }
        // Last, so that the small init is confined as the program is.
        if self.init {
            crate::init::divide(rustix::termios::isatty(rustix::stdio::stdin()))?;
        }
        let source = sys::process::execute(&program.path, &program.arguments, &program.environment);
        Err(match source {
            Errno::ACCESS | Errno::PERM => Error::NotExecutable { program: program.name.clone(), source },
            // The program is there, but what interprets it is not.
            Errno::NOENT => Error::NoInterpreter { program: program.name.clone() },
            source => Error::Execute { program: program.name.clone(), source },
        })
    }
}

impl Finish<'_> {
    /// Closes what the program must not have, and installs the filter.
    fn confine(&mut self, capabilities: Capabilities) -> Result<(), Error> {
        sys::process::close_on_exec_from(3).step("close descriptors")?;
        let Some(filter) = self.filter else { return Ok(()) };
        let effective = capabilities.sets.effective | self.keeps(u64::MAX);
        if effective != capabilities.sets.effective {
            let permitted = capabilities.sets.permitted | effective;
            sys::capability::set(Sets { effective, permitted, ..capabilities.sets }).step("prepare for the filter")?;
        }
        let listener = filter.install().step("install the filter")?;
        if let (Some(notify), Some(listener)) = (self.notify.take(), listener) {
            notify.send(listener)?;
        }
        if effective != capabilities.sets.effective {
            sys::capability::set(capabilities.sets).step("set capabilities")?;
        }
        Ok(())
    }
}

/// Puts the streams at 0, 1 and 2, belonging to the user, so that `/dev/stdout` can be opened by name.
fn place(streams: Streams, identity: &Identity) -> Result<(), Error> {
    let (owner, group) = (Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)));
    match streams {
        Streams::Terminal(slave) => {
            // In a user namespace the terminal may belong to somebody who is nobody here.
            let _ = rustix::fs::fchown(&slave, owner, None);
            let slave = sys::process::out_of_the_way(slave).step("move the terminal")?;
            for number in 0..3 {
                let copy = rustix::io::fcntl_dupfd_cloexec(&slave, 3).step("copy the terminal")?;
                sys::process::place(copy, number).step("place the terminal")?;
            }
        }
        Streams::Descriptors(streams) => {
            for (number, stream) in streams.into_iter().enumerate() {
                let mode = rustix::fs::fstat(&stream).map(|s| FileType::from_raw_mode(s.st_mode));
                if identity.uid != 0 && matches!(mode, Ok(FileType::Fifo | FileType::Socket)) {
                    // In a user namespace it may belong to somebody who is nobody here: it works without, but by name.
                    let _ = rustix::fs::fchown(&stream, owner, group);
                }
                sys::process::place(stream, number as i32).step("place a stream")?;
            }
        }
    }
    Ok(())
}

/// Makes the working directory below `root` where it is missing and its name is plain. It, but not what is above it, belongs to
/// `owner` then: a user and a group.
pub fn make_working_directory(root: BorrowedFd<'_>, cwd: &Path, owner: Option<(u32, u32)>) -> Result<(), Error> {
    if cwd.components().any(|c| c == Component::ParentDir) || paths::open(root, cwd, OFlags::PATH).is_ok() {
        return Ok(());
    }
    let made = paths::make_directories(root, cwd).in_root(cwd, "make the working directory")?;
    let Some((uid, gid)) = owner.filter(|owner| *owner != (0, 0)) else { return Ok(()) };
    let made = rustix::fs::openat(&made, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .in_root(cwd, "open the working directory")?;
    match rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        // An id that is not mapped here, of which the process itself will be told.
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        other => other.in_root(cwd, "give the working directory its owner"),
    }
}

/// Goes to the working directory, and makes sure that it is inside the root (CVE-2024-21626).
fn enter(
    root: BorrowedFd<'_>,
    cwd: &Path,
    create: bool,
    owner: Option<(u32, u32)>,
    container: &str,
) -> Result<(), Error> {
    let cwd = if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd };
    match rustix::process::chdir(cwd) {
        Err(Errno::NOENT) if create => {
            make_working_directory(root, cwd, owner)?;
            rustix::process::chdir(cwd)
        }
        other => other,
    }
    .map_err(|source| match source {
        Errno::NOENT => Error::NoWorkingDirectory { cwd: cwd.to_owned(), container: container.to_owned() },
        Errno::NOTDIR => Error::NoDirectory { cwd: cwd.to_owned(), container: container.to_owned() },
        source => Error::WorkingDirectory { cwd: cwd.to_owned(), source },
    })?;
    let here = rustix::process::getcwd(Vec::new())
        .map_err(|source| Error::WorkingDirectory { cwd: cwd.to_owned(), source })?;
    // The kernel puts "(unreachable)" before what is not below the root.
    if here.to_bytes().starts_with(b"/") { Ok(()) } else { Err(Error::WorkingDirectoryOutside { cwd: cwd.to_owned() }) }
}

fn become_user(identity: &Identity, capabilities: Capabilities, keep: u64, keep_groups: bool) -> Result<(), Error> {
    for (what, id) in [("user id", identity.uid), ("group id", identity.gid)] {
        if id == u32::MAX {
            return Err(Error::NotMapped { what, id });
        }
    }
    sys::capability::bound(capabilities.bounding).step("limit the capabilities")?;
    rustix::thread::set_keep_capabilities(true).step("keep capabilities")?;
    let groups: Vec<Gid> = identity.groups.iter().map(|id| Gid::from_raw(*id)).collect();
    match if keep_groups { Ok(()) } else { rustix::thread::set_thread_groups(&groups) } {
        Ok(()) => {}
        Err(Errno::INVAL) => {
            let id = identity.groups.first().copied().unwrap_or_default();
            return Err(Error::NotMapped { what: "an additional group id, such as", id });
        }
        // A user namespace of one id forbids it (user_namespaces(7)): no group but the one is mapped anyway.
        Err(Errno::PERM) if groups_are_denied() => {}
        Err(error) => return Err(error).step("set additional groups"),
    }
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|source| mapped("group id", identity.gid, source))?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|source| mapped("user id", identity.uid, source))?;
    let sets = Sets { permitted: capabilities.sets.permitted | keep, ..capabilities.sets };
    sys::capability::set(sets).step("set capabilities")?;
    sys::capability::set_ambient(capabilities.ambient).step("set ambient capabilities")?;
    rustix::thread::set_keep_capabilities(false).step("keep capabilities no longer")
}

fn mapped(what: &'static str, id: u32, source: Errno) -> Error {
    match source {
        Errno::INVAL => Error::NotMapped { what, id },
        source => Error::Step { step: "become the user", source },
    }
}

/// Read from the container's `/proc`; its answer only decides between two ways of going on without the groups' rights.
fn groups_are_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// The streams of a launch, with its terminal made by `open`.
pub fn streams(stdio: Stdio, size: Option<(u16, u16)>, pts: Option<BorrowedFd<'_>>) -> Result<Streams, Error> {
    Ok(match stdio {
        Stdio::Descriptors(streams) => Streams::Descriptors(streams),
        Stdio::Terminal(socket) => Streams::Terminal(terminal::open(pts, size, socket.as_fd())?),
    })
}

/// Rows and columns of a process's terminal.
pub fn size(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let side = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    Some((side(size.height()), side(size.width()))).filter(|size| *size != (0, 0))
}
