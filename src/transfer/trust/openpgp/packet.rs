//! Packets of OpenPGP (RFC 9580, section 4), their armour, and the shape of a signed message.

use super::{LARGEST, Outcome};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Read;

/// Most packets of a file.
const MOST: usize = 4096;
/// Deepest nesting of compressed data.
const DEPTH: usize = 2;

/// Tags of packets.
pub const SIGNATURE: u8 = 2;
pub const ONE_PASS: u8 = 4;
pub const SECRET_KEY: u8 = 5;
pub const PUBLIC_KEY: u8 = 6;
pub const SECRET_SUBKEY: u8 = 7;
pub const COMPRESSED: u8 = 8;
pub const MARKER: u8 = 10;
pub const LITERAL: u8 = 11;
pub const USER_ID: u8 = 13;
pub const PUBLIC_SUBKEY: u8 = 14;
pub const USER_ATTRIBUTE: u8 = 17;
pub const PADDING: u8 = 21;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// Bytes that are taken from the front.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a packet of OpenPGP is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    /// A big-endian number of `count` bytes, at most 4.
    pub fn number(&mut self, count: usize) -> Outcome<u32> {
        Ok(self.take(count)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// A multi-precision integer: its length in bits, and its bytes.
    pub fn integer(&mut self) -> Outcome<&'a [u8]> {
        let bits = self.number(2)? as usize;
        self.take(bits.div_ceil(8))
    }
}

/// The packets of a file, which may be armoured, and hold several armoured pieces.
pub fn packets(bytes: &[u8]) -> Outcome<Vec<Packet>> {
    if bytes.len() > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    // No packet begins with a byte below 128, and no armour with one above.
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        return binary(bytes);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is neither armoured nor binary OpenPGP")?;
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN PGP ") {
        let (title, begun) = begun.split_once('\n').ok_or("its armour is cut off")?;
        if !title.trim_end().ends_with("-----") || title.starts_with("SIGNED MESSAGE") {
            return Err("its armour is none that holds keys or a message".into());
        }
        let (block, after) = begun.split_once("-----END PGP ").ok_or("its armour has no end")?;
        rest = after;
        all.extend(binary(&dearmoured(block)?)?);
        if all.len() > MOST {
            return Err(format!("it has more than {MOST} packets"));
        }
    }
    if all.is_empty() { Err("it holds no OpenPGP".into()) } else { Ok(all) }
}

/// The bytes of an armoured block: headers, an empty line, base64, perhaps a check sum.
fn dearmoured(block: &str) -> Outcome<Vec<u8>> {
    let mut data = String::with_capacity(block.len());
    let mut headers = true;
    for line in block.lines().map(str::trim) {
        if headers && (line.is_empty() || line.contains(": ")) {
            headers = !line.is_empty();
            continue;
        }
        headers = false;
        if line.starts_with('=') {
            break;
        }
        data.push_str(line);
    }
    STANDARD.decode(data).map_err(|_| "its armour is damaged".into())
}

fn binary(bytes: &[u8]) -> Outcome<Vec<Packet>> {
    let mut cursor = Cursor(bytes);
    let mut found = Vec::new();
    while !cursor.0.is_empty() {
        if found.len() == MOST {
            return Err(format!("it has more than {MOST} packets"));
        }
        found.push(packet(&mut cursor)?);
    }
    Ok(found)
}

fn packet(cursor: &mut Cursor<'_>) -> Outcome<Packet> {
    let head = cursor.byte()?;
    if head & 0x80 == 0 {
        return Err("it is no packet of OpenPGP".into());
    }
    if head & 0x40 == 0 {
        let tag = head >> 2 & 15;
        let length = match head & 3 {
            0 => cursor.number(1)? as usize,
            1 => cursor.number(2)? as usize,
            2 => cursor.number(4)? as usize,
            _ => cursor.0.len(),
        };
        return Ok(Packet { tag, body: cursor.take(length)?.to_vec() });
    }
    let tag = head & 63;
    let mut body = Vec::new();
    loop {
        let first = cursor.byte()?;
        let (length, more) = match first {
            0..192 => (usize::from(first), false),
            192..224 => (((usize::from(first) - 192) << 8) + usize::from(cursor.byte()?) + 192, false),
            255 => (cursor.number(4)? as usize, false),
            // Pieces are of data alone.
            _ if !matches!(tag, COMPRESSED | LITERAL) => return Err("a packet of OpenPGP is in pieces".into()),
            _ => (1 << (first & 31), true),
        };
        body.extend_from_slice(cursor.take(length)?);
        if !more {
            return Ok(Packet { tag, body });
        }
    }
}

/// What a signed message holds, and the body of its only signature.
pub fn message(bytes: &[u8]) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let mut found = packets(bytes)?;
    for _ in 0..DEPTH {
        if let [Packet { tag: COMPRESSED, body }] = found.as_slice() {
            found = binary(&inflated(body)?)?;
        }
    }
    found.retain(|packet| !matches!(packet.tag, MARKER | PADDING));
    let mut packets = found.into_iter();
    let shape = [packets.next(), packets.next(), packets.next(), packets.next()];
    let (literal, signature) = match shape {
        [Some(one), Some(two), Some(three), None]
            if one.tag == ONE_PASS && two.tag == LITERAL && three.tag == SIGNATURE =>
        {
            (two, three)
        }
        [Some(one), Some(two), None, None] if one.tag == SIGNATURE && two.tag == LITERAL => (two, one),
        _ => return Err("it is no message with one signature".into()),
    };
    let mut cursor = Cursor(&literal.body);
    let _format = cursor.byte()?;
    let name = cursor.byte()?;
    cursor.take(usize::from(name) + 4)?;
    Ok((cursor.0.to_vec(), signature.body))
}

/// Compressed data, decompressed.
fn inflated(body: &[u8]) -> Outcome<Vec<u8>> {
    let (method, data) = body.split_first().ok_or("a packet of OpenPGP is cut off")?;
    let reader: Box<dyn Read + '_> = match method {
        0 => Box::new(data),
        1 => Box::new(flate2::read::DeflateDecoder::new(data)),
        2 => Box::new(flate2::read::ZlibDecoder::new(data)),
        3 => Box::new(bzip2::read::BzDecoder::new(data)),
        other => return Err(format!("it is compressed by the method {other}, which is not known")),
    };
    let mut plain = Vec::new();
    reader.take(LARGEST as u64 + 1).read_to_end(&mut plain).map_err(|e| format!("its compression is damaged: {e}"))?;
    if plain.len() > LARGEST { Err(format!("it holds more than {LARGEST} bytes")) } else { Ok(plain) }
}

/// A packet in the current format.
pub fn written(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc0 | tag, 255];
    packet.extend((body.len() as u32).to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

/// A message with a signature that is verified by those who read it.
pub fn signed(one_pass: &[u8], contents: &[u8], signature: &[u8]) -> Vec<u8> {
    // Binary, without a name and a date.
    let literal = [&[b'b', 0, 0, 0, 0, 0], contents].concat();
    [written(ONE_PASS, one_pass), written(LITERAL, &literal), written(SIGNATURE, signature)].concat()
}

/// An integer as packets have it.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let bits = bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    [&(bits as u16).to_be_bytes()[..], bytes].concat()
}
