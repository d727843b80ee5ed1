//! Files by which a machine's service manager runs containers: a unit of systemd for one container (systemd.unit(5), as
//! podman-generate-systemd(1) has them), and scripts that bring back after a reboot what should run (`system boot`).
//!
//! Must not know: who reads the files.

mod command;
mod snippet;

use crate::Engine;
use crate::container::config::Config;
use ops::life::Restart;
use ops::unit::{File, Manager, Unit, Written};
use ops::{Fault, Kind};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use types::Id;

/// The variable by which a unit tells its name to what it starts; Podman's.
pub(crate) const VARIABLE: &str = "PODMAN_SYSTEMD_UNIT";
/// Seconds that systemd waits beyond the container's own before it kills what is left.
const SECONDS_MORE: u32 = 60;
/// When systemd can be told to start a service again (systemd.service(5), `Restart=`).
const POLICIES: [&str; 7] = ["no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"];

/// Where the units of a container find what they need.
struct Places {
    run_root: PathBuf,
    pid_file: PathBuf,
}

impl Engine {
    /// The unit of systemd that runs a container.
    pub fn systemd_unit(&self, asked: &Unit) -> Result<Written, Fault> {
        let record = self.record_of(&asked.name)?;
        let mut config = self.database()?.config(record.seq)?;
        config.name.clone_from(&record.name);
        let places = Places { run_root: self.settings.run_root.clone(), pid_file: self.unit_pid_file(&config.id) };
        let mut warnings = Vec::new();
        if !asked.new && config.life.restart != Restart::No {
            warnings.push(format!(
                "container {} has the restart policy {} of its own, which starts it again when systemd has stopped it: make \
                 it without one, and let systemd do that",
                record.name, config.life.restart
            ));
        }
        Ok(Written { files: vec![unit(asked, &config, &places)?], warnings })
    }

    /// What makes `manager` start the containers that are to run when the machine has started, and end them when it goes down.
    /// `executable` is this program's absolute path.
    pub fn boot_files(&self, manager: Manager, executable: &str) -> Result<Vec<File>, Fault> {
        let settings = &self.settings;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let words = [
            executable.to_owned(),
            "--root".into(),
            text(&settings.root),
            "--runroot".into(),
            text(&settings.run_root),
        ];
        let user = match settings.uid {
            0 => None,
            uid => Some(self.user_name(uid)?),
        };
        Ok(snippet::files(manager, &words, user.as_deref()))
    }

    fn user_name(&self, uid: u32) -> Result<String, Fault> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
        crate::container::accounts::of_host(&passwd, &group, |_, known| known == uid)
            .map(|account| account.name)
            .ok_or_else(|| Fault::new(Kind::NotFound, format!("no user with the id {uid} is in /etc/passwd")))
    }

    /// Where a container that a unit has started leaves the number of its monitor, which is the unit's main process.
    pub(crate) fn unit_pid_file(&self, id: &Id) -> PathBuf {
        self.settings.run_root.join("units").join(format!("{id}.pid"))
    }

    /// Writes that file, if a unit has started this process.
    pub(crate) fn tell_unit(&self, id: &Id, monitor: i32) -> Result<(), Fault> {
        if !self.settings.started_by_unit {
            return Ok(());
        }
        let path = self.unit_pid_file(id);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, format!("{monitor}\n")))
            .map_err(|e| Fault::internal(format!("cannot write pid file {path:?}: {e}")))
    }
}

