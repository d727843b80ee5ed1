//! Extended attributes of a layer's files: which are taken over, and the owner kept aside where it cannot be given.

use super::Unpacker;
use crate::archive::Entry;
use crate::{Result, format};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

impl Unpacker<'_> {
    /// True if the entry's owner is kept in an attribute.
    pub(super) fn overrides(&self, entry: &Entry) -> bool {
        self.options.single_id && (entry.uid, entry.gid) != (0, 0)
    }

    /// Sets the attributes of a file or directory. To be called after chown(2), which takes capabilities away.
    pub(super) fn attributes(&mut self, file: &OwnedFd, entry: &Entry) -> Result<()> {
        if self.overrides(entry) {
            // As containers/storage writes it.
            let value = format!("{}:{}:0{:o}", entry.uid, entry.gid, entry.mode);
            sys::xattr::set(file, format::OVERRIDE_STAT.as_bytes(), value.as_bytes())
                .map_err(|errno| self.fail("keep the owner of", errno))?;
        }
        for (name, value) in &entry.attributes {
            if !is_taken(name, self.options.in_user_namespace) {
                self.unpacked.skipped_attributes += 1;
                continue;
            }
            match sys::xattr::set(file, name, value) {
                Ok(()) => {}
                // The file system has none, or (in a user namespace) the kernel lets nobody set this one.
                Err(Errno::OPNOTSUPP) => self.unpacked.skipped_attributes += 1,
                Err(Errno::PERM | Errno::INVAL) if self.options.in_user_namespace => {
                    self.unpacked.skipped_attributes += 1;
                }
                Err(errno) => return Err(self.fail("set an extended attribute of", errno)),
            }
        }
        Ok(())
    }
}

/// `trusted.*` and `user.overlay.*` would speak to overlay in our name, labels of security modules in the host's.
fn is_taken(name: &[u8], in_user_namespace: bool) -> bool {
    match name {
        b"security.capability" | b"security.ima" => true,
        // They hold ids, which mean something else in a user namespace.
        b"system.posix_acl_access" | b"system.posix_acl_default" => !in_user_namespace,
        _ => {
            name.starts_with(b"user.")
                && !name.starts_with(format::USER.as_bytes())
                && !name.starts_with(b"user.fuseoverlayfs.")
                && name != format::OVERRIDE_STAT.as_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_taken;

    #[test]
    fn strangers_do_not_speak_to_overlay() {
        for name in [
            "trusted.overlay.opaque",
            "user.overlay.redirect",
            "user.containers.override_stat",
            "security.selinux",
            "x",
        ] {
            assert!(!is_taken(name.as_bytes(), false), "{name}");
        }
        for name in ["user.mime_type", "security.capability", "system.posix_acl_access"] {
            assert!(is_taken(name.as_bytes(), false), "{name}");
        }
    }
}
