//! Images as containers and users see them: brought, found, listed, described, removed.

mod artifact;
mod between;
mod bring;
pub(crate) mod change;
mod encryption;
mod history;
mod import;
mod list;
mod listed;
mod lists;
mod login;
mod name;
mod prune;
mod remove;
mod search;
mod secure_copy;
mod send;
mod sync;
mod sync_list;
mod trust;

use ops::image::{Advance, Watch};
use types::Digest;

/// Tells a watcher what a transfer does.
pub(crate) struct Told<'a>(pub &'a Watch<'a>);

impl transfer::Progress for Told<'_> {
    fn begin(&self) {
        (self.0)(Advance::Begin);
    }

    fn blob(&self, digest: Option<&Digest>, size: Option<u64>) {
        (self.0)(Advance::Layer { digest: digest.copied(), size });
    }

    fn skipped(&self, digest: &Digest) {
        (self.0)(Advance::Skipped { digest: *digest });
    }

    fn bytes(&self, digest: Option<&Digest>, count: u64) {
        (self.0)(Advance::Bytes { digest: digest.copied(), count });
    }

    fn done(&self, digest: Option<&Digest>) {
        (self.0)(Advance::Done { digest: digest.copied() });
    }

    fn config(&self, digest: &Digest) {
        (self.0)(Advance::Config(*digest));
    }

    fn manifest(&self) {
        (self.0)(Advance::Manifest);
    }
}