fn unit(asked: &Unit, config: &Config, places: &Places) -> Result<File, Fault> {
    let new = asked.new || asked.template;
    let called = if asked.by_name { config.name.clone() } else { config.id.to_string() };
    let separator = asked.separator.as_deref().unwrap_or("-");
    let service = match asked.prefix.as_deref().unwrap_or("container") {
        "" => called.clone(),
        prefix => format!("{prefix}{separator}{called}"),
    };
    if service.contains('/') {
        return Err(Fault::invalid(format!("{service:?} cannot be the name of a unit: it holds a slash")));
    }
    let policy = asked.restart_policy.as_deref();
    if let Some(policy) = policy.filter(|policy| !POLICIES.contains(policy)) {
        let all = POLICIES.join(", ");
        return Err(Fault::invalid(format!("{policy} is not a valid restart policy")).hint(format!("use {all}")));
    }
    let file = format!("{service}{}.service", if asked.template { "@" } else { "" });
    let mut text = format!("# {file}\n");
    if !asked.no_header {
        let _ = writeln!(text, "# autogenerated by monopod {}", env!("CARGO_PKG_VERSION"));
        if !asked.time.is_empty() {
            let _ = writeln!(text, "# {}", asked.time);
        }
    }
    let of_instance = if asked.template { " for %I" } else { "" };
    let _ = write!(
        text,
        "\n[Unit]\nDescription=Container {service}.service{of_instance}\nDocumentation=man:monopod-generate-systemd(1)\n\
         Wants=network-online.target\nAfter=network-online.target\nRequiresMountsFor={}\n",
        command::escaped(&places.run_root.to_string_lossy())
    );
    let dependencies = [("Wants", &asked.wants), ("After", &asked.after), ("Requires", &asked.requires)];
    if dependencies.iter().any(|(_, units)| !units.is_empty()) {
        text.push_str("\n# User-defined dependencies\n");
    }
    for (key, units) in dependencies.iter().filter(|(_, units)| !units.is_empty()) {
        let _ = writeln!(text, "{key}={}", units.join(" "));
    }
    text.push_str(&service_section(asked, new, &called, &service, config, places)?);
    text.push_str("\n[Install]\nWantedBy=default.target\n");
    Ok(File { place: format!("/etc/systemd/system/{file}"), name: file, text, executable: false })
}

fn service_section(
    asked: &Unit,
    new: bool,
    called: &str,
    service: &str,
    config: &Config,
    places: &Places,
) -> Result<String, Fault> {
    let seconds = asked.stop_timeout.unwrap_or(config.stop_timeout);
    let executable = command::escaped(&asked.executable);
    let started = if new { Some(command::start(asked, service, config)?) } else { None };
    let policy = asked.restart_policy.clone().or(started.as_ref().and_then(|s| s.restart.clone()));
    let mut text = format!("\n[Service]\nEnvironment={VARIABLE}=%n{}\n", if asked.template { "-%i" } else { "" });
    let given = started.iter().flat_map(|started| &started.environment);
    for variable in given.chain(&asked.environment) {
        let _ = writeln!(text, "Environment={}", command::escaped(variable));
    }
    let _ = writeln!(text, "Restart={}", policy.as_deref().unwrap_or("on-failure"));
    if let Some(seconds) = asked.restart_seconds {
        let _ = writeln!(text, "RestartSec={seconds}");
    }
    if let Some(most) = started.as_ref().and_then(|started| started.restarts) {
        let _ = writeln!(text, "StartLimitBurst={most}");
    }
    if let Some(seconds) = asked.start_timeout.filter(|seconds| *seconds > 0) {
        let _ = writeln!(text, "TimeoutStartSec={seconds}");
    }
    let _ = writeln!(text, "TimeoutStopSec={}", seconds.saturating_add(SECONDS_MORE));
    match started {
        Some(started) => {
            let id_file = command::ID_FILE;
            let flags = &started.globals;
            let _ = write!(
                text,
                "ExecStartPre=/bin/rm \\\n\t-f {id_file}\nExecStart={}\n\
                 ExecStop={executable}{flags} stop \\\n\t--ignore -t {seconds} \\\n\t--cidfile={id_file}\n\
                 ExecStopPost={executable}{flags} rm \\\n\t-f \\\n\t--ignore -t {seconds} \\\n\t--cidfile={id_file}\n\
                 Type=notify\nNotifyAccess=all\n",
                started.line
            );
        }
        None => {
            let flags = command::globals(&config.create_command);
            let file = config.life.monitor_pid_file.as_ref().unwrap_or(&places.pid_file);
            let _ = write!(
                text,
                "ExecStart={executable}{flags} start {called}\nExecStop={executable}{flags} stop \\\n\t-t {seconds} {called}\n\
                 ExecStopPost={executable}{flags} stop \\\n\t-t {seconds} {called}\nPIDFile={}\nType=forking\n",
                file.display()
            );
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
