//! DER (ITU-T X.690), as far as keys and certificates need it: values one after the other, from the front.

/// What is left to be read.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// True if nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value: its tag and its contents.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // Four bytes tell of more than anybody sends.
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 7))?;
                rest = after;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the next value, if that has this tag; nothing is read otherwise.
    pub fn tagged(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.any().map(|(_, contents)| contents)
    }

    /// A sequence.
    pub fn sequence(&mut self) -> Option<Reader<'a>> {
        self.tagged(0x30).map(Reader)
    }

    /// An object identifier.
    pub fn identifier(&mut self) -> Option<&'a [u8]> {
        self.tagged(6)
    }

    /// A string of whole bytes.
    pub fn bits(&mut self) -> Option<&'a [u8]> {
        self.tagged(3)?.strip_prefix(&[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_the_front() {
        let mut reader = Reader::new(&[0x30, 5, 6, 1, 9, 4, 0, 3, 2, 0, 7]);
        let mut inner = reader.sequence().unwrap();
        assert_eq!((inner.bits(), inner.identifier(), inner.any()), (None, Some(&[9][..]), Some((4, &[][..]))));
        assert!(inner.is_empty());
        assert_eq!(reader.bits(), Some(&[7][..]));
        assert_eq!(reader.any(), None);
        let long = [&[4, 0x82, 1, 0][..], &[1; 256]].concat();
        assert_eq!(Reader::new(&long).any(), Some((4, &[1; 256][..])));
        for bad in [&[4][..], &[4, 1], &[4, 0x80], &[4, 0x85, 0, 0, 0, 0, 0], &[4, 0x84, 255, 255, 255, 255]] {
            assert_eq!(Reader::new(bad).any(), None, "{bad:?}");
        }
    }
}
