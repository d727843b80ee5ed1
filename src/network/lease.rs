//! Addresses that a server on the device's own network lends (DHCP): obtained by whoever starts a container, from within its
//! network namespace; kept, and given back at its end, by the keeper, with a thread for each that sleeps nearly always.
//!
//! Must not know: how messages look ([`crate::dhcp`]).

use crate::Error;
use crate::dhcp::{CLIENT, Client, Lease, Says, Told};
use crate::ground::Ground;
use crate::holding::{Holding, Joint};
use rustix::event::{PollFd, PollFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::links;
use sys::netlink::{Family, Socket};
use types::Id;

/// How long a container's start waits for an address: servers look for three seconds whether somebody has it.
const PATIENCE: Duration = Duration::from_secs(15);
/// When a question is asked again for the first time, then after twice as long each time (RFC 2131 4.1 has 4 seconds, for
/// networks of another time).
const FIRST: Duration = Duration::from_millis(800);
/// The longest time between two questions.
const LAST: Duration = Duration::from_secs(4);
/// Least time between two attempts to keep a lease (RFC 2131 4.4.5), in seconds.
const MINUTE: u64 = 60;
/// All that a thread needs.
const STACK: usize = 128 << 10;

/// A way to servers from one link.
struct Line {
    client: Client,
    link: u32,
    socket: OwnedFd,
}

/// What came of waiting.
enum Heard {
    Told(Told),
    Nothing,
    /// Nobody needs the address any more, or this process ends.
    Stopped,
}

/// Obtains an address for the link `interface` in the network namespace behind `namespace`, for a container named `name`.
pub(crate) fn obtain(namespace: BorrowedFd<'_>, interface: &str, name: &str, network: &str) -> Result<Lease, Error> {
    let line = sys::netlink::inside(namespace, || Line::open(interface, name)).map_err(Error::Socket)??;
    line.obtain(None)?.ok_or_else(|| Error::Unlent { network: network.to_owned() })
}

impl Line {
    /// From a link in the namespace of the calling thread.
    fn open(interface: &str, name: &str) -> Result<Line, Error> {
        let mut route = Socket::open(Family::Route).map_err(Error::Socket)?;
        let found = links::find(&mut route, interface).map_err(Error::Socket)?;
        let hardware = *found.address.first_chunk::<6>().ok_or(Error::Gone)?;
        let socket = sys::frames::open(found.index, CLIENT).map_err(Error::Socket)?;
        Ok(Line { client: Client { hardware, name: name.to_owned() }, link: found.index, socket })
    }

    /// `None`: nobody lends one, or it was stopped.
    fn obtain(&self, stop: Option<BorrowedFd<'_>>) -> Result<Option<Lease>, Error> {
        let end = Instant::now() + PATIENCE;
        let mut wait = FIRST;
        let number = random()?;
        while Instant::now() < end {
            match self.ask(Says::Discover, number, wait, stop)? {
                Heard::Told(Told::Offer(offer)) => match self.ask(Says::Take(&offer), number, LAST, stop)? {
                    Heard::Told(Told::Have(lease)) => return Ok(Some(lease)),
                    Heard::Stopped => return Ok(None),
                    Heard::Told(_) | Heard::Nothing => {}
                },
                Heard::Stopped => return Ok(None),
                Heard::Told(_) | Heard::Nothing => {}
            }
            wait = (wait * 2).min(LAST);
        }
        Ok(None)
    }

    /// Says it, and waits for an answer of the kind that belongs to it.
    fn ask(&self, says: Says<'_>, number: u32, wait: Duration, stop: Option<BorrowedFd<'_>>) -> Result<Heard, Error> {
        self.say(says, number)?;
        let end = Instant::now() + wait;
        let mut buffer = [0; 2048];
        loop {
            while let Ok((length, by)) = sys::frames::receive(&self.socket, &mut buffer) {
                match (says, self.client.told(&buffer[..length], number, by, now())) {
                    (_, None) | (Says::Discover, Some(Told::Have(_) | Told::No)) => {}
                    // Another server's, after ours.
                    (Says::Take(_) | Says::Keep(_), Some(Told::Offer(_))) => {}
                    (_, Some(told)) => return Ok(Heard::Told(told)),
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Heard::Nothing);
            }
            let all = [self.socket.as_fd()].into_iter().chain(stop);
            let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            sys::reactor::wait(&mut polled, Some(left)).map_err(Error::Socket)?;
            if polled.get(1).is_some_and(|stop| !stop.revents().is_empty()) {
                return Ok(Heard::Stopped);
            }
        }
    }

    fn say(&self, says: Says<'_>, number: u32) -> Result<(), Error> {
        // Of who lent it until it is late, then of anybody.
        let known = match says {
            Says::Keep(lease) => Some(lease.by).filter(|_| age(lease) < lease.again[1].into()),
            Says::Release(lease) => Some(lease.by),
            Says::Discover | Says::Take(_) => None,
        };
        let packet = self.client.packet(says, number, known.is_none());
        match sys::frames::send(&self.socket, self.link, known.unwrap_or(sys::frames::ALL), &packet) {
            // The device is down: it may come back.
            Ok(()) | Err(rustix::io::Errno::NETDOWN) => Ok(()),
            Err(errno) => Err(Error::Socket(errno)),
        }
    }
}

/// Seconds since the host was started, those that it slept included.
fn now() -> u64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec.unsigned_abs()
}

