//! Extended headers: PAX records (`LENGTH KEY=VALUE\n`, POSIX.1-2001 pax) and GNU's long names.

use super::{Archive, Entry, Fault, number};
use std::io::BufRead;

/// What precedes an entry.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) records: Vec<u8>,
    pub(super) long_path: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
}

impl Extended {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.long_path.is_none() && self.long_link.is_none()
    }
}

/// The map of a sparse file as PAX records tell it.
#[derive(Default)]
pub(super) struct SparseMap {
    /// The map is at the beginning of the data (GNU.sparse format 1.0).
    pub(super) in_data: bool,
    /// Size with holes.
    pub(super) size: Option<i64>,
    /// Offsets and lengths in turn (0.0 and 0.1).
    pub(super) numbers: Vec<i64>,
}

/// Longest name of an attribute: the kernel's XATTR_NAME_MAX.
const ATTRIBUTE_NAME: usize = 255;
/// Longest value of an attribute: the kernel's XATTR_SIZE_MAX.
const ATTRIBUTE_VALUE: usize = 65536;

impl<R: BufRead> Archive<R> {
    /// Overrides what the header said by what preceded it. The map of a sparse file is returned.
    pub(super) fn apply(
        &mut self,
        extended: Extended,
        entry: &mut Entry,
        owner: &mut (i64, i64),
    ) -> Result<Option<SparseMap>, Fault> {
        if let Some(path) = extended.long_path {
            entry.path = path;
        }
        if let Some(link) = extended.long_link {
            entry.link = link;
        }
        let mut map = None;
        let mut rest = extended.records.as_slice();
        while !rest.is_empty() {
            let Some((key, value, after)) = record(rest) else {
                return Err(self.bad("its extended header is damaged"));
            };
            rest = after;
            self.apply_record(key, value, entry, owner, &mut map)?;
        }
        if entry.path != self.name {
            self.name.clear();
            self.name.extend_from_slice(&entry.path);
        }
        Ok(map)
    }

    fn apply_record(
        &self,
        key: &[u8],
        value: &[u8],
        entry: &mut Entry,
        owner: &mut (i64, i64),
        map: &mut Option<SparseMap>,
    ) -> Result<(), Fault> {
        let decimal = || {
            number::decimal(value)
                .ok_or_else(|| self.bad(format!("{} is not a number", String::from_utf8_lossy(key).escape_debug())))
        };
        // An empty value takes back what a global header said, which is ignored anyway.
        if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            return Ok(());
        }
        match key {
            b"path" => entry.path = value.to_vec(),
            b"linkpath" => entry.link = value.to_vec(),
            b"size" => {
                entry.size = u64::try_from(decimal()?).map_err(|_| self.bad("its size is negative"))?;
            }
            b"uid" => owner.0 = decimal()?,
            b"gid" => owner.1 = decimal()?,
            b"mtime" => {
                entry.modified = number::time(value).ok_or_else(|| self.bad("its time is not a number"))?;
            }
            b"atime" => entry.accessed = number::time(value),
            b"ctime" => entry.changed = number::time(value),
            b"GNU.sparse.name" => entry.path = value.to_vec(),
            b"GNU.sparse.major" => map.get_or_insert_default().in_data = decimal()? >= 1,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => map.get_or_insert_default().size = Some(decimal()?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => map.get_or_insert_default().numbers.push(decimal()?),
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<i64>> = value.split(|byte| *byte == b',').map(number::decimal).collect();
                map.get_or_insert_default().numbers = numbers.ok_or_else(|| self.bad("its map of holes is damaged"))?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.len() > ATTRIBUTE_NAME || name.contains(&0) {
                        return Err(self.bad("it has an extended attribute with a bad name"));
                    }
                    if value.len() > ATTRIBUTE_VALUE {
                        return Err(self.bad("it has an extended attribute of more than 64 KiB"));
                    }
                    entry.attributes.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// The first record: its key, its value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number::decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn records() {
        assert_eq!(record(b"6 a=b\nrest"), Some((&b"a"[..], &b"b"[..], &b"rest"[..])));
        assert_eq!(record(b"8 a=\n\n=\n"), Some((&b"a"[..], &b"\n\n="[..], &b""[..])));
        for bad in [
            &b"6 a=b"[..],
            b"7 a=b\n",
            b"x a=b\n",
            b"0 a=b\n",
            b"2 a=b\n",
            b"-6 a=b\n",
            b"5 ab\n",
            b"99999999999999999999999 a=b\n",
        ] {
            assert_eq!(record(bad), None, "{bad:?}");
        }
    }
}
