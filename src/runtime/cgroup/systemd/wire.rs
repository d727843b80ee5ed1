//! The wire format of D-Bus, as much of it as a call of systemd's manager takes (D-Bus specification, "Message Protocol").
//!
//! Everything is little-endian and aligned to its size from the message's start. What a bus sends is believed in nothing: no
//! length is followed beyond the bytes that came.

/// A value of the types that calls of systemd take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `s`
    Text(String),
    /// `b`
    Flag(bool),
    /// `t`
    Number(u64),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Text(_) => "s",
            Value::Flag(_) => "b",
            Value::Number(_) => "t",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

/// Types of messages.
pub const CALL: u8 = 1;
/// The answer to a call.
pub const REPLY: u8 = 2;
/// A call that failed.
pub const ERROR: u8 = 3;
/// What is told to all who listen.
pub const SIGNAL: u8 = 4;

/// The largest message that is taken (the protocol's own bound is 128 MiB; answers of systemd have some hundred bytes).
const LARGEST: usize = 1 << 20;

/// Bytes of a message being written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `u`
    pub fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    /// `s`, or `o`
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array whose elements are aligned to `to`.
    pub fn array(&mut self, to: usize, write: impl FnOnce(&mut Writer)) {
        self.number(0);
        let at = self.0.len() - 4;
        self.align(to);
        let start = self.0.len();
        write(self);
        let length = (self.0.len() - start) as u32;
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `a(sv)`
    pub fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.align(8);
                writer.text(name);
                writer.signature(value.signature());
                writer.value(value);
            }
        });
    }

    /// `b`
    pub fn flag(&mut self, flag: bool) {
        self.number(flag.into());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.text(text),
            Value::Flag(flag) => self.flag(*flag),
            Value::Number(number) => {
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::Numbers(numbers) => self.array(4, |w| numbers.iter().for_each(|number| w.number(*number))),
            Value::Bytes(bytes) => self.array(1, |w| w.0.extend(bytes)),
            Value::Pairs(pairs) => self.array(8, |w| {
                for (one, other) in pairs {
                    w.align(8);
                    w.text(one);
                    w.text(other);
                }
            }),
        }
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The bus name.
    pub destination: &'static str,
    /// The object.
    pub path: &'static str,
    /// The interface.
    pub interface: &'static str,
}

/// The bytes of a call with `serial`; its arguments have `signature` and are written by `write`.
pub fn call(target: Target, member: &str, serial: u32, signature: &str, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut body = Writer::default();
    write(&mut body);
    let mut message = Writer(vec![b'l', CALL, 0, 1]);
    message.number(body.0.len() as u32);
    message.number(serial);
    message.array(8, |w| {
        let fields =
            [(1, "o", target.path), (2, "s", target.interface), (3, "s", member), (6, "s", target.destination)];
        for (code, kind, text) in fields {
            w.align(8);
            w.0.push(code);
            w.signature(kind);
            w.text(text);
        }
        if !signature.is_empty() {
            w.align(8);
            w.0.push(8);
            w.signature("g");
            w.signature(signature);
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// A message that came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// [`REPLY`], [`ERROR`], [`SIGNAL`] …
    pub kind: u8,
    /// The serial of the call that it answers.
    pub answers: u32,
    /// What is called or told.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// The types of its arguments.
    pub signature: String,
    body: Vec<u8>,
}

/// How many bytes a message has whose first bytes are these: `None` if more are needed to know, an error if it is no message.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(head) = bytes.get(..16) else { return Ok(None) };
    if head[0] != b'l' || head[3] != 1 {
        return Err("it speaks another version or byte order");
    }
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
    let (body, fields) = (number(4), number(12));
    if body > LARGEST || fields > LARGEST {
        return Err("a message without end");
    }
    Ok(Some((16 + fields).next_multiple_of(8) + body))
}

impl Message {
    /// Reads a message whose [`length`] is that of `bytes`.
    pub fn read(bytes: &[u8]) -> Option<Message> {
        let mut reader = Reader { bytes, at: 4 };
        let mut message = Message { kind: *bytes.get(1)?, ..Message::default() };
        let body = reader.number()? as usize;
        reader.number()?;
        let end = reader.number()? as usize + reader.at;
        while reader.at < end {
            reader.align(8);
            let code = *bytes.get(reader.at)?;
            reader.at += 1;
            match (code, reader.signature()?.as_str()) {
                (5, "u") => message.answers = reader.number()?,
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (8, "g") => message.signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                // No other types stand in a header.
                _ => return None,
            }
        }
        message.body = bytes.get(bytes.len().checked_sub(body)?..)?.to_vec();
        Some(message)
    }

    /// The arguments as texts, up to the first that is neither a number of four bytes nor a text or path.
    pub fn texts(&self) -> Vec<String> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let text = |kind: char| match kind {
            's' | 'o' => reader.text(),
            'u' | 'i' | 'b' => reader.number().map(|number| number.to_string()),
            _ => None,
        };
        self.signature.chars().map_while(text).collect()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Target = Target { destination: "a.b", path: "/c", interface: "d.e" };

    #[test]
    fn a_call_byte_by_byte() {
        let bytes = call(TARGET, "F", 7, "su", |w| {
            w.text("x");
            w.number(5);
        });
        let expected: &[u8] = b"l\x01\x00\x01\x0c\0\0\0\x07\0\0\0\x46\0\0\0\
            \x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0\
            \x02\x01s\0\x03\0\0\0d.e\0\0\0\0\0\
            \x03\x01s\0\x01\0\0\0F\0\0\0\0\0\0\0\
            \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0\
            \x08\x01g\0\x02su\0\
            \x01\0\0\0x\0\0\0\x05\0\0\0";
        let told = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
        assert_eq!(told as usize, 16 + 16 + 16 + 16 + 8);
        assert_eq!(bytes[16..], expected[16..]);
        assert_eq!(length(&bytes), Ok(Some(bytes.len())));
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.member.as_str(), message.texts()), ("F", vec!["x".to_string(), "5".into()]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if bytes.len() > 16 {
                (bytes[0], bytes[3]) = (b'l', 1);
                bytes[4..16].iter_mut().for_each(|byte| *byte &= 63);
                bytes[5..8].fill(0);
                bytes[13..16].fill(0);
            }
            if let Ok(Some(length)) = length(&bytes) {
                let _ = bytes.get(..length).and_then(Message::read).map(|message| message.texts());
            }
        }
    }
}
