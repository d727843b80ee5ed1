//! The process: what it knows, and its one loop. What is done about each kind of event is in `attach`, `tcp`, `udp`,
//! `echo` and `control`.

use crate::attach::{Attached, Door, Gate};
use crate::attempt::{Attempt, Pair};
use crate::control::Client;
use crate::echo::Echo;
use crate::launch::Standby;
use crate::poll::{Happened, Poll};
use crate::relay::Pipes;
use crate::resolver::Resolvers;
use crate::slab::{Key, Slab, Word};
use crate::sockets::Router;
use crate::tcp::{Connection, Unanswered};
use crate::udp::{Flow, Place};
use crate::watch::Watch;
use crate::way::Way;
use crate::{Attachment, Error};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Kinds of [`Word`]s. The part says which of two: version 4 or 6 of gates, the router's or the host's side of flows.
pub(crate) mod kind {
    pub const CONTROL: u8 = 0;
    pub const CLIENT: u8 = 1;
    pub const LIFE: u8 = 2;
    pub const STREAM_GATE: u8 = 3;
    pub const DATAGRAM_GATE: u8 = 4;
    pub const ECHO_GATE: u8 = 5;
    pub const DOOR: u8 = 6;
    pub const CONNECTION: u8 = 7;
    pub const FLOW: u8 = 8;
    pub const ECHO: u8 = 9;
    pub const QUEUE: u8 = 10;
    pub const ATTEMPT: u8 = 11;
    pub const STANDBY: u8 = 12;
    pub const WATCH: u8 = 13;
}

/// Between two looks at what has to be given up some time. Without such things there are none.
const SWEEP: Duration = Duration::from_secs(5);
/// How long nothing is accepted when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(200);

/// All that the process knows.
pub(crate) struct Server {
    pub directory: PathBuf,
    pub namespace: OwnedFd,
    pub poll: Poll,
    pub router: Router,
    pub resolvers: Resolvers,
    pub listener: OwnedFd,
    pub clients: Slab<Client>,
    pub attached: Slab<Attached>,
    pub gates: Slab<Gate>,
    pub doors: Slab<Door>,
    /// Openings of connections wait here, if the kernel can do that.
    pub queue: Option<sys::queue::Queue>,
    /// Links are watched: the kernel cannot hand packets over.
    pub watch: Option<Watch>,
    pub attempts: Slab<Attempt>,
    /// Connections of the host whose container is about to be connected, and until when they wait for that.
    pub reached: HashMap<Pair, (OwnedFd, Instant)>,
    pub connections: Slab<Connection>,
    pub unanswered: Unanswered,
    pub flows: Slab<Flow>,
    pub places: HashMap<Place, Key>,
    /// Of flows from clients of published ports: gate, container, and as whom the client speaks there.
    pub answers: HashSet<(Key, SocketAddr, SocketAddr)>,
    pub echoes: Slab<Echo>,
    pub pipes: Pipes,
    /// Connections that have more to move.
    pub again: Vec<Key>,
    /// Sources that are held until then.
    pub paused: Vec<(Word, Instant)>,
    pub buffer: Vec<u8>,
    pub now: Instant,
    swept: Instant,
    standby: Standby,
}

impl Server {
    /// Begins with those containers that a predecessor knew and that still live.
    pub fn start(
        directory: PathBuf,
        namespace: OwnedFd,
        resolv_conf: PathBuf,
        standby: Standby,
    ) -> Result<Server, Error> {
        let listener = crate::control::listen(&directory)?;
        let poll = Poll::new().map_err(Error::Start)?;
        poll.source(&listener, Word { kind: kind::CONTROL, part: 0, key: Key::ONLY }).map_err(Error::Start)?;
        let second = namespace.try_clone().map_err(|e| Error::Start(sys::process::errno(e)))?;
        let way = Way::of(&directory);
        let (router, queue, route) = Router::start(second, way).map_err(|e| Error::Start(sys::process::errno(e)))?;
        if way != Way::Handed && route.is_none() {
            return Err(Error::Start(Errno::PROTONOSUPPORT));
        }
        let mut server = Server {
            namespace,
            poll,
            router,
            resolvers: Resolvers::new(resolv_conf),
            listener,
            clients: Slab::default(),
            attached: Slab::default(),
            gates: Slab::default(),
            doors: Slab::default(),
            queue,
            watch: route.map(Watch::new),
            attempts: Slab::default(),
            reached: HashMap::new(),
            connections: Slab::default(),
            unanswered: Unanswered::default(),
            flows: Slab::default(),
            places: HashMap::new(),
            answers: HashSet::new(),
            echoes: Slab::default(),
            pipes: Pipes::default(),
            again: Vec::new(),
            paused: Vec::new(),
            buffer: Vec::new(),
            now: Instant::now(),
            swept: Instant::now(),
            standby,
            directory,
        };
        if let Some(queue) = &server.queue {
            server.poll.source(queue, Word { kind: kind::QUEUE, part: 0, key: Key::ONLY }).map_err(Error::Start)?;
        }
        server.watch_standby()?;
        for attachment in Attachment::all(&server.directory) {
            // One that ended meanwhile, or whose port somebody else took: nobody is there to be told.
            if server.attach(attachment.clone()).is_err() {
                server.forget(&attachment.id);
            }
        }
        Ok(server)
    }

