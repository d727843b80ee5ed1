//! The container's terminal: made in its own devpts, so that its name is right inside; its master goes to the caller.

use crate::error::{Context, Error};
use crate::mounts::Mounted;
use crate::paths::{self, Kind};
use crate::trees::{Interface, Place, Tree};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes a terminal in the devpts that is mounted in the container (else in the `/dev/pts` of this mount namespace), with
/// `size` (rows, columns), and sends its master over `socket` as one `SCM_RIGHTS` message. Returns its other side.
pub fn open(pts: Option<BorrowedFd<'_>>, size: Option<(u16, u16)>, socket: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = match pts {
        Some(pts) => rustix::fs::openat(pts, c"ptmx", flags, Mode::empty()),
        None => rustix::fs::openat(CWD, c"/dev/pts/ptmx", flags, Mode::empty()),
    }
    .step("open a terminal")?;
    rustix::pty::unlockpt(&master).step("unlock the terminal")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .step("open the other side of the terminal")?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).step("set the size of the terminal")?;
    }
    sys::channel::send_descriptors(socket, b"terminal", &[master.as_fd()]).step("send the terminal to the monitor")?;
    Ok(slave)
}

/// Binds the terminal onto `/dev/console`. Both are descriptors, so nothing can be put in between (CVE-2025-52565).
pub fn bind_console(
    interface: Interface,
    root: BorrowedFd<'_>,
    mounted: &Mounted,
    slave: BorrowedFd<'_>,
) -> Result<(), Error> {
    let path = Path::new("/dev/console");
    if mounted.dev_is_bound {
        return Ok(());
    }
    let fd = paths::mountpoint(root, path, Kind::File).in_root(path, "make a place for the terminal")?;
    let tree = Tree::bind(interface, slave, false).in_root(path, "copy the terminal's node")?;
    tree.attach(&Place { root, path: path.to_owned(), fd }).in_root(path, "bind the terminal").map(drop)
}

/// Makes it the controlling terminal of this session's leader.
pub fn control(slave: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(slave).step("make the terminal the controlling one")
}
