//! Packets that wait until this process decides about them (nfnetlink_queue): a rule of [`crate::nftables`] puts them there.
//!
//! Must not know: what is decided by.

use crate::netlink::{Family, Requests, Socket, attributes};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd};

const NFNL_SUBSYS_QUEUE: u16 = 3 << 8;
const PACKET: u16 = 0;
const VERDICT: u16 = 1;
const CONFIG: u16 = 2;

/// A packet that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// By which it is decided.
    pub id: u32,
    /// Number of the link that it came by.
    pub link: u32,
    /// Its beginning, from the header of the protocol IP on.
    pub bytes: &'a [u8],
}

/// A queue; its packets are accepted if nobody has it, where the rule says so.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    number: u16,
}

impl Queue {
    /// Takes queue `number` of the present network namespace, with the first `bytes` of each packet; at most `most` wait, and
    /// more are dropped. `EBUSY`: another process has it.
    pub fn open(number: u16, bytes: u32, most: u32) -> Result<Queue> {
        let mut socket = Socket::open(Family::Netfilter)?;
        let mut requests = Requests::new();
        let header = header(number);
        // NFQA_CFG_CMD: NFQNL_CFG_CMD_BIND.
        requests.add(NFNL_SUBSYS_QUEUE | CONFIG, 0, &header, |a| {
            a.bytes(1, &[1, 0, 0, 0]);
        });
        // NFQA_CFG_PARAMS: NFQNL_COPY_PACKET; NFQA_CFG_QUEUE_MAXLEN.
        requests.add(NFNL_SUBSYS_QUEUE | CONFIG, 0, &header, |a| {
            let range = bytes.to_be_bytes();
            a.bytes(2, &[range[0], range[1], range[2], range[3], 2]).big(3, most);
        });
        socket.carry_out(&mut requests).map_err(|refusal| refusal.errno)?;
        Ok(Queue { socket, number })
    }

    /// Hands those that wait to `found`; `EAGAIN` if there are none.
    pub fn take(&self, buffer: &mut [u8], mut found: impl FnMut(Held<'_>)) -> Result<()> {
        self.socket.hear(buffer, |kind, body| {
            if kind == NFNL_SUBSYS_QUEUE | PACKET {
                found_in(body).into_iter().for_each(&mut found);
            }
        })
    }

    /// Decides: it goes on, or is dropped. One that is gone already is no error.
    pub fn decide(&mut self, id: u32, goes_on: bool) -> Result<()> {
        let mut requests = Requests::new();
        requests.add(NFNL_SUBSYS_QUEUE | VERDICT, 0, &header(self.number), |a| {
            let (verdict, id) = (u32::from(goes_on).to_be_bytes(), id.to_be_bytes());
            a.bytes(2, &[verdict, id].concat());
        });
        match self.socket.tell(&mut requests) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// struct nfgenmsg: the queue's number, big-endian.
fn header(number: u16) -> [u8; 4] {
    let number = number.to_be_bytes();
    [0, 0, number[0], number[1]]
}

/// NFQA_PACKET_HDR 1, NFQA_IFINDEX_INDEV 5, NFQA_PAYLOAD 10.
fn found_in(body: &[u8]) -> Option<Held<'_>> {
    let value = |kind| attributes(body.get(4..).unwrap_or_default()).find(|a| a.0 == kind).map(|a| a.1);
    let number = |bytes: &[u8]| bytes.first_chunk::<4>().map(|n| u32::from_be_bytes(*n));
    Some(Held { id: number(value(1)?)?, link: value(5).and_then(number)?, bytes: value(10).unwrap_or_default() })
}