    /// Serves until the last container has ended.
    pub fn serve(&mut self) -> Result<(), Error> {
        loop {
            if self.is_idle() && self.give_up()? {
                return Ok(());
            }
            let limit = self.limit();
            let happened = self.poll.wait(limit).map_err(Error::Start)?;
            self.now = Instant::now();
            for event in happened {
                self.handle(event);
            }
            for key in std::mem::take(&mut self.again) {
                self.pump(key, None);
            }
            self.ask_again();
            self.resume();
            if self.now.duration_since(self.swept) >= SWEEP {
                self.swept = self.now;
                self.sweep();
            }
        }
    }

    /// How long to wait at most.
    fn limit(&mut self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let something = self.flows.len() > 0 || self.echoes.len() > 0 || !self.reached.is_empty();
        let leaving = self.connections.len() > 0 && self.connections.iter().any(|(_, c)| c.is_leaving());
        let sweep = (something || leaving).then(|| SWEEP.saturating_sub(self.now.duration_since(self.swept)));
        let pause = self.paused.iter().map(|(_, until)| until.saturating_duration_since(self.now)).min();
        if sweep.is_none() && pause.is_none() && self.connections.len() == 0 {
            self.pipes.rest();
            self.router.rest();
            self.buffer = Vec::new();
        }
        let unanswered = self.unanswered.next().map(|at| at.saturating_duration_since(self.now));
        // Somebody holds the lock, but has not connected yet, or not any more.
        let look_again = self.is_idle().then_some(PAUSE);
        sweep.into_iter().chain(pause).chain(unanswered).chain(look_again).min()
    }

    fn watch_standby(&self) -> Result<(), Error> {
        self.poll.end(self.standby.pipe(), Word { kind: kind::STANDBY, part: 0, key: Key::ONLY }).map_err(Error::Start)
    }

    /// Nobody would step in any more if this process were killed.
    fn renew_standby(&mut self) {
        self.poll.forget(self.standby.pipe());
        if self.standby.renew(&self.directory, &self.namespace).is_ok() {
            // One that is not watched is not renewed again.
            let _ = self.watch_standby();
        }
    }

    fn handle(&mut self, event: Happened) {
        let Word { kind, part, key } = event.word;
        match kind {
            kind::CONTROL => self.accept_client(),
            kind::CLIENT => self.answer(key),
            kind::LIFE => self.detach(key),
            kind::STREAM_GATE => self.accept_outbound(event.word),
            kind::DATAGRAM_GATE => self.take_outbound(event.word),
            kind::ECHO_GATE => self.take_echoes(key, part == 1),
            kind::DOOR => self.open_door(event.word),
            kind::CONNECTION => self.pump(key, Some((usize::from(part), event.readable, event.writable))),
            kind::FLOW => self.pass(key, usize::from(part)),
            kind::ECHO => self.return_echo(key),
            kind::QUEUE => self.take_openings(),
            kind::WATCH => self.take_beginnings(key),
            kind::STANDBY => self.renew_standby(),
            kind::ATTEMPT => self.answered(key, event.writable),
            // Words are made here only.
            _ => {}
        }
    }

    /// Gives up what nobody has used for long.
    fn sweep(&mut self) {
        self.sweep_connections();
        self.sweep_reached();
        self.sweep_flows();
        self.sweep_echoes();
    }

    /// Holds a source for a while: there are no descriptors, or no memory, to take more from it.
    pub fn pause(&mut self, word: Word) {
        if let Some(socket) = self.source(word)
            && self.poll.hold(socket, word, true).is_ok()
        {
            self.paused.push((word, self.now + PAUSE));
        }
    }

    fn resume(&mut self) {
        for index in (0..self.paused.len()).rev() {
            let (word, until) = self.paused[index];
            if until <= self.now {
                self.paused.swap_remove(index);
                if let Some(socket) = self.source(word) {
                    // One that cannot be told of again would be deaf: there is nothing more to do about it.
                    let _ = self.poll.hold(socket, word, false);
                }
            }
        }
    }

    fn source(&self, word: Word) -> Option<&OwnedFd> {
        let part = usize::from(word.part);
        match word.kind {
            kind::STREAM_GATE => self.gates.get(word.key)?.streams.get(part),
            kind::DATAGRAM_GATE => self.gates.get(word.key)?.datagrams.get(part),
            kind::DOOR => self.doors.get(word.key).map(|door| &door.socket),
            _ => None,
        }
    }
}

/// True for the errors of a host that has run out of something, which passes.
pub(crate) fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}
