//! Removing the images that nobody uses.

use crate::Engine;
use ops::image::{List, Prune, Remove};
use ops::{Fault, Kind};
use types::Digest;

impl Engine {
    /// Removes the images that have no container and, unless all are meant, no name. Their ids are returned.
    pub fn prune_images(&self, asked: &Prune) -> Result<Vec<Digest>, Fault> {
        let images = self.images(&List { name: None, filters: asked.filters.clone(), lists: false })?;
        let mut pruned = Vec::new();
        for image in images {
            // A filter may have hidden names: whether it has any is not for filters to say.
            let is_dangling = || -> Result<bool, Fault> {
                match self.store()?.find_image(&image.id.to_string()) {
                    Ok(found) => Ok(found.names.is_empty()),
                    Err(store::Error::NoSuchImage { .. }) => Ok(false),
                    Err(error) => Err(crate::fault::store(error)),
                }
            };
            if image.read_only || image.containers > 0 || !asked.all && !is_dangling()? {
                continue;
            }
            if self.prune_image(&image.id)? {
                pruned.push(image.id);
            }
        }
        Ok(pruned)
    }

    /// Name by name, and so the image with the last: forced, it would take containers along that were made just now.
    fn prune_image(&self, id: &Digest) -> Result<bool, Fault> {
        loop {
            let image = match self.store()?.find_image(&id.to_string()) {
                Ok(image) => image,
                Err(store::Error::NoSuchImage { .. }) => return Ok(false),
                Err(error) => return Err(crate::fault::store(error)),
            };
            let name = image.names.first().cloned().unwrap_or_else(|| id.to_string());
            match self.remove_image(&Remove { name, force: false, ignore: true }) {
                Ok(removed) if removed.deleted.contains(id) => return Ok(true),
                Ok(removed) if removed.untagged.is_empty() => return Ok(false),
                Ok(_) => {}
                // In use, or with a name that another store gives it.
                Err(fault) if matches!(fault.kind, Kind::Conflict | Kind::Denied) => return Ok(false),
                Err(fault) => return Err(fault),
            }
        }
    }
}
