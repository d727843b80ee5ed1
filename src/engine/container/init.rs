//! Parking a container's first process, joining its monitor, releasing it.

use super::config::{Config, Namespace};
use super::lower::{DeviceNode, Place};
use super::volumes::{Ready, View};
use super::{files, lock};
use crate::database::{Mark, Record};
use crate::{Engine, Session, fault};
use monitor::{Client, Launch, LogFile, Task};
use ops::container::Status;
use ops::{Fault, Kind};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use types::Id;
use types::attach::{Frame, MAX_DATA};

impl Engine {
    /// Parks the container's first process under a new monitor, or joins the monitor of one that is parked or runs
    /// already, and returns the connection. Nothing runs, and no output is lost, until [`Engine::start`].
    pub fn init(&self, name: &str) -> Result<Session, Fault> {
        self.init_with(name, None, false)
    }

    /// As [`Engine::init`]; `terminal_size` is rows and columns, and `stay` leaves the parked process to later commands.
    pub fn init_with(&self, name: &str, terminal_size: Option<(u16, u16)>, stay: bool) -> Result<Session, Fault> {
        self.begin(name, terminal_size, stay, None)
    }

    /// As [`Engine::init_with`]; `again` is for a start by the container's policy, and a fault if that does not want it any more.
    pub(crate) fn begin(
        &self,
        name: &str,
        terminal_size: Option<(u16, u16)>,
        stay: bool,
        again: Option<super::restart::Again>,
    ) -> Result<Session, Fault> {
        self.host()?;
        let handed_on = self.handed_on.take();
        let found = self.record_of(name)?;
        let held = lock::wait(&self.container_directory(&found.id))?;
        let (record, state) = loop {
            let record = match self.database()?.record(&found.id)?.map(|r| self.settle_locked(r)).transpose()?.flatten()
            {
                Some(record) => record,
                None => {
                    let _ = std::fs::remove_dir(self.container_directory(&found.id));
                    return Err(no_such(name));
                }
            };
            if let Some(again) = &again {
                again.allowed(&record)?;
            }
            let state = self.observe_locked(&record);
            if state.status != Status::Stopping || !self.wait_for_monitor(&record) {
                break (record, state);
            }
        };
        let config = self.database()?.config(record.seq)?;
        match state.status {
            Status::Created | Status::Exited => {}
            Status::Initialized | Status::Running | Status::Paused => {
                drop(held);
                return self.connect(&record, &config, state.status != Status::Initialized);
            }
            Status::Stopping | Status::Removing => {
                return Err(Fault::new(
                    Kind::Conflict,
                    format!(
                        "container {} is being {}: container state improper",
                        record.id,
                        if record.mark == Mark::Removing { "removed" } else { "stopped" }
                    ),
                ));
            }
        }
        // A monitor that was killed has left its records, and maybe a cgroup.
        if record.run > 0 {
            let left = monitor::record::Running::read(&self.run_directory(&record.id, record.run));
            self.free_run(&record, left.and_then(|r| r.cgroup));
        }
        let run = record.run + 1;
        self.database()?.activate(&record.id, run, self.boot(), again.is_some())?;
        let step = again.as_ref().map_or(0, |again| again.step);
        let parked = self
            .start_required(&config)
            .and_then(|()| self.park(&record.id, &config, run, (terminal_size, step), (stay, handed_on)));
        if parked.is_ok() {
            self.tell(&config, "init");
        }
        if let Err(fault) = &parked {
            self.release_networks(&record.id);
            self.release_volumes(&record.id, &self.run_directory(&record.id, run));
            self.run_last_hooks(&record, &self.run_directory(&record.id, run));
            let _ = std::fs::remove_dir_all(self.run_directory(&record.id, run));
            self.database()?.deactivate(&record.id, run, &fault.message)?;
        }
        drop(held);
        parked
    }

    /// Starts the containers that this one needs and that do not run.
    fn start_required(&self, config: &Config) -> Result<(), Fault> {
        for id in &config.requires {
            if !matches!(self.observe(&self.record_of(id.as_str())?).status, Status::Running | Status::Paused) {
                let mut session = self.init(id.as_str())?;
                self.start(&mut session)?;
            }
        }
        Ok(())
    }