fn age(lease: &Lease) -> u64 {
    now().saturating_sub(lease.since)
}

fn random() -> Result<u32, Error> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(Error::Socket)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Those that are kept.
#[derive(Debug, Default)]
pub(crate) struct Leases(Vec<Kept>);

/// Whose it is: container, its process, when that started, network.
type Owner = (Id, i32, u64, String);

#[derive(Debug)]
struct Kept {
    owner: Owner,
    /// A byte in it gives the lease back; its end, when this process ends, leaves it to the next keeper.
    stop: OwnedFd,
    thread: std::thread::JoinHandle<()>,
}

impl Leases {
    /// Keeps those of these containers, and gives all others back.
    pub fn reload(&mut self, ground: &Ground, holdings: &[Holding]) {
        let owner = |h: &Holding, j: &Joint| (h.id.clone(), h.pid, h.since, j.network.clone());
        let wanted: Vec<(Owner, &Holding, &Joint)> = holdings
            .iter()
            .flat_map(|h| h.joints.iter().filter(|j| j.lease.is_some()).map(move |j| (owner(h, j), h, j)))
            .collect();
        let (stay, go): (Vec<Kept>, Vec<Kept>) =
            std::mem::take(&mut self.0).into_iter().partition(|kept| wanted.iter().any(|w| w.0 == kept.owner));
        self.0 = stay;
        for Kept { stop, thread, .. } in go {
            let _ = rustix::io::write(&stop, b".");
            let _ = thread.join();
        }
        for (owner, holding, joint) in wanted {
            if !self.0.iter().any(|kept| kept.owner == owner) {
                // One that cannot be kept ends when its time is over.
                self.0.extend(keep(ground.clone(), owner, holding, joint));
            }
        }
    }
}

fn keep(ground: Ground, owner: Owner, holding: &Holding, joint: &Joint) -> Option<Kept> {
    let namespace = sys::netlink::namespace_of(holding.pid).ok().filter(|_| holding.lives())?;
    let line = sys::netlink::inside(namespace.as_fd(), || Line::open(&joint.interface, &holding.name)).ok()?.ok()?;
    let (wake, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    let lease = joint.lease.clone()?;
    let of = owner.clone();
    let work = move || {
        let mut lease = lease;
        // The namespace and its link stay until the lease is given back.
        let ended = keep_on(&line, &mut lease, wake.as_fd(), &mut |lease| {
            ground.lend(&of.0, &of.3, lease, namespace.as_fd()).is_ok()
        });
        if matches!(ended, Ok(true)) {
            let _ = random().and_then(|number| line.say(Says::Release(&lease), number));
        }
    };
    let thread = std::thread::Builder::new().name("monopod-lease".into()).stack_size(STACK).spawn(work).ok()?;
    Some(Kept { owner, stop, thread })
}

/// Asks for the lease again whenever it is time. True when it is to be given back.
fn keep_on(
    line: &Line,
    lease: &mut Lease,
    stop: BorrowedFd<'_>,
    changed: &mut dyn FnMut(&Lease) -> bool,
) -> Result<bool, Error> {
    let mut lost = false;
    loop {
        let old = age(lease);
        let wait = if lost || old >= lease.seconds.into() {
            match line.obtain(Some(stop))? {
                Some(new) => {
                    lost = !changed(&new);
                    *lease = new;
                    0
                }
                None => MINUTE,
            }
        } else if old < lease.again[0].into() {
            u64::from(lease.again[0]) - old
        } else {
            match line.ask(Says::Keep(lease), random()?, LAST, Some(stop))? {
                Heard::Told(Told::Have(new)) => {
                    // A ground that cannot be written to tells the next keeper of earlier times, no more.
                    let _ = changed(&new);
                    *lease = new;
                    0
                }
                Heard::Told(_) => {
                    lost = true;
                    0
                }
                Heard::Nothing | Heard::Stopped => {
                    let next = lease.again.iter().copied().map(u64::from).find(|at| *at > old);
                    let left = next.unwrap_or(lease.seconds.into()).saturating_sub(old);
                    (left / 2).max(left.min(MINUTE)).max(1)
                }
            }
        };
        if let Some(release) = stopped(stop, Duration::from_secs(wait))? {
            return Ok(release);
        }
    }
}

/// Waits; true if the lease is to be given back, false if this process ends.
fn stopped(stop: BorrowedFd<'_>, wait: Duration) -> Result<Option<bool>, Error> {
    let end = Instant::now() + wait;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        sys::reactor::wait(&mut polled, Some(left)).map_err(Error::Socket)?;
        if !polled[0].revents().is_empty() {
            let said = rustix::io::retry_on_intr(|| rustix::io::read(stop, &mut [0u8; 1])).map_err(Error::Socket)?;
            return Ok(Some(said > 0));
        }
        if left.is_zero() {
            return Ok(None);
        }
    }
}
