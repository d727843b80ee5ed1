//! Names of images: given and taken away.

use crate::{Engine, fault};
use ops::image::{Tag, Untag};
use ops::{Fault, Kind};
use types::Reference;

impl Engine {
    /// Gives an image more names. A name that is none keeps all of them from being given.
    pub fn tag(&self, asked: &Tag) -> Result<(), Fault> {
        if asked.names.is_empty() {
            return Err(Fault::invalid("no new name was given"));
        }
        let store = self.store()?;
        let image = store.find_image(&asked.image).map_err(fault::store)?;
        let names = asked.names.iter().map(|name| complete(name)).collect::<Result<Vec<_>, _>>()?;
        names.iter().try_for_each(|name| {
            store.tag(&image.id, name).map_err(fault::store)?;
            self.tell_of("image", "tag", &image.id.hex(), name);
            Ok(())
        })
    }

    /// Takes names of an image away, or all it has. A name that the image does not have keeps all of them.
    pub fn untag(&self, asked: &Untag) -> Result<(), Fault> {
        let store = self.store()?;
        let image = store.find_image(&asked.image).map_err(fault::store)?;
        let mut names = Vec::new();
        for name in &asked.names {
            // A name with a digest is kept if the image came by it; else what it means is the image itself, and stays so.
            let reference: Reference = name.parse()?;
            let written = reference.normalised("localhost").to_string();
            if reference.digest == Some(image.manifest) && !image.names.contains(&written) {
                continue;
            }
            // A short name means what it means elsewhere.
            let meant = store.find_image(name).ok().filter(|found| found.id == image.id).and_then(|i| i.matched);
            let known = [Some(written.clone()), meant].into_iter().flatten().find(|n| image.names.contains(n));
            names.push(known.ok_or_else(|| Fault::new(Kind::NotFound, format!("{written}: tag not known")))?);
        }
        let names = if asked.names.is_empty() { &image.names } else { &names };
        for name in names {
            match store.untag(name) {
                // Somebody else was faster.
                Ok(_) => self.tell_of("image", "untag", &image.id.hex(), name),
                Err(store::Error::NoSuchImage { .. }) => {}
                Err(error) => return Err(fault::store(error)),
            }
        }
        Ok(())
    }
}

/// The whole of a name for an image of the store.
pub(crate) fn complete(name: &str) -> Result<String, Fault> {
    let reference: Reference = name.parse()?;
    if reference.digest.is_some() {
        return Err(Fault::invalid(format!("{name}: a name with a digest cannot be given: use NAME[:TAG]")));
    }
    Ok(reference.normalised("localhost").to_string())
}
