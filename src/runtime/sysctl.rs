//! Kernel parameters of the container's own namespaces, written through its own procfs.
//!
//! Names with dots or slashes; those of no namespace of the container are refused: they would change the host
//! (CVE-2022-0811). The file is found below the procfs that was just mounted, without links or other mounts.

use crate::error::Error;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use sys::clone::{NEW_IPC, NEW_NET, NEW_USER, NEW_UTS};

/// Writes them. `own` are the kinds of namespaces that the container does not share with the runtime, `domain` is the domain name
/// that it has been given.
pub fn write(
    sysctl: Option<&HashMap<String, String>>,
    domain: Option<&str>,
    proc: Option<BorrowedFd<'_>>,
    own: u64,
) -> Result<(), Error> {
    for (name, value) in sysctl.into_iter().flatten() {
        let path =
            path(name).ok_or_else(|| Error::SysctlRefused { name: name.clone(), why: "not a name of a parameter" })?;
        if path == "sys/kernel/hostname" {
            return Err(Error::SysctlRefused { name: name.clone(), why: "give the specification's hostname instead" });
        }
        if path == "sys/kernel/domainname" && domain.is_some_and(|domain| !domain.is_empty() && domain != value) {
            return Err(Error::SysctlRefused { name: name.clone(), why: "the specification's domainname is another" });
        }
        if owner(&path).is_none_or(|kind| own & kind == 0) {
            return Err(Error::SysctlRefused {
                name: name.clone(),
                why: "it is of no namespace of this container's own",
            });
        }
        let proc =
            proc.ok_or_else(|| Error::SysctlRefused { name: name.clone(), why: "the container has no /proc" })?;
        write_one(proc, &path, value).map_err(|source| Error::Sysctl { name: name.clone(), source })?;
    }
    Ok(())
}

fn write_one(proc: BorrowedFd<'_>, path: &str, value: &str) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let fd = match rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, or a filter of the host's.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(proc, path, flags)?,
        other => other?,
    };
    rustix::io::write(&fd, value.as_bytes()).map(drop)
}

/// Opens a file of the procfs, each part of its path by itself: none is a link, or of something mounted over it (CVE-2025-52881).
fn step_by_step(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let device = rustix::fs::fstat(proc)?.st_dev;
    let mut here = rustix::io::fcntl_dupfd_cloexec(proc, 3)?;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let way = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat(&here, name, way, Mode::empty())?;
        let status = rustix::fs::fstat(&next)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
        if status.st_dev != device {
            return Err(Errno::XDEV);
        }
        if names.peek().is_none() {
            // Nobody else is in this mount namespace yet: it is what was looked at.
            return rustix::fs::openat(&here, name, flags | OFlags::NOFOLLOW, Mode::empty());
        }
        here = next;
    }
    Err(Errno::INVAL)
}

/// `sys/net/ipv4/ip_forward` for `net.ipv4.ip_forward`. As sysctl(8): whichever of `.` and `/` comes first is the separator,
/// and the other is part of names.
fn path(name: &str) -> Option<String> {
    let separator = name.find(['.', '/'])?;
    let path = if name.as_bytes()[separator] == b'/' {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    };
    let normal = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    normal.then(|| format!("sys/{path}"))
}

/// The kind of namespace that a parameter belongs to.
fn owner(path: &str) -> Option<u64> {
    let path = path.strip_prefix("sys/")?;
    let ipc = ["kernel/shm", "kernel/msg", "kernel/sem", "fs/mqueue/"];
    match path {
        "kernel/hostname" | "kernel/domainname" => Some(NEW_UTS),
        _ if path.starts_with("net/") => Some(NEW_NET),
        _ if path.starts_with("user/") => Some(NEW_USER),
        _ if ipc.iter().any(|prefix| path.starts_with(prefix)) => Some(NEW_IPC),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding").as_deref(), Some("sys/net/ipv4/conf/eth0.1/forwarding"));
        assert_eq!(path("kernel/shmmax").as_deref(), Some("sys/kernel/shmmax"));
        for name in ["", "kernel", "kernel/../../x", "/etc/passwd", "net..//x/../.."] {
            assert_eq!(path(name), None, "{name}");
        }
        assert_eq!(owner("sys/kernel/shmmax"), Some(NEW_IPC));
        assert_eq!(owner("sys/kernel/core_pattern"), None);
        let map = HashMap::from([("kernel.core_pattern".to_owned(), "|/x".to_owned())]);
        let refused =
            |map: &HashMap<String, String>| write(Some(map), Some("here"), None, u64::MAX).unwrap_err().to_string();
        assert!(refused(&map).contains("namespace"));
        assert!(refused(&HashMap::from([("kernel.hostname".to_owned(), "x".to_owned())])).contains("hostname instead"));
        assert!(refused(&HashMap::from([("kernel/domainname".to_owned(), "x".to_owned())])).contains("is another"));
        assert!(refused(&HashMap::from([("kernel.domainname".to_owned(), "here".to_owned())])).contains("no /proc"));
    }
}
