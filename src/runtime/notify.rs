//! Who decides on system calls with the action `SCMP_ACT_NOTIFY`: an agent of the host's, which is sent the filter's listening
//! descriptor with the state of the process (OCI runtime specification, config-linux.md, "The Container Process State").
//!
//! The connection is made on the host's side, where its path is; the process that the filter confines sends the descriptor
//! itself, as soon as it has it.

use crate::error::{Context, Error, text};
use crate::seccomp::Filter;
use oci_spec::runtime::{ContainerProcessState, State};
use std::os::fd::{AsFd, OwnedFd};

/// The connection to the agent, and what it is told.
#[derive(Debug)]
pub struct Notify {
    socket: OwnedFd,
    message: Vec<u8>,
}

/// Connects to the agent of `filter`, if it has one.
pub fn connect(filter: Option<&Filter>) -> Result<Option<OwnedFd>, Error> {
    let Some(listener) = filter.and_then(Filter::listener) else { return Ok(None) };
    let socket = sys::channel::connect_stream(&listener.path).map_err(|errno| {
        Error::Seccomp(format!("connect to the agent at \"{}\": {}", listener.path.display(), text(errno)))
    })?;
    sys::process::out_of_the_way(socket).map(Some).step("move the agent's socket")
}

impl Notify {
    /// For process `pid` (as the runtime sees it) of the container in `state`.
    pub fn new(socket: OwnedFd, filter: &Filter, pid: i32, state: State) -> Notify {
        let metadata = filter.listener().map(|l| l.metadata.clone()).filter(|text| !text.is_empty());
        let mut process = ContainerProcessState::default();
        process
            .set_version(state.version().clone())
            .set_fds(vec!["seccompFd".into()])
            .set_pid(pid)
            .set_metadata(metadata)
            .set_state(state);
        Notify { socket, message: serde_json::to_vec(&process).unwrap_or_default() }
    }

    /// Sends it, and closes both.
    pub fn send(self, listener: OwnedFd) -> Result<(), Error> {
        sys::channel::send_stream(&self.socket, &self.message, &[listener.as_fd()])
            .map_err(|errno| Error::Seccomp(format!("send the listener to the agent: {}", text(errno))))
    }
}