    fn park(
        &self,
        id: &Id,
        config: &Config,
        run: i64,
        (terminal_size, step): (Option<(u16, u16)>, u32),
        (stay, handed_on): (bool, Vec<i32>),
    ) -> Result<Session, Fault> {
        let directory = self.container_directory(id);
        let run_directory = self.run_directory(id, run);
        make_directory(&run_directory)?;
        let host = self.host()?;
        let network = self.begin_network(config)?;
        let allotment = self.allot(id, config, network.as_ref())?;
        let plan = network.as_ref().map(|n| &n.plan);
        let rootfs = self.root_file_system(id, config)?;
        let view = View::new(&rootfs, config);
        let mut files =
            files::write(config, Some(&view), &directory, host.in_user_namespace, plan, allotment.as_ref())?;
        let mut secrets = self.hand_secrets(config, &directory)?;
        files.extend(self.default_mounts(config, &directory)?);
        files.extend(secrets.files);
        files.extend(super::accounts::write(config, &view, &directory)?);
        let Ready { mounts, parts } = self.realize(config, &view, &run_directory)?;
        drop(view);
        if let Some(socket) = self.socket_for(config) {
            files.push((socket, super::notify::INSIDE.into()));
            secrets.variables.push(format!("NOTIFY_SOCKET={}", super::notify::INSIDE));
        }
        let edits = self.vendor_edits(config)?;
        let hooks = self.chosen_hooks(config)?;
        let filters = hooks.filters.clone();
        let mut devices = device_nodes(config);
        devices.extend(edits.device_nodes.iter().filter_map(|n| Some((n.source(), node(&n.source())?))));
        let place = Place {
            mounts,
            rootfs,
            files,
            variables: secrets.variables,
            devices,
            edits,
            hooks,
            joined: self.joined(config)?,
            terminal_size,
            directory,
        };
        let mut create = super::lower::lower(config, self.facts()?, place)?;
        crate::hooks::filter(&filters, &mut create)?;
        create.kept.clone_from(&handed_on);
        crate::hooks::keep(&create, &run_directory)?;
        let launch = Launch {
            id: id.to_string(),
            task: Task::Container(serde_json::to_string(&create).map_err(Fault::internal)?),
            run_dir: Some(run_directory.clone()),
            terminal: config.terminal,
            stdin: config.interactive,
            leave_stdin_open: false,
            stay_parked: stay,
            log: self.log_file(config),
            hold: network.as_ref().map(|n| n.stack.path()),
            kept: handed_on,
            clock: if config.life.is_plain() { Default::default() } else { self.clock(config, run, step) },
            cleanup: self.own_command(&["container", "cleanup", id.as_str()]),
        };
        // Bridges and rules are made while others make the container.
        let meanwhile = || match &allotment {
            Some(allotment) => self.raise_networks(allotment, network.as_ref()),
            None => Ok(()),
        };
        let session = self.spawn(&launch, id, None, config, meanwhile)?;
        drop(parts);
        if let Some(allotment) = &allotment {
            self.attach_networks(id, &run_directory, network.as_ref())?;
            if allotment.networks.values().any(network::Definition::is_lent) {
                self.tell_lent(id, config, network.as_ref())?;
            }
        }
        if let Some(network) = &network {
            self.finish_network(network, config, &run_directory, allotment.as_ref())?;
        }
        Ok(session)
    }

