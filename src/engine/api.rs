//! The one method of each operation.

use crate::Settings;
use ops::{Fault, Kind, container, host, image};
use serde_json::Value;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use types::Id;

/// A host with containers. Opening is cheap: the database is opened, and a user's namespace entered, by the first
/// operation that needs it; so a process that uses it must have one thread until then.
pub struct Engine {
    settings: Settings,
}

/// A connection to the monitor of a container or of an exec session: [`types::attach`] frames, one a packet.
#[derive(Debug)]
pub struct Session {
    /// The container.
    pub container: Id,
    /// The exec session, if this is one.
    pub exec: Option<Id>,
    /// The `SOCK_SEQPACKET` socket.
    pub socket: OwnedFd,
    /// Packets that came before `start` saw its answer: to be read before those of the socket.
    pub pending: VecDeque<Vec<u8>>,
    /// The process has a terminal.
    pub terminal: bool,
    /// Its standard input is open.
    pub interactive: bool,
    /// The container goes when it ends (`--rm`).
    pub remove: bool,
}

impl Engine {
    /// An engine for `settings`. Touches nothing.
    pub fn open(settings: Settings) -> Result<Engine, Fault> {
        Ok(Engine { settings })
    }

    /// What it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes a container; brings its image first if the policy says so. `progress` hears one line of text a step.
    pub fn create(&self, asked: &container::Create, progress: &mut dyn FnMut(&str)) -> Result<container::Created, Fault> {
        let _ = (asked, progress);
        unbuilt("create")
    }

    /// Parks the container's first process under a new monitor, or joins the monitor of one already parked, and
    /// returns the connection. Nothing runs, and no output is lost, until [`Engine::start`].
    pub fn init(&self, name: &str) -> Result<Session, Fault> {
        let _ = name;
        unbuilt("init")
    }

    /// Releases the parked process of a container or exec session and waits until it has executed its program.
    pub fn start(&self, session: &mut Session) -> Result<(), Fault> {
        let _ = session;
        unbuilt("start")
    }

    /// Connects to a running container.
    pub fn attach(&self, name: &str) -> Result<Session, Fault> {
        let _ = name;
        unbuilt("attach")
    }

    /// Parks a new process in a running container; [`Engine::start`] releases it.
    pub fn exec(&self, asked: &container::Exec) -> Result<Session, Fault> {
        let _ = asked;
        unbuilt("exec")
    }

    /// After `Exited` came, by a client that sent `Cleanup`; and by the monitor's cleanup process: records the end,
    /// frees what the container held, and removes it if it was made with `--rm`. A container already gone is no error.
    pub fn cleanup(&self, id: &Id) -> Result<(), Fault> {
        let _ = id;
        unbuilt("cleanup")
    }

    /// The container named by a name, an id or a prefix of one.
    pub fn find(&self, name: &str) -> Result<Id, Fault> {
        let _ = name;
        unbuilt("find")
    }

    /// True if there is such a container.
    pub fn exists(&self, name: &str) -> Result<bool, Fault> {
        let _ = name;
        unbuilt("exists")
    }

    /// Ends a container: its stop signal, then SIGKILL. `None`: there is none, and that was to be ignored.
    pub fn stop(&self, asked: &container::Stop) -> Result<Option<Id>, Fault> {
        let _ = asked;
        unbuilt("stop")
    }

    /// Sends a signal to the first process.
    pub fn kill(&self, asked: &container::Kill) -> Result<Id, Fault> {
        let _ = asked;
        unbuilt("kill")
    }

    /// Removes a container. `None`: there is none, and that was to be ignored.
    pub fn remove(&self, asked: &container::Remove) -> Result<Option<Id>, Fault> {
        let _ = asked;
        unbuilt("remove")
    }

    /// Waits until the container has ended.
    pub fn wait(&self, name: &str) -> Result<container::Exit, Fault> {
        let _ = name;
        unbuilt("wait")
    }

    /// Freezes all processes of a container.
    pub fn pause(&self, name: &str) -> Result<Id, Fault> {
        let _ = name;
        unbuilt("pause")
    }

    /// Thaws them.
    pub fn unpause(&self, name: &str) -> Result<Id, Fault> {
        let _ = name;
        unbuilt("unpause")
    }

    /// Gives a container another name.
    pub fn rename(&self, name: &str, new: &str) -> Result<Id, Fault> {
        let _ = (name, new);
        unbuilt("rename")
    }

    /// The containers, newest last.
    pub fn list(&self, asked: &container::List) -> Result<Vec<container::Summary>, Fault> {
        let _ = asked;
        unbuilt("list")
    }

    /// Hands the lines of a log to `each` until there are no more, or `each` returns false.
    pub fn logs(&self, asked: &container::Logs, each: &mut dyn FnMut(container::LogLine) -> bool) -> Result<(), Fault> {
        let _ = (asked, each);
        unbuilt("logs")
    }

    /// All about a container, in the shape of `podman inspect`.
    pub fn inspect(&self, name: &str) -> Result<Value, Fault> {
        let _ = name;
        unbuilt("inspect")
    }

    /// Brings an image into the store. `progress` hears one line of text a step.
    pub fn pull(&self, asked: &image::Pull, progress: &mut dyn FnMut(&str)) -> Result<image::Loaded, Fault> {
        let _ = (asked, progress);
        unbuilt("pull")
    }

    /// Brings all images of an archive into the store; standard input if no file was named.
    pub fn load(&self, asked: &image::Load) -> Result<Vec<image::Loaded>, Fault> {
        let _ = asked;
        unbuilt("load")
    }

    /// The images, newest first.
    pub fn images(&self, asked: &image::List) -> Result<Vec<image::Summary>, Fault> {
        let _ = asked;
        unbuilt("images")
    }

    /// All about an image, in the shape of `podman image inspect`.
    pub fn inspect_image(&self, name: &str) -> Result<Value, Fault> {
        let _ = name;
        unbuilt("image inspect")
    }

    /// True if there is such an image.
    pub fn image_exists(&self, name: &str) -> Result<bool, Fault> {
        let _ = name;
        unbuilt("image exists")
    }

    /// Gives an image another name.
    pub fn tag_image(&self, name: &str, new: &str) -> Result<(), Fault> {
        let _ = (name, new);
        unbuilt("tag")
    }

    /// Removes an image, or one of its names if it has several.
    pub fn remove_image(&self, asked: &image::Remove) -> Result<image::Removed, Fault> {
        let _ = asked;
        unbuilt("rmi")
    }

    /// About the host and the store.
    pub fn info(&self) -> Result<host::Info, Fault> {
        unbuilt("info")
    }

    /// About this file.
    pub fn version() -> host::Version {
        host::Version {
            version: env!("CARGO_PKG_VERSION").into(),
            api_version: "5.8.0".into(),
            platform: types::Platform::native().to_string(),
        }
    }
}

fn unbuilt<T>(verb: &str) -> Result<T, Fault> {
    Err(Fault::new(Kind::Unsupported, format!("{verb} is not built yet")))
}
