//! Users and groups of a container: `USER[:GROUP]` looked up in the root's own `/etc/passwd` and `/etc/group`.
//!
//! Those files are a stranger's: they are opened below the root, only if they are regular files of a sane size
//! (CVE-2024-9676), and lines that make no sense are skipped. Rules are Docker's and Podman's: a name is looked up first,
//! a number needs no entry, group 0 if none is known; a group given explicitly brings no additional groups of the user.

use crate::error::{Context, Error};
use crate::paths;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The largest passwd or group file that is read.
const LARGEST: u64 = 1 << 20;

/// Who the first process will be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Additional groups.
    pub groups: Vec<u32>,
    /// The home directory, from passwd.
    pub home: Option<String>,
}

/// Looks `user` (`USER[:GROUP]`, empty = root) and more `groups` up in the root behind `root`.
pub fn resolve(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<Identity, Error> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    find(user, groups, &passwd, &group)
}

/// The home directory of user `uid`, `/` if passwd does not say.
pub fn home(root: BorrowedFd<'_>, uid: u32) -> Result<String, Error> {
    let passwd = read(root, "/etc/passwd")?;
    Ok(entries(&passwd).find(|e| number(e, 2) == Some(uid)).and_then(|e| directory(&e)).unwrap_or_else(|| "/".into()))
}

/// The names of ids in the account file `path` (`/etc/passwd`, `/etc/group`) of the root.
pub fn names(root: BorrowedFd<'_>, path: &'static str) -> Result<std::collections::BTreeMap<u32, String>, Error> {
    let text = read(root, path)?;
    let mut names = std::collections::BTreeMap::new();
    for entry in entries(&text) {
        if let Some(id) = number(&entry, 2) {
            names.entry(id).or_insert_with(|| entry[0].to_owned());
        }
    }
    Ok(names)
}

/// The text of account file `path` of the root; `None` if there is none.
pub fn text(root: BorrowedFd<'_>, path: &'static str) -> Result<Option<String>, Error> {
    match paths::open(root, Path::new(path), OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        _ => read(root, path).map(Some),
    }
}

/// The pure part of [`resolve`].
pub fn find(user: &str, groups: &[String], passwd: &str, group: &str) -> Result<Identity, Error> {
    let (user, own_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let (asked, user) = (user, if user.is_empty() { "0" } else { user });
    let entry = entries(passwd)
        .find(|e| e[0] == user)
        .or_else(|| entries(passwd).find(|e| id(user).is_some_and(|uid| number(e, 2) == Some(uid))));
    let mut identity = match &entry {
        Some(entry) => Identity {
            uid: number(entry, 2).ok_or_else(|| Error::NoUser { name: user.into() })?,
            gid: number(entry, 3).unwrap_or(0),
            groups: Vec::new(),
            home: directory(entry),
        },
        None => Identity { uid: id(user).ok_or_else(|| Error::NoUser { name: user.into() })?, ..Identity::default() },
    };
    if let Some(name) = own_group {
        identity.gid = group_id(name, group)?;
    } else if let Some(entry) = &entry {
        let member = |e: &Vec<&str>| e.get(3).is_some_and(|list| list.split(',').any(|m| m.trim() == entry[0]));
        identity.groups = entries(group).filter(member).filter_map(|e| number(&e, 2)).collect();
    }
    for name in groups {
        identity.groups.push(group_id(name, group)?);
    }
    if !asked.is_empty() {
        // Among the additional ones too: a group that a set-group-id program drops would lose what is denied to it (CVE-2022-2989).
        identity.groups.push(identity.gid);
    }
    identity.groups.sort_unstable();
    identity.groups.dedup();
    Ok(identity)
}

fn group_id(name: &str, group: &str) -> Result<u32, Error> {
    let by_name = entries(group).find(|e| e[0] == name).and_then(|e| number(&e, 2));
    by_name.or_else(|| id(name)).ok_or_else(|| Error::NoGroup { name: name.into() })
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 3 && !fields[0].is_empty())
}

fn number(fields: &[&str], at: usize) -> Option<u32> {
    id(fields.get(at)?.trim())
}

/// The last number is "no change" for setresuid(2), and so no id: taken for one, it would leave us root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn directory(fields: &[&str]) -> Option<String> {
    fields.get(5).filter(|home| !home.is_empty()).map(|home| (*home).to_owned())
}

/// The text of an account file below the root; empty if there is none.
fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String, Error> {
    // Looked at before it is opened: to open a device can be to start it. And not blocking: a running container may put a FIFO
    // in its place meanwhile.
    match paths::open(root, Path::new(path), OFlags::PATH) {
        Ok(fd)
            if FileType::from_raw_mode(rustix::fs::fstat(&fd).in_root(Path::new(path), "stat")?.st_mode)
                == FileType::RegularFile => {}
        Ok(_) => return Err(Error::AccountFile { path, why: "not a regular file" }),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(error).in_root(Path::new(path), "open"),
    }
    let fd = match paths::open(root, Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(Errno::NXIO) => return Err(Error::AccountFile { path, why: "not a regular file" }),
        Err(error) => return Err(error).in_root(Path::new(path), "open"),
    };
    let status = rustix::fs::fstat(&fd).in_root(Path::new(path), "stat")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Error::AccountFile { path, why: "not a regular file" });
    }
    let mut bytes = Vec::with_capacity((status.st_size as u64).min(LARGEST) as usize + 1);
    std::fs::File::from(fd)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(sys::process::errno)
        .in_root(Path::new(path), "read")?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::AccountFile { path, why: "larger than 1 MiB" });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# c\nbroken\nbob:x:1000:1001:Bob:/home/bob:/bin/sh\n5:x:77:78::/five:\nmax:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,bob\naudio:x:29:bob\nbob:x:1001:\n9:x:99:\n";

    fn found(user: &str, groups: &[&str]) -> Result<Identity, Error> {
        find(user, &groups.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>(), PASSWD, GROUP)
    }

    #[test]
    fn names_numbers_and_groups() {
        let bob = Identity { uid: 1000, gid: 1001, groups: vec![10, 29, 1001], home: Some("/home/bob".into()) };
        assert_eq!(found("bob", &[]).unwrap(), bob);
        assert_eq!(found("1000", &[]).unwrap(), bob);
        assert_eq!(found("bob:wheel", &[]).unwrap(), Identity { gid: 10, groups: vec![10], ..bob.clone() });
        assert_eq!(
            found("bob:12", &["audio", "5"]).unwrap(),
            Identity { gid: 12, groups: vec![5, 12, 29], ..bob.clone() }
        );
        assert_eq!(found("", &[]).unwrap().home.as_deref(), Some("/root"));
        assert_eq!(found("4242", &[]).unwrap(), Identity { uid: 4242, groups: vec![0], ..Identity::default() });
        // A name made of digits wins over the number.
        assert_eq!(found("5", &[]).unwrap().uid, 77);
        assert_eq!(found("0:9", &[]).unwrap().gid, 99);
    }

    #[test]
    fn the_unknown_is_an_error() {
        for user in ["alice", "-1", "4294967295", "4294967296", "max", "bob:nobody", "1:x"] {
            assert!(found(user, &[]).is_err(), "{user}");
        }
        assert!(found("bob", &["nogroup"]).is_err());
    }
}