    /// Starts a monitor and waits until its process is parked; does `meanwhile` in between.
    pub(crate) fn spawn(
        &self,
        launch: &Launch,
        id: &Id,
        exec: Option<Id>,
        config: &Config,
        meanwhile: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<Session, Fault> {
        let mut handle = monitor::spawn(launch).map_err(fault::monitor)?;
        if exec.is_none() {
            self.tell_unit(id, handle.pid)?;
        }
        if self.settings.uid != 0 || launch.hold.is_some() {
            crate::rootless::add_member(&self.settings, handle.pid)?;
        }
        meanwhile()?;
        match handle.client.receive().map_err(fault::monitor)? {
            Some(Frame::Ready { pid }) if exec.is_none() && !config.life.is_plain() => {
                write_pid(config.life.pid_file.as_deref(), pid)?;
                write_pid(config.life.monitor_pid_file.as_deref(), handle.pid)?;
            }
            Some(Frame::Ready { .. }) => {}
            Some(Frame::Failed { code, text }) => return Err(fault::launch(code, text)),
            other => {
                return Err(Fault::internal(match other {
                    None => "the monitor ended before the container was ready".to_owned(),
                    Some(frame) => format!("the monitor said {frame:?} where the container should have become ready"),
                }));
            }
        }
        Ok(Session {
            container: id.clone(),
            exec,
            socket: handle.client.into_socket(),
            run_directory: launch.run_dir.clone(),
            pending: VecDeque::new(),
            terminal: launch.terminal,
            interactive: launch.stdin,
            remove: config.remove,
            started: false,
            untold: false,
            subject: config.into(),
        })
    }

    /// Connects to a container that runs.
    pub fn attach(&self, name: &str) -> Result<Session, Fault> {
        let record = self.settle(self.record_of(name)?)?.ok_or_else(|| no_such(name))?;
        match self.observe(&record).status {
            Status::Running | Status::Paused => {
                let config = self.database()?.config(record.seq)?;
                self.connect(&record, &config, true)
            }
            _ => Err(Fault::new(Kind::Conflict, "you can only attach to running containers")),
        }
    }

    fn connect(&self, record: &Record, config: &Config, started: bool) -> Result<Session, Fault> {
        let client = Client::connect(&self.run_directory(&record.id, record.run)).map_err(|error| {
            fault::monitor(error)
                .hint("a container whose monitor was killed can be stopped and started again, but not joined")
        })?;
        Ok(Session {
            container: record.id.clone(),
            exec: None,
            run_directory: Some(self.run_directory(&record.id, record.run)),
            socket: client.into_socket(),
            pending: VecDeque::new(),
            terminal: config.terminal,
            interactive: config.interactive,
            remove: config.remove,
            started,
            untold: false,
            subject: record.into(),
        })
    }

    /// Releases the parked process of a container or exec session and waits until it has executed its program. One that
    /// runs already is left alone.
    pub fn start(&self, session: &mut Session) -> Result<(), Fault> {
        if session.started {
            return Ok(());
        }
        let gone = |e: rustix::io::Errno| Fault::internal(format!("the connection to the monitor broke: {e}"));
        let mut packet = Vec::new();
        Frame::Start.encode(&mut packet);
        // A monitor that has given up cannot take it, but has said why.
        let _ = sys::channel::send(&session.socket, &packet);
        loop {
            packet.resize(1 + MAX_DATA, 0);
            let length = sys::channel::receive(&session.socket, &mut packet).map_err(gone)?;
            match Frame::decode(&packet[..length]) {
                Ok(Frame::Started) => {
                    self.has_started(session);
                    self.run_start_hooks(session)?;
                    if self.settings.notify_socket.is_some() && session.exec.is_none() {
                        self.tell_started(&session.container)?;
                    }
                    return Ok(());
                }
                Ok(Frame::Failed { code, text }) => {
                    let fault = fault::launch(code, text);
                    if session.exec.is_none() {
                        self.cleanup_soon(&session.container)?;
                    }
                    return Err(fault);
                }
                Ok(Frame::Exited { .. }) => {
                    session.pending.push_back(packet[..length].to_vec());
                    self.has_started(session);
                    return Ok(());
                }
                Ok(_) => session.pending.push_back(packet[..length].to_vec()),
                Err(_) => return Err(Fault::internal("the monitor ended before the container was started")),
            }
        }
    }

    /// One that fails ends the container.
    fn run_start_hooks(&self, session: &Session) -> Result<(), Fault> {
        let Some(directory) = session.run_directory.as_ref().filter(|_| session.exec.is_none()) else { return Ok(()) };
        let Some(running) = monitor::record::Running::read(directory) else { return Ok(()) };
        crate::hooks::after_start(directory, running.pid).inspect_err(|_| {
            // Ended already: as well.
            let _ = sys::process::kill(running.pid, running.start_time, 9);
        })
    }

    fn has_started(&self, session: &mut Session) {
        session.started = true;
        if session.exec.is_none() {
            self.tell(session.subject.clone(), "start");
        }
        self.write_events();
    }

    /// Somebody reads what the process of a session prints.
    pub fn tell_attached(&self, session: &Session) {
        if session.exec.is_none() {
            self.tell(session.subject.clone(), "attach");
        }
    }

    /// First processes of the containers whose namespaces are joined; they must run.
    fn joined(&self, config: &Config) -> Result<BTreeMap<Id, runtime::Owner>, Fault> {
        let spaces = &config.namespaces;
        let mut joined = BTreeMap::new();
        let all = [&spaces.network, &spaces.pid, &spaces.ipc, &spaces.uts, &spaces.cgroup];
        for space in all.into_iter().chain(&spaces.user_joined) {
            if let Namespace::Container(id) = space {
                let state = self.observe(&self.record_of(id.as_str())?);
                if let (Status::Running | Status::Paused, Some(running)) = (state.status, state.running) {
                    let owner = runtime::Owner { pid: running.pid, start_time: running.start_time };
                    joined.insert(id.clone(), owner);
                }
            }
        }
        Ok(joined)
    }

    fn log_file(&self, config: &Config) -> Option<LogFile> {
        let driver = match config.log.driver {
            super::config::LogDriver::K8sFile => monitor::log::Driver::K8sFile,
            super::config::LogDriver::JsonFile => monitor::log::Driver::JsonFile,
            super::config::LogDriver::None => return None,
        };
        Some(LogFile { driver, path: self.log_path(config), max_size: Some(config.log.max_size).filter(|m| *m > 0) })
    }

    pub(crate) fn log_path(&self, config: &Config) -> PathBuf {
        config.log.path.clone().unwrap_or_else(|| self.container_directory(&config.id).join("ctr.log"))
    }

    /// The arguments by which a process of the engine's own acts on the same containers.
    pub(crate) fn own_command(&self, words: &[&str]) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut all = vec![
            "--root".into(),
            text(&self.settings.root),
            "--runroot".into(),
            text(&self.settings.run_root),
            "--network-config-dir".into(),
            text(&self.settings.networks),
        ];
        if self.settings.volumes != self.settings.root.join("volumes") {
            all.extend(["--volumepath".into(), text(&self.settings.volumes)]);
        }
        if self.settings.events == ops::event::Backend::None {
            all.push("--events-backend=none".into());
        }
        let given = &self.settings.given;
        let lists = [("--hooks-dir", &given.hook_directories), ("--cdi-spec-dir", &given.cdi_directories)];
        for (flag, paths) in lists {
            all.extend(paths.iter().map(|path| format!("{flag}={}", path.display())));
        }
        all.extend(given.mounts_file.iter().map(|path| format!("--default-mounts-file={}", path.display())));
        all.extend(self.settings.configuration.modules.iter().map(|module| format!("--module={module}")));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }
}

