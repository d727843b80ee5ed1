//! Terminals: raw mode, and the size of the window.
//!
//! Must not know: what is typed or shown.

use rustix::io::{Errno, Result};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::os::fd::{AsFd, OwnedFd};

/// True if `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// Rows and columns of the terminal's window.
pub fn size(fd: impl AsFd) -> Result<(u16, u16)> {
    tcgetwinsize(fd).map(|size| (size.ws_row, size.ws_col))
}

/// Sets the size of the window; the foreground processes get SIGWINCH if it changed.
pub fn resize(fd: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    tcsetwinsize(fd, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
}

/// A terminal in raw mode: every byte typed arrives as it is, at once. Dropping it restores what was before.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Puts the terminal `fd` in raw mode.
    pub fn enter(fd: impl AsFd) -> Result<Raw> {
        let terminal = fd.as_fd().try_clone_to_owned().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Raw { terminal, before })
    }

    /// The terminal `fd` as it is, but what is typed does not show: for passwords.
    pub fn silent(fd: impl AsFd) -> Result<Raw> {
        let terminal = fd.as_fd().try_clone_to_owned().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Raw { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

    #[test]
    fn raw_mode_ends_and_sizes_pass() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
        assert!(is_terminal(&terminal));
        assert!(!is_terminal(rustix::pipe::pipe().unwrap().0));
        resize(&master, 33, 111).unwrap();
        assert_eq!(size(&terminal).unwrap(), (33, 111));
        let echoes = || tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(echoes());
        for raw in
            [|terminal| Raw::enter(terminal), |terminal| Raw::silent(terminal)] as [fn(&OwnedFd) -> Result<Raw>; 2]
        {
            let raw = raw(&terminal).unwrap();
            assert!(!echoes());
            drop(raw);
            assert!(echoes());
        }
    }
}
