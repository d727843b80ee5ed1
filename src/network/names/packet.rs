//! Packets of DNS (RFC 1035, section 4): a question is read, an answer written. What comes from a container may be anything.

use std::net::IpAddr;

/// Longest answer over UDP to whoever did not say that they take more (RFC 1035, 4.2.1).
pub const UDP_LIMIT: usize = 512;
/// What we take over UDP, and send at most to who takes more: fits into a packet of any network.
const EXTENDED_LIMIT: u16 = 1232;
/// Seconds for which an answer may be remembered: addresses go to other containers soon.
const REMEMBER: u32 = 10;

const HEADER: usize = 12;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    A,
    Aaaa,
    Pointer,
    Any,
    Other,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// In lower case, without the dot at the end.
    pub name: String,
    /// What is asked for.
    pub kind: Kind,
    /// Where it ends in its packet.
    pub end: usize,
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not a question at all: nothing is answered.
    Silent,
    /// It is answered with this code.
    Code(u8),
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR.
    Pointer(String),
}

/// `FORMERR`, `SERVFAIL`, `NXDOMAIN`, `NOTIMP`, `REFUSED`.
pub const FORMAT: u8 = 1;
/// The servers did not answer.
pub const FAILED: u8 = 2;
/// There is no such name.
pub const NO_NAME: u8 = 3;
const NOT_BUILT: u8 = 4;
/// Not for whoever asks.
pub const REFUSED: u8 = 5;

/// Reads the one question of a packet.
pub fn read(packet: &[u8]) -> Result<Question, Wrong> {
    let header = packet.get(..HEADER).ok_or(Wrong::Silent)?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if header[2] & 0x80 != 0 {
        return Err(Wrong::Silent);
    }
    if header[2] & 0x78 != 0 {
        return Err(Wrong::Code(NOT_BUILT));
    }
    if count(4) != 1 || count(6) != 0 {
        return Err(Wrong::Code(FORMAT));
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*packet.get(at).ok_or(Wrong::Code(FORMAT))?);
        at += 1;
        match length {
            0 => break,
            // Names of questions are not compressed: there is nothing before them.
            64.. => return Err(Wrong::Code(FORMAT)),
            _ => {}
        }
        let label = packet.get(at..at + length).ok_or(Wrong::Code(FORMAT))?;
        at += length;
        if at - HEADER > 255 {
            return Err(Wrong::Code(FORMAT));
        }
        if !name.is_empty() {
            name.push('.');
        }
        // A label with a dot or other bytes in it is no name of ours, and must not look like one.
        let plain =
            |b: &u8| if b.is_ascii_graphic() && *b != b'.' { b.to_ascii_lowercase().into() } else { '\u{fffd}' };
        name.extend(label.iter().map(plain));
    }
    let tail = packet.get(at..at + 4).ok_or(Wrong::Code(FORMAT))?;
    let kind = match (u16::from_be_bytes([tail[0], tail[1]]), u16::from_be_bytes([tail[2], tail[3]])) {
        (1, 1 | 255) => Kind::A,
        (28, 1 | 255) => Kind::Aaaa,
        (12, 1 | 255) => Kind::Pointer,
        (255, 1 | 255) => Kind::Any,
        _ => Kind::Other,
    };
    Ok(Question { name, kind, end: at + 4 })
}

