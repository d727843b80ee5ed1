//! The keys that detach from a terminal: `ctrl-p,ctrl-q`.

/// Bytes that detach when they come one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    sequence: Vec<u8>,
    seen: usize,
}

impl Keys {
    /// Reads `--detach-keys`: single characters and `ctrl-X`, separated by commas. Nothing: no keys detach.
    pub fn parse(text: &str) -> Result<Keys, String> {
        let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-").map(str::as_bytes)) {
            ([byte], _) => Some(*byte),
            (_, Some([byte @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => Some(byte & 0x1f),
            _ => None,
        };
        let words = text.split(',').filter(|_| !text.is_empty());
        let sequence = words.map(|word| key(word).ok_or_else(|| format!("unknown character: '{word}'")));
        Ok(Keys { sequence: sequence.collect::<Result<_, _>>()?, seen: 0 })
    }

    /// What of `typed` is to be passed on, and whether the keys were typed in full. Bytes that may be the beginning of the
    /// sequence are kept back until it is known.
    pub fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.sequence.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if *byte != self.sequence[self.seen] && self.seen > 0 {
                passed.extend_from_slice(&self.sequence[..self.seen]);
                self.seen = 0;
            }
            if *byte != self.sequence[self.seen] {
                passed.push(*byte);
                continue;
            }
            self.seen += 1;
            if self.seen == self.sequence.len() {
                self.seen = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }
}

impl Default for Keys {
    fn default() -> Keys {
        Keys { sequence: vec![0x10, 0x11], seen: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(Keys::parse("ctrl-p,ctrl-q"), Ok(Keys::default()));
        assert_eq!(Keys::parse("a,ctrl-@,ctrl-_").unwrap().sequence, [b'a', 0, 0x1f]);
        assert!(Keys::parse("").unwrap().sequence.is_empty());
        assert!(Keys::parse("ab").is_err() && Keys::parse("ctrl-").is_err() && Keys::parse("a,").is_err());
    }

    #[test]
    fn keys_are_kept_back_until_known() {
        let mut keys = Keys::default();
        assert_eq!(keys.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10\x11d"), (b"\x10".to_vec(), true));
        assert_eq!(Keys::parse("").unwrap().pass(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
