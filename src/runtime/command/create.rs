//! `create` and `run`: a bundle becomes a container.
//!
//! Must not know: how a process is made.

use super::failure::Failure;
use super::flags::Words;
use super::foreground::{self, Console};
use super::make::{self, Making};
use super::readiness::{self, Readiness};
use super::state::{Place, Process, Record};
use super::{Program, delete, start, unprivileged};
use crate::launch::{Channels, Create, Rootfs, Stdio};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `create`: leaves the first process parked.
pub(crate) fn create(program: &Program, words: &Words) -> Result<u8, Failure> {
    let mut order = Order::read(program, words)?;
    let stdio = order.streams(words, None)?;
    let place = program.containers()?.add(&order.create.id)?;
    let result = (|| {
        place.hold()?;
        readiness::offer(&place, &mut order.create.spec)?;
        let record = order.record()?;
        place.keep(&order.text)?;
        place.write(&record)?;
        let (start, reader, report) = place.make_doors()?;
        let channels = Channels { stdio, start: Some(start), report };
        order.make(&place, record, channels, reader, None).map(drop)
    })();
    result.map(|()| 0).inspect_err(|_| undo(program, &place))
}

/// `run`: creates, starts, and waits for the end unless told to detach.
pub(crate) fn run(program: &Program, words: &Words) -> Result<u8, Failure> {
    let mut order = Order::read(program, words)?;
    let detach = words.has("detach");
    let console =
        (order.terminal && words.value("console-socket").is_none() && !detach).then(Console::prepare).transpose()?;
    let (mut console, theirs) = console.unzip();
    let stdio = order.streams(words, theirs)?;
    let signals = if detach { None } else { Some(foreground::prepare(!words.has("no-subreaper"))?) };
    let place = program.containers()?.add(&order.create.id)?;
    let result = (|| {
        place.hold()?;
        readiness::offer(&place, &mut order.create.spec)?;
        let record = order.record()?;
        place.keep(&order.text)?;
        place.write(&record)?;
        let ((start, go), (reader, report)) = (make::pipe()?, make::pipe()?);
        let channels = Channels { stdio, start: Some(start), report };
        let mut making = order.make(&place, record, channels, reader, Some(go))?;
        console.as_mut().map_or(Ok(()), Console::attach).inspect_err(|_| making.abandon())?;
        let readiness = Readiness::listen(&place).inspect_err(|_| making.abandon())?;
        making.release();
        making.executed().inspect_err(|_| making.abandon())?;
        start::poststart(&order.create.spec, &place.record()?).inspect_err(|_| making.abandon())?;
        let first = place.record()?.first.ok_or(Failure::Killed)?;
        match signals {
            None => {
                readiness.iter().for_each(|readiness| readiness.hand_on(first, &program.log));
                Ok(0)
            }
            Some(signals) => {
                let readiness = readiness.map(|readiness| (readiness, &program.log));
                foreground::wait(first.pid, &signals, console.take(), readiness)
            }
        }
    })();
    match &result {
        Ok(_) if detach || words.has("keep") => {}
        Ok(_) => delete::take_away(program, &place, place.read()?.as_ref())?,
        Err(_) => undo(program, &place),
    }
    result
}

/// Takes away what a failed creation left; its failure is the one to tell.
pub(crate) fn undo(program: &Program, place: &Place) {
    let record = place.read().ok().flatten();
    if let Err(failure) = delete::take_away(program, place, record.as_ref()) {
        program.log.warning(&failure.text());
    }
}

/// What is to be created.
pub(crate) struct Order {
    /// For the runtime.
    pub create: Create,
    /// The specification as it is in the bundle.
    pub text: Vec<u8>,
    terminal: bool,
    pid_file: Option<PathBuf>,
}

impl Order {
    /// From the bundle.
    pub fn read(program: &Program, words: &Words) -> Result<Order, Failure> {
        let (preserved, listening) = make::preserved(words.number("preserve-fds")?.unwrap_or(0))?;
        let bundle = PathBuf::from(words.value("bundle").unwrap_or("."));
        let bundle = std::fs::canonicalize(&bundle).map_err(|source| Failure::File {
            step: "find the bundle",
            path: bundle,
            source,
        })?;
        let path = bundle.join(words.value("config").unwrap_or("config.json"));
        let text = std::fs::read(&path).map_err(|source| Failure::File { step: "open", path: path.clone(), source })?;
        let filters = program.containers()?.filters();
        let (read, filter) = filters.read(&text).map_err(|source| Failure::Read { path, source })?;
        read.warnings.iter().for_each(|warning| program.log.warning(warning));
        let mut spec = read.content;
        if asks_for_kernel_memory(&spec) {
            program.log.warning("linux.resources.memory.kernel is left out: no kernel since 5.16 has it, and the limit of memory includes it");
        }
        let rootfs = spec
            .root()
            .as_ref()
            .map(|root| bundle.join(root.path()))
            .ok_or_else(|| Failure::Unsupported { what: "a specification without root".into(), instead: "add it" })?;
        program.name_cgroup(&mut spec, words.container())?;
        let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
        if let Some(process) = spec.process_mut().as_mut().filter(|_| listening > 0) {
            let mut environment = process.env().clone().unwrap_or_default();
            environment.extend([format!("LISTEN_FDS={listening}"), "LISTEN_PID=1".into()]);
            process.set_env(Some(environment));
        }
        let create = Create {
            bundle,
            create_cwd: true,
            everywhere: true,
            preserved,
            filter,
            no_pivot: words.has("no-pivot"),
            keep_keyring: words.has("no-new-keyring"),
            ..Create::new(words.container(), spec, Rootfs::Directory(rootfs))
        };
        Ok(Order { create, text, terminal, pid_file: words.value("pid-file").map(PathBuf::from) })
    }

