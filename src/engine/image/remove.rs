//! Removing images.

use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Remove, Removed};
use store::Removal;

impl Engine {
    /// Removes an image, or one of its names if it has several.
    pub fn remove_image(&self, asked: &Remove) -> Result<Removed, Fault> {
        let image = match self.store()?.find_image(&asked.name) {
            Err(store::Error::NoSuchImage { .. }) if asked.ignore => return Ok(Removed::default()),
            other => other.map_err(fault::store)?,
        };
        let mut users = self.database()?.of_image(&image.id.hex())?;
        if asked.force {
            for id in std::mem::take(&mut users) {
                let name = id.to_string();
                self.remove(&ops::container::Remove { name, force: true, timeout: None, ignore: true })?;
            }
        }
        let users: Vec<String> = users.iter().map(ToString::to_string).collect();
        let name = if asked.force { None } else { image.matched.as_deref() };
        let removal = Removal { image: &image.id, name, force: asked.force, in_use: &users };
        let removed = self.store()?.remove_image(removal).map_err(fault::store)?;
        Ok(Removed { untagged: removed.untagged, deleted: removed.deleted.into_iter().collect() })
    }
}
