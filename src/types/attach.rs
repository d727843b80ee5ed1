//! The frames that a monitor and its clients exchange over a `SOCK_SEQPACKET` socket, one frame a packet.
//!
//! A packet is one byte of kind and a payload of at most [`MAX_DATA`] bytes:
//!
//! | kind | name | direction | payload |
//! |---|---|---|---|
//! | 0 | Stdin | client → monitor | bytes for the container's standard input; none at all says only that input may come (see CloseStdin) |
//! | 1 | Stdout | monitor → client | bytes of its standard output (and of a terminal) |
//! | 2 | Stderr | monitor → client | bytes of its standard error |
//! | 3 | CloseStdin | client → monitor | nothing: the client's input ended; a client that sent Stdin and then vanishes without Detach means the same |
//! | 4 | Resize | client → monitor | rows, columns: two little-endian u16 |
//! | 5 | Signal | client → monitor | one little-endian i32: send this signal to the first process |
//! | 6 | Start | client → monitor | nothing: release the parked process |
//! | 7 | Ready | monitor → client | one little-endian i32: the process id of the parked process |
//! | 8 | Failed | monitor → client | one byte: the exit code of it (125, 126, 127); UTF-8 text: why it could not be made ready or started; the monitor ends |
//! | 9 | Started | monitor → client | nothing: the process has executed its program |
//! | 10 | Exited | monitor → client | little-endian i32 exit code, one byte `oom`: all output was sent before this |
//! | 11 | Cleanup | client → monitor | nothing: the client cleans up after the exit; the monitor need not start a cleanup |
//! | 12 | Detach | client → monitor | nothing: the client leaves, and standard input stays open |
//! | 13 | Probe | client → monitor | JSON: the probes of its clock from now on, `null` for none |

use crate::Invalid;

/// The longest payload of one frame, in bytes.
pub const MAX_DATA: usize = 32 * 1024;

/// One frame, borrowing its bytes from the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frame<'a> {
    Stdin(&'a [u8]),
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    CloseStdin,
    Resize { rows: u16, columns: u16 },
    Signal(i32),
    Start,
    Ready { pid: i32 },
    Failed { code: u8, text: &'a str },
    Started,
    Exited { code: i32, oom: bool },
    Cleanup,
    Detach,
    Probe(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// The packet's first byte.
    pub fn kind(&self) -> u8 {
        match self {
            Frame::Stdin(_) => 0,
            Frame::Stdout(_) => 1,
            Frame::Stderr(_) => 2,
            Frame::CloseStdin => 3,
            Frame::Resize { .. } => 4,
            Frame::Signal(_) => 5,
            Frame::Start => 6,
            Frame::Ready { .. } => 7,
            Frame::Failed { .. } => 8,
            Frame::Started => 9,
            Frame::Exited { .. } => 10,
            Frame::Cleanup => 11,
            Frame::Detach => 12,
            Frame::Probe(_) => 13,
        }
    }

    /// Appends the packet to `packet`.
    pub fn encode(&self, packet: &mut Vec<u8>) {
        packet.push(self.kind());
        match self {
            Frame::Stdin(data) | Frame::Stdout(data) | Frame::Stderr(data) | Frame::Probe(data) => {
                packet.extend_from_slice(data)
            }
            Frame::Failed { code, text } => {
                packet.push(*code);
                packet.extend_from_slice(text.as_bytes());
            }
            Frame::Resize { rows, columns } => {
                packet.extend_from_slice(&rows.to_le_bytes());
                packet.extend_from_slice(&columns.to_le_bytes());
            }
            Frame::Signal(number) => packet.extend_from_slice(&number.to_le_bytes()),
            Frame::Ready { pid } => packet.extend_from_slice(&pid.to_le_bytes()),
            Frame::Exited { code, oom } => {
                packet.extend_from_slice(&code.to_le_bytes());
                packet.push(u8::from(*oom));
            }
            Frame::CloseStdin | Frame::Start | Frame::Started | Frame::Cleanup | Frame::Detach => {}
        }
    }

    /// Reads a packet.
    pub fn decode(packet: &'a [u8]) -> Result<Frame<'a>, Invalid> {
        let invalid = || Invalid::new("frame", format!("{:02x?}", &packet[..packet.len().min(8)]), "unknown or cut");
        let (kind, data) = packet.split_first().ok_or_else(invalid)?;
        let number = |at: usize| -> Result<i32, Invalid> {
            data.get(at..at + 4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).ok_or_else(invalid)
        };
        Ok(match kind {
            0 => Frame::Stdin(data),
            1 => Frame::Stdout(data),
            2 => Frame::Stderr(data),
            3 => Frame::CloseStdin,
            4 => match data {
                [a, b, c, d] => {
                    Frame::Resize { rows: u16::from_le_bytes([*a, *b]), columns: u16::from_le_bytes([*c, *d]) }
                }
                _ => return Err(invalid()),
            },
            5 => Frame::Signal(number(0)?),
            6 => Frame::Start,
            7 => Frame::Ready { pid: number(0)? },
            8 => {
                let (code, text) = data.split_first().ok_or_else(invalid)?;
                Frame::Failed { code: *code, text: std::str::from_utf8(text).map_err(|_| invalid())? }
            }
            9 => Frame::Started,
            10 => Frame::Exited { code: number(0)?, oom: data.get(4) == Some(&1) },
            11 => Frame::Cleanup,
            12 => Frame::Detach,
            13 => Frame::Probe(data),
            _ => return Err(invalid()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_survives_the_socket() {
        let frames = [
            Frame::Stdin(b"in"),
            Frame::Stdout(b"out"),
            Frame::Stderr(b""),
            Frame::CloseStdin,
            Frame::Resize { rows: 24, columns: 300 },
            Frame::Signal(15),
            Frame::Start,
            Frame::Ready { pid: 4711 },
            Frame::Failed { code: 127, text: "no such file" },
            Frame::Started,
            Frame::Exited { code: 137, oom: true },
            Frame::Cleanup,
            Frame::Probe(b"null"),
            Frame::Detach,
        ];
        for frame in frames {
            let mut packet = Vec::new();
            frame.encode(&mut packet);
            assert_eq!(Frame::decode(&packet).unwrap(), frame);
        }
        assert!(Frame::decode(&[]).is_err());
        assert!(Frame::decode(&[99]).is_err());
        assert!(Frame::decode(&[10, 1]).is_err());
    }
}
