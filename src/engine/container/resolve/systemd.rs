//! What a container gets whose program is systemd, or another init that needs the same (systemd's "container interface").

use super::mounts;
use crate::container::config::Mount;
use ops::Fault;
use ops::container::Create;
use types::{Id, Signal};

/// Programs that are taken for an init.
const INITS: [&str; 4] = ["/bin/init", "/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"];
/// What it keeps in memory.
const MEMORY: [&str; 4] = ["/run", "/run/lock", "/tmp", "/var/log/journal"];
/// Asks it to shut down in order (systemd(1), "Signals": SIGRTMIN+3).
pub const STOP_SIGNAL: Signal = Signal(37);

/// True if the container is prepared for it.
pub fn is_asked(asked: &Create, arguments: &[String]) -> Result<bool, Fault> {
    let program = arguments.first().map(String::as_str).unwrap_or_default();
    match asked.systemd.as_deref().unwrap_or("true") {
        "always" => Ok(true),
        "" | "true" => Ok(INITS.contains(&program) || program.rsplit('/').next() == Some("systemd")),
        "false" => Ok(false),
        other => {
            Err(Fault::invalid(format!("invalid value {other:?} for --systemd")).hint("use true, false or always"))
        }
    }
}

/// Its file systems in memory, which come after what was asked for and before what the image wishes.
pub fn memory(asked: &Create) -> Result<Vec<Mount>, Fault> {
    let size = asked.shm_size_systemd.map(|bytes| format!("size={bytes}"));
    MEMORY.iter().map(|path| mounts::tmpfs(path, &size.as_deref().into_iter().collect::<Vec<_>>())).collect()
}

/// By which it knows its machine.
pub fn uuid(id: &Id) -> String {
    format!("container_uuid={}", &id.as_str()[..32])
}