    /// The streams: the caller's, or the terminal's socket; `own` is that of a terminal which is relayed here.
    fn streams(&self, words: &Words, own: Option<OwnedFd>) -> Result<Stdio, Failure> {
        match (self.terminal, own, words.value("console-socket")) {
            (true, Some(socket), _) => Ok(Stdio::Terminal(socket)),
            (true, None, Some(path)) => make::console(Path::new(path)).map(Stdio::Terminal),
            (true, None, None) => Err(Failure::Unsupported {
                what: "a terminal that nobody takes".into(),
                instead: "give --console-socket",
            }),
            (false, _, Some(_)) => Err(Failure::Unsupported {
                what: "--console-socket without a terminal".into(),
                instead: "set process.terminal",
            }),
            (false, _, None) => make::own_streams(),
        }
    }

    /// What is written down before there is a process.
    pub fn record(&self) -> Result<Record, Failure> {
        let spec = &self.create.spec;
        let Rootfs::Directory(rootfs) = &self.create.rootfs else { unreachable!("bundles have a directory") };
        let own_pids = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref())
            .is_some_and(|all| all.iter().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none()));
        Ok(Record {
            id: self.create.id.clone(),
            version: spec.version().clone(),
            bundle: self.create.bundle.clone(),
            rootfs: rootfs.clone(),
            created: jiff::Timestamp::now().to_string(),
            owner: owner(),
            annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
            own_pids,
            has_hooks: spec.hooks().is_some(),
            poststops: 0,
            maker: Process::own()?,
            first: None,
            cgroup: None,
        })
    }

    /// Makes the first process, up to where it is parked, and writes down that it is there.
    fn make(
        &self,
        place: &Place,
        mut record: Record,
        channels: Channels,
        reader: OwnedFd,
        go: Option<OwnedFd>,
    ) -> Result<Making, Failure> {
        let mut making = Making::begin(channels, reader, go, |channels| match unprivileged::is_meant() {
            false => crate::create(&self.create, channels),
            true => {
                let mut create = self.create.clone();
                match unprivileged::enter(&mut create.spec) {
                    Ok(()) => crate::create(&create, channels),
                    Err(error) => crate::create::fail(channels.report.as_fd(), &error),
                }
            }
        })?;
        let result = making.parked().and_then(|()| {
            let created = making.created.clone().ok_or(Failure::Killed)?;
            record.first = Some(Process { pid: created.pid, start_time: created.start_time });
            record.cgroup = created.cgroup;
            place.write(&record)?;
            self.pid_file.as_deref().map_or(Ok(()), |path| make::write_pid(path, created.pid))
        });
        match result {
            Ok(()) => {
                making.reap_intermediate();
                place.let_go()?;
                Ok(making)
            }
            Err(failure) => {
                making.abandon();
                // Its cgroup is found by the record.
                if let Some(created) = &making.created {
                    record.cgroup = created.cgroup.clone();
                    let _ = place.write(&record);
                }
                Err(failure)
            }
        }
    }
}

impl Program {
    /// The path of a cgroup of systemd's is of another shape; without one it is a scope in the usual slice.
    pub fn name_cgroup(&self, spec: &mut Spec, id: &str) -> Result<(), Failure> {
        let Some(linux) = spec.linux_mut().as_mut().filter(|_| self.systemd) else { return Ok(()) };
        match linux.cgroups_path().as_ref().map(|path| path.to_string_lossy().into_owned()).filter(|p| !p.is_empty()) {
            None => linux.set_cgroups_path(Some(format!(":monopod:{id}").into())),
            Some(path) if path.split(':').count() != 3 => {
                return Err(Failure::Unsupported {
                    what: format!("cgroupsPath {path:?} with systemd"),
                    instead: "give it as slice:prefix:name, or leave --systemd-cgroup out",
                });
            }
            Some(_) => linux,
        };
        Ok(())
    }
}

#[allow(deprecated)]
fn asks_for_kernel_memory(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources.and_then(|r| r.memory().as_ref()?.kernel()).is_some_and(|limit| limit > 0)
}

/// The name of the user who calls, or the number where there is no name.
fn owner() -> String {
    let uid = rustix::process::getuid();
    if uid.is_root() {
        return "root".into();
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.as_raw().to_string();
    let line = accounts.lines().find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next()).map_or(number.clone(), str::to_owned)
}
