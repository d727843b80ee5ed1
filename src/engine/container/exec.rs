//! Processes added to a running container.

use super::config::Seccomp;
use super::end::improper;
use super::lower;
use crate::{Engine, Session};
use monitor::{Launch, Task};
use ops::Fault;
use ops::container::{Exec, Status};
use types::Id;

impl Engine {
    /// Parks a new process in a running container; [`Engine::start`] releases it.
    pub fn exec(&self, asked: &Exec) -> Result<Session, Fault> {
        self.exec_with(asked, None)
    }

    /// As [`Engine::exec`], with rows and columns of its terminal.
    pub fn exec_with(&self, asked: &Exec, terminal_size: Option<(u16, u16)>) -> Result<Session, Fault> {
        let mut session = self.exec_quietly(asked, terminal_size)?;
        session.untold = asked.no_session;
        if !session.untold {
            self.tell(session.subject.clone(), "exec");
        }
        Ok(session)
    }

    /// Tells how a process added to a container ended; of a container's own process, its clean-up tells.
    pub fn tell_exec_died(&self, session: &Session, code: i32) {
        if session.exec.is_none() || session.untold {
            return;
        }
        self.tell_more(session.subject.clone(), "exec_died", |event| event.container_exit_code = Some(code));
    }

    /// As [`Engine::exec_with`], and nobody is told: a health check.
    pub(crate) fn exec_quietly(&self, asked: &Exec, terminal_size: Option<(u16, u16)>) -> Result<Session, Fault> {
        if asked.command.first().is_none_or(|c| c.is_empty()) {
            return Err(Fault::invalid("must provide a non-empty command to start an exec session: invalid argument"));
        }
        self.host()?;
        let kept = self.handed_on.take();
        let record = self.record_of(&asked.name)?;
        let state = self.observe(&record);
        let Some(running) = state.running.filter(|_| state.status == Status::Running) else {
            return Err(improper(match state.status {
                Status::Paused => format!("container {} is paused, no process can be added to it", record.id),
                _ => "can only create exec sessions on running containers".to_owned(),
            }));
        };
        let config = self.database()?.config(record.seq)?;
        let id = Id::from_random(super::create::random()?);
        let mut process_config = config.clone();
        if let Some(user) = &asked.user {
            process_config.user.clone_from(user);
        }
        if let Some(directory) = &asked.working_directory {
            // Meant from the root, as where the runtime stands.
            let slash = if directory.starts_with('/') { "" } else { "/" };
            process_config.working_directory = format!("{slash}{directory}");
        }
        process_config.terminal = asked.terminal;
        if asked.privileged {
            process_config.capabilities = self.facts()?.capabilities;
            process_config.user_capabilities = 0;
            process_config.seccomp = Seccomp::Unconfined;
        }
        let environment = environment(&config.environment, asked)?;
        let process = lower::process_of(&process_config, &asked.command, &environment, terminal_size)?;
        let filter = lower::filter(&process_config, self.facts()?)?;
        let exec = runtime::Exec {
            id: config.id.to_string(),
            pid: running.pid,
            start_time: running.start_time,
            process,
            user: Some(process_config.user.clone()),
            keep_groups: config.keep_groups,
            groups: if asked.user.is_some() { Vec::new() } else { config.additional_groups.clone() },
            seccomp: filter.specified,
            filter: filter.ready,
            bundle: Default::default(),
            annotations: config.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            keep_keyring: false,
            personality: lower::personality(&config)?,
            memory_policy: None,
            preserved: 0,
            kept: kept.clone(),
            cgroup: None,
        };
        let launch = Launch {
            id: id.to_string(),
            task: Task::Exec(serde_json::to_string(&exec).map_err(Fault::internal)?),
            run_dir: None,
            terminal: asked.terminal,
            stdin: asked.interactive,
            leave_stdin_open: false,
            stay_parked: false,
            log: None,
            hold: None,
            kept,
            clock: Default::default(),
            cleanup: Vec::new(),
        };
        self.spawn(&launch, &config.id, Some(id), &config, || Ok(()))
    }
}

/// The container's, with the asked ones in place.
fn environment(container: &[String], asked: &Exec) -> Result<Vec<String>, Fault> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut all: Vec<String> = container.to_vec();
    if asked.terminal && !all.iter().any(|e| e.starts_with("TERM=")) {
        all.push("TERM=xterm".into());
    }
    for entry in &asked.environment {
        if entry.find('=').is_none_or(|at| at == 0) {
            return Err(Fault::invalid(format!("invalid environment variable {entry:?}: expected KEY=VALUE")));
        }
        match all.iter().position(|e| key(e) == key(entry)) {
            Some(at) => all[at].clone_from(entry),
            None => all.push(entry.clone()),
        }
    }
    Ok(all)
}
