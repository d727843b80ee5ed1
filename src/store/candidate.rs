//! A layer that was read, verified and unpacked, but that no image has yet.

use crate::place::Place;
use types::Digest;

/// What is known about a layer before it is read. What is told is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expect {
    /// Digest of the blob, compressed as it comes.
    pub digest: Option<Digest>,
    /// Size of the blob in bytes.
    pub size: Option<u64>,
    /// Digest of the uncompressed tar.
    pub diff_id: Option<Digest>,
}

/// What a layer became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of its archive.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Devices that were left out because nobody may make them in a user namespace.
    pub skipped_devices: u64,
    /// Extended attributes that were left out: the host's matter, or not to be had on this file system.
    pub skipped_attributes: u64,
    /// It says who owns its root directory.
    pub(crate) root_listed: bool,
    /// It hides all layers below it.
    pub(crate) root_opaque: bool,
}

/// A layer that is ready for [`Store::commit_image`](crate::Store::commit_image). Dropped, it is deleted.
pub struct Candidate {
    pub(crate) place: Place,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: Digest,
    /// None if the store had this layer already: then only the blob is new.
    pub(crate) unpacked: Option<Unpacked>,
    /// How the blob was compressed that is not there any more: see [`Store::drop_blob`](crate::Store::drop_blob).
    pub(crate) dropped: Option<&'static str>,
}

impl Candidate {
    /// Digest of the blob, compressed as it came.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Digest of the uncompressed tar.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// The directory that it was unpacked into, for whoever takes it away from there; none if nothing was unpacked.
    pub fn tree(&self) -> Option<std::path::PathBuf> {
        self.unpacked.as_ref().map(|_| self.place.path(crate::format::TREE))
    }

    /// What was unpacked; none if the store had the layer already, so that only the blob was new.
    pub fn unpacked(&self) -> Option<&Unpacked> {
        self.unpacked.as_ref()
    }
}