/// An answer to `packet` with `records`; what does not fit into `limit` bytes is left out, and said to be (TC).
pub fn answer(packet: &[u8], end: usize, records: &[Record], limit: usize) -> Vec<u8> {
    let extension = extension(packet, end);
    let limit = match extension {
        Some(said) if limit == UDP_LIMIT => {
            usize::from(said.size.min(EXTENDED_LIMIT)).max(UDP_LIMIT) - Extension::LENGTH
        }
        _ => limit,
    };
    let mut out = bare_head(packet, end, 0);
    // We are who knows these names (AA).
    out[2] |= 4;
    let mut count: u16 = 0;
    let refused = extension.is_some_and(|said| said.version > 0);
    for record in records.iter().filter(|_| !refused) {
        let (kind, data) = match record {
            Record::Address(IpAddr::V4(a)) => (1u16, a.octets().to_vec()),
            Record::Address(IpAddr::V6(a)) => (28, a.octets().to_vec()),
            Record::Pointer(name) => (12, encode(name)),
        };
        if out.len() + 12 + data.len() > limit {
            out[2] |= 2;
            break;
        }
        // The name is that of the question.
        out.extend([0xc0, HEADER as u8]);
        out.extend(kind.to_be_bytes());
        out.extend(1u16.to_be_bytes());
        out.extend(REMEMBER.to_be_bytes());
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
        count += 1;
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    extend(&mut out, extension);
    out
}

/// An answer to `packet` with nothing but a code. `end` is where its question ends; 0 leaves that out.
pub fn refusal(packet: &[u8], end: usize, code: u8) -> Vec<u8> {
    head(packet, end, code)
}

fn head(packet: &[u8], end: usize, code: u8) -> Vec<u8> {
    let mut out = bare_head(packet, end, code);
    if end > HEADER {
        extend(&mut out, extension(packet, end));
    }
    out
}

/// What whoever asks says of themselves (EDNS, RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extension {
    /// Longest answer over UDP that they take.
    size: u16,
    /// Of what they speak; 0 is all there is yet.
    version: u8,
}

impl Extension {
    /// Bytes of ours.
    const LENGTH: usize = 11;
}

/// The extension of a packet whose question ends at `end`.
fn extension(packet: &[u8], end: usize) -> Option<Extension> {
    const OPT: u16 = 41;
    let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk::<2>()?));
    // Records of authority, which no question has, would come first.
    let count = if word(8)? == 0 { word(10)? } else { 0 };
    let mut at = end;
    for _ in 0..count {
        loop {
            match *packet.get(at)? {
                0 => break at += 1,
                // The rest of the name is elsewhere.
                0xc0.. => break at += 2,
                length => at += 1 + usize::from(length),
            }
        }
        if word(at)? == OPT {
            return Some(Extension { size: word(at + 2)?, version: *packet.get(at + 5)? });
        }
        at += 10 + usize::from(word(at + 8)?);
    }
    None
}

/// Says the same of us, to who said it of themselves; another version than ours is refused by it (`BADVERS`).
fn extend(out: &mut Vec<u8>, theirs: Option<Extension>) {
    let Some(theirs) = theirs else { return };
    let [high, low] = EXTENDED_LIMIT.to_be_bytes();
    out.extend([0, 0, 41, high, low, u8::from(theirs.version > 0), 0, 0, 0, 0, 0]);
    out[HEADER - 1] = 1;
    if theirs.version > 0 {
        out[3] &= 0xf0;
    }
}

fn bare_head(packet: &[u8], end: usize, code: u8) -> Vec<u8> {
    let mut out = packet.get(..end.max(HEADER)).unwrap_or(&[0; HEADER]).to_vec();
    // QR, and RD as it was; RA: we pass questions on.
    out[2] = 0x80 | packet.get(2).copied().unwrap_or(0) & 0x79;
    out[3] = 0x80 | code;
    let questions: u16 = if end > HEADER { 1 } else { 0 };
    out[4..6].copy_from_slice(&questions.to_be_bytes());
    out[6..HEADER].fill(0);
    out
}

fn encode(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|l| !l.is_empty() && l.len() < 64) {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

/// True if `answer` is one to `question`: the same number is the caller's to compare.
pub fn answers(answer: &[u8], question: &[u8], end: usize) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && answer.get(4..6) == question.get(4..6)
        && match (answer.get(HEADER..end), question.get(HEADER..end)) {
            (Some(a), Some(q)) => a.eq_ignore_ascii_case(q),
            _ => false,
        }
}
