//! The keeper of a ground: one process for each network namespace, there only while it is needed. It answers for the names of
//! containers, keeps addresses that were lent to them, and takes down networks that nobody is in any more, a moment later: a bridge that goes costs 50 ms, and
//! mostly the next container comes before.
//!
//! It has flock(2) on the file `keeper` of the ground while it lives; whoever finds that free starts another. It is two
//! processes: one works, the other starts it again if it is killed; and if that other one is killed, a new pair takes over.
//! The file `served` lists the networks whose names are answered. Between two events it waits for the kernel, and costs nothing.

use crate::ground::Ground;
use crate::lease::Leases;
use crate::names::forward::Way;
use crate::names::serve::Server;
use crate::names::{Names, servers_of};
use crate::{Definition, Error};
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, WaitOptions};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::role::Role;

/// How long networks stay that nobody is in.
const GRACE: Duration = Duration::from_secs(1);
/// How long a start waits until names are answered.
const PATIENCE: Duration = Duration::from_secs(5);
const SERVED: &str = "served";

/// The keeper's lock, if it is free. Only to be asked for with the lock of the ground: then whoever only looks does not
/// keep a keeper from having it.
pub(crate) fn lock(ground: &Ground) -> Option<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(ground.path("keeper"), flags, Mode::from_raw_mode(0o600)).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Starts one for `ground`; if there is one it ends again at once.
pub(crate) fn start(ground: &Ground) -> Result<(), Error> {
    let nothing = || -> rustix::io::Result<OwnedFd> {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .or_else(|_| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map(|(read, _)| read))
    };
    let (input, output) = (nothing().map_err(Error::Socket)?, nothing().map_err(Error::Socket)?);
    let resolver = ground.resolver().map(|ip| ip.to_string()).unwrap_or_default();
    let arguments = [ground.directory().as_os_str(), OsStr::new(ground.boot()), OsStr::new(&resolver)];
    let fail = |source| Error::File { what: "start the keeper of", path: ground.directory().to_owned(), source };
    sys::role::spawn(Role::Ground, &arguments, input, output).map(drop).map_err(fail)
}

/// Waits until the names of these networks are answered.
pub(crate) fn wait_until_served(ground: &Ground, networks: &[String]) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        let served = std::fs::read_to_string(ground.path(SERVED)).unwrap_or_default();
        if networks.iter().all(|n| served.lines().any(|s| s == n)) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Error::Unserved { networks: networks.join(", ") });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The role's `main`: its arguments are the directory of the ground, the boot, and whom to ask ([`Ground::asking`]).
pub fn main() -> u8 {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, boot, resolver] = words.as_slice() else { return 125 };
    // Whoever started it may have a terminal, which is not ours to end with.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let ground = Ground::at(directory.into(), &boot.to_string_lossy());
    let ground = match resolver.to_string_lossy().parse() {
        Ok(resolver) => ground.asking(resolver),
        Err(_) => ground,
    };
    let Ok(Some(lock)) = ground.keeper() else { return 0 };
    let mut lock = Some(lock);
    loop {
        let Ok((alive, held)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else { return 1 };
        let mut end_of_child = Some((alive, held));
        let child = sys::role::fork(|| {
            let Some((alive, held)) = end_of_child.take() else { return 1 };
            drop(held);
            work(&ground, &mut lock, &alive)
        });
        let Some(child) = child.ok().and_then(Pid::from_raw) else { return 1 };
        match rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty())) {
            Ok(Some((_, status))) if status.signaled() => {}
            _ => return 0,
        }
    }
}

/// Serves until nobody needs it. `alive` ends with the process that would start it again.
fn work(ground: &Ground, lock: &mut Option<OwnedFd>, alive: &OwnedFd) -> u8 {
    let watch = || -> rustix::io::Result<OwnedFd> {
        let watch = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        rustix::fs::inotify::add_watch(&watch, ground.directory(), WatchFlags::MOVED_TO | WatchFlags::DELETE)?;
        Ok(watch)
    };
    let Ok(watch) = watch() else { return 1 };
    let mut server = Server::new(if ground.resolver().is_some() { Way::Loopback } else { Way::Free });
    let mut leases = Leases::default();
    let mut written: Option<String> = None;
    let mut idle_since: Option<Instant> = None;
    loop {
        let (networks, holdings) = ground.networks_and_holdings();
        let idle = networks.keys().any(|n| !holdings.iter().flat_map(|h| &h.joints).any(|j| j.network == *n));
        let answers = networks.values().any(Definition::is_kept);
        leases.reload(ground, &holdings);
        // The host's servers are looked up again whenever a container comes or goes.
        let host = match ground.resolver() {
            Some(resolver) => vec![resolver],
            None => servers_of(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
        };
        let served = server.reload(Names::new(&networks, &holdings, host)).join("\n");
        if written.as_ref() != Some(&served) {
            let temporary = ground.path("served.new");
            if std::fs::write(&temporary, &served)
                .and_then(|()| std::fs::rename(&temporary, ground.path(SERVED)))
                .is_err()
            {
                return 1;
            }
            written = Some(served);
        }
        idle_since = if idle || !answers { idle_since.or(Some(Instant::now())) } else { None };
        match server.run(&[watch.as_fd(), alive.as_fd()], idle_since.map(|since| since + GRACE)) {
            Some(0) => while rustix::io::read(&watch, &mut [0u8; 4096]).is_ok_and(|n| n > 0) {},
            Some(_) => {
                // Killed alone: a new pair, once the lock is free.
                if let Some(lock) = lock.take() {
                    let _ = rustix::fs::flock(&lock, FlockOperation::Unlock);
                }
                return u8::from(start(ground).is_err());
            }
            None => match ground.settle(lock) {
                Ok(true) => idle_since = None,
                Ok(false) => return 0,
                Err(_) => return 1,
            },
        }
    }
}