fn write_pid(path: Option<&Path>, pid: i32) -> Result<(), Fault> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, pid.to_string()).map_err(|e| Fault::internal(format!("cannot write pid file {path:?}: {e}")))
}

/// The fault of a name that names nothing.
pub(crate) fn no_such(name: &str) -> Fault {
    Fault::new(Kind::NotFound, format!("no container with name or ID {name:?} found: no such container"))
}

fn make_directory(path: &Path) -> Result<(), Fault> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Fault::internal(format!("cannot create directory {path:?}: {e}")))
}

/// What stat(2) says of the devices that a configuration names, in limits too.
pub(crate) fn device_nodes(config: &Config) -> BTreeMap<PathBuf, DeviceNode> {
    let limits = &config.resources;
    let rates =
        [&limits.device_read_bps, &limits.device_write_bps, &limits.device_read_iops, &limits.device_write_iops];
    let limited = rates
        .into_iter()
        .flatten()
        .chain(&limits.blkio_weight_device)
        .filter_map(|r| Some(PathBuf::from(r.rsplit_once(':')?.0)));
    config
        .devices
        .iter()
        .map(|d| d.source.clone())
        .chain(limited)
        .filter_map(|path| Some((path.clone(), node(&path)?)))
        .collect()
}

/// The device node at `path`, if there is one.
pub(crate) fn node(path: &Path) -> Option<DeviceNode> {
    let meta = std::fs::metadata(path).ok()?;
    let kind = if meta.file_type().is_char_device() {
        'c'
    } else if meta.file_type().is_block_device() {
        'b'
    } else {
        return None;
    };
    let number = meta.rdev();
    Some(DeviceNode {
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: meta.mode() & 0o777,
        gid: meta.gid(),
    })
}
