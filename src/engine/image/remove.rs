//! Removing images.

use crate::database::Database;
use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Remove, Removed};
use store::Removal;

/// How often a forced removal looks for containers again.
const ROUNDS: usize = 5;

impl Engine {
    /// Removes an image, or one of its names if it has several.
    pub fn remove_image(&self, asked: &Remove) -> Result<Removed, Fault> {
        let image = match self.store()?.find_image(&asked.name) {
            Err(store::Error::NoSuchImage { .. }) if asked.ignore || self.list_exists(&asked.name)? => {
                let list = self.remove_list(&asked.name, true)?;
                return Ok(list.map(|l| Removed { untagged: vec![l.name], deleted: vec![l.id] }).unwrap_or_default());
            }
            other => other.map_err(fault::store)?,
        };
        // Before containers go for nothing.
        if image.lent {
            let name = image.matched.unwrap_or_else(|| image.id.hex());
            return Err(fault::store(store::Error::ReadOnly { name }));
        }
        let database = self.database()?;
        let id = image.id.hex();
        let users = |connection: &rusqlite::Connection| Database::of_image(connection, &id);
        let name = if asked.force { None } else { image.matched.as_deref() };
        let removal = Removal { image: &image.id, name, force: asked.force, in_use: &users };
        // Somebody may make another container of it as fast as those here are removed; not for ever.
        for _ in 0..ROUNDS {
            if asked.force {
                for name in database.users_of(&id)? {
                    self.remove(&ops::container::Remove {
                        name,
                        force: true,
                        timeout: None,
                        ignore: true,
                        volumes: true,
                    })?;
                }
            }
            match self.store()?.remove_image(removal) {
                Err(store::Error::InUse { .. }) if asked.force => {}
                other => {
                    let removed = other.map_err(fault::store)?;
                    for name in &removed.untagged {
                        self.tell_of("image", "untag", &id, name);
                    }
                    if let Some(gone) = &removed.deleted {
                        self.tell_of("image", "remove", &gone.hex(), &gone.hex());
                    }
                    return Ok(Removed { untagged: removed.untagged, deleted: removed.deleted.into_iter().collect() });
                }
            }
        }
        Err(fault::store(store::Error::InUse { containers: database.users_of(&id)? }))
    }
}
