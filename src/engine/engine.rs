//! The engine: what it holds, and where its files are.
//!
//! ```text
//! ROOT/monopod.db              see `database` (the store's tables too)
//! ROOT/idmap                   the ids of an ordinary user's store, see `rootless`
//! ROOT/containers/ID/          files of one container; flock(2) on it is the container's lock
//!   ctr.log                    its output
//!   hosts hostname resolv.conf containerenv
//!   health                       what its health checks said, see `container::health`
//!   overlay/N/                 what it writes over a directory that it sees as an overlay (`:O`)
//! ROOT/volumes/NAME/           see `volume`
//! RUNROOT/members              who is in an ordinary user's namespace, see `rootless`
//! RUNROOT/events/                see `event`
//! RUNROOT/containers/ID.RUN/   records of one run, see `monitor::record`
//! ```

use crate::Settings;
use crate::container::facts::Facts;
use crate::database::Database;
use crate::event::Subject;
use crate::rootless::{self, Host};
use ops::Fault;
use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use store::Store;
use types::Id;

/// A host with containers. Opening is cheap: the database is opened, and a user's namespace entered, by the first
/// operation that needs it; so a process that uses it must have one thread until then.
pub struct Engine {
    pub(crate) settings: Settings,
    host: OnceCell<Host>,
    connection: OnceCell<store::database::Handle>,
    database: OnceCell<Database>,
    store: OnceCell<Store>,
    boot: OnceCell<String>,
    facts: OnceCell<Facts>,
    /// The kernel has a packet filter: asked only where it matters.
    pub(crate) filtered: OnceCell<bool>,
    configuration: crate::configuration::Cell,
    /// Descriptors, by number, that the next process which is made inherits.
    pub(crate) handed_on: RefCell<Vec<i32>>,
    /// Lines about what happened that are still to be written.
    pub(crate) events: RefCell<Vec<u8>>,
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
    /// Records of the container's run, if this is not an exec session.
    pub(crate) run_directory: Option<PathBuf>,
    /// Packets that came before `start` saw its answer: to be read before those of the socket.
    pub pending: VecDeque<Vec<u8>>,
    /// The process has a terminal.
    pub terminal: bool,
    /// Its standard input is open.
    pub interactive: bool,
    /// The container goes when it ends (`--rm`).
    pub remove: bool,
    /// The process has executed its program.
    pub started: bool,
    /// Nobody is told of it.
    pub(crate) untold: bool,
    /// Whom events are about.
    pub(crate) subject: Subject,
}

impl Engine {
    /// An engine for `settings`. Touches nothing.
    pub fn open(settings: Settings) -> Result<Engine, Fault> {
        Ok(Engine {
            settings,
            host: OnceCell::new(),
            connection: OnceCell::new(),
            database: OnceCell::new(),
            store: OnceCell::new(),
            boot: OnceCell::new(),
            facts: OnceCell::new(),
            filtered: OnceCell::new(),
            configuration: Default::default(),
            handed_on: RefCell::default(),
            events: RefCell::default(),
        })
    }

    /// The next process that is made inherits these descriptors of this process, by their numbers; here they are closed then. To be
    /// called before anything else, which could open a file at one of the numbers.
    ///
    /// # Errors
    /// One that is not open.
    pub fn hand_on(&self, descriptors: Vec<i32>) -> Result<(), Fault> {
        for number in &descriptors {
            // Until then nobody else is to inherit it.
            sys::process::close_on_exec(*number).map_err(|_| {
                Fault::invalid(format!(
                    "file descriptor {number} is not available - the preserve-fds option requires that file descriptors must be passed"
                ))
            })?;
        }
        self.handed_on.replace(descriptors);
        Ok(())
    }

    /// What it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The namespace that containers live in, entered by the first call.
    pub(crate) fn host(&self) -> Result<&Host, Fault> {
        once(&self.host, || rootless::enter(&self.settings))
    }

    /// What containers.conf says, read by the first call.
    pub(crate) fn host_configuration(&self) -> Result<&crate::configuration::Configuration, Fault> {
        self.configuration.get(&self.settings.configuration)
    }

    /// The engine's tables.
    pub(crate) fn database(&self) -> Result<&Database, Fault> {
        once(&self.database, || Database::open(self.connection()?, &self.settings.root))
    }

    /// The connection that the engine's tables and the store's share.
    fn connection(&self) -> Result<store::database::Handle, Fault> {
        let open = || store::database::Handle::open(&self.settings.root).map_err(crate::fault::store);
        once(&self.connection, open).cloned()
    }

    /// The store, from within the namespace.
    pub(crate) fn store(&self) -> Result<&Store, Fault> {
        once(&self.store, || {
            let host = self.host()?;
            let options = store::Options {
                in_user_namespace: host.in_user_namespace,
                single_id: host.single_id,
                collect: true,
                wanted: self.settings.storage,
            };
            let store = Store::with(self.connection()?, &self.settings.root, options).map_err(crate::fault::store)?;
            store.with_lent(&self.settings.image_stores).map_err(crate::fault::store)
        })
    }

    /// What every container is decided by, read once.
    pub(crate) fn facts(&self) -> Result<&Facts, Fault> {
        once(&self.facts, || self.read_facts())
    }

    /// The id of this boot; empty where there is no /proc.
    pub(crate) fn boot(&self) -> &str {
        self.boot.get_or_init(|| {
            let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            text.trim().to_owned()
        })
    }

    /// Files of a container that outlast its runs.
    pub(crate) fn container_directory(&self, id: &Id) -> PathBuf {
        self.settings.root.join("containers").join(id.as_str())
    }

    /// Records of one run. Every run has a directory of its own, so that the monitor of an earlier one cannot disturb.
    pub(crate) fn run_directory(&self, id: &Id, run: i64) -> PathBuf {
        self.settings.run_root.join("containers").join(format!("{id}.{run}"))
    }
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, Fault>) -> Result<&T, Fault> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}
