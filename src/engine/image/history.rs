//! What an image is made of: the steps that made it, and its layers.

use crate::{Engine, fault};
use ops::Fault;
use ops::image::{List, Step, Summary, Tree, TreeLayer};
use store::{Configuration, ImageLayer};
use types::Digest;

impl Engine {
    /// The steps in which an image was made, the last one first. Layers that its history does not tell of are steps, too.
    pub fn history(&self, name: &str) -> Result<Vec<Step>, Fault> {
        let store = self.store()?;
        let image = store.find_image(name).map_err(fault::store)?;
        let configuration = self.configuration(&image.id)?;
        let layers = store.layers().map_err(fault::store)?;
        let mut sizes = layers.get(&image.id).map_or(&[][..], Vec::as_slice).iter().map(|layer| layer.size);
        let mut steps: Vec<Step> = Vec::new();
        for entry in &configuration.history {
            steps.push(Step {
                id: None,
                names: Vec::new(),
                created: entry.created.clone(),
                created_seconds: entry.created.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second()),
                created_by: entry.created_by.clone(),
                size: if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                comment: entry.comment.clone(),
            });
        }
        let untold = |size| Step {
            id: None,
            names: Vec::new(),
            created: configuration.created.clone(),
            created_seconds: configuration.created_seconds(),
            created_by: String::new(),
            size,
            comment: String::new(),
        };
        steps.extend(sizes.map(untold));
        for other in store.images().map_err(fault::store)? {
            // Only what shares the lowest layer can be a step on the way.
            let shares = layers.get(&other.id).and_then(|l| l.first()) == layers.get(&image.id).and_then(|l| l.first());
            let at = match other.id == image.id {
                true => steps.len(),
                false if shares => before(&configuration, &self.configuration(&other.id)?),
                false => 0,
            };
            if let Some(step) = at.checked_sub(1).and_then(|at| steps.get_mut(at)) {
                step.id = Some(other.id);
                step.names = other.names;
            }
        }
        steps.reverse();
        Ok(steps)
    }

    /// The layers of an image, and which images end with each; and the images that are built on it.
    pub fn image_tree(&self, name: &str) -> Result<Tree, Fault> {
        let store = self.store()?;
        let image = store.find_image(name).map_err(fault::store)?;
        let layers = store.layers().map_err(fault::store)?;
        let of = |id: &Digest| layers.get(id).map_or(&[][..], Vec::as_slice);
        let own = of(&image.id);
        let all = self.images(&List::default())?;
        let top_of = |chain: &[ImageLayer]| -> Vec<String> {
            all.iter().filter(|other| same(of(&other.id), chain)).flat_map(|other| other.names.clone()).collect()
        };
        let listed = |(at, layer): (usize, &ImageLayer)| TreeLayer {
            diff_id: layer.diff_id,
            size: layer.size,
            top_of: top_of(&own[..=at]),
        };
        let listed = own.iter().enumerate().map(listed).collect();
        let on_it = |other: &&Summary| {
            let theirs = of(&other.id);
            !own.is_empty() && theirs.len() > own.len() && same(&theirs[..own.len()], own)
        };
        let children = all.iter().filter(on_it).cloned().collect();
        Ok(Tree { id: image.id, names: image.names, size: image.size, layers: listed, children })
    }
}

fn same(one: &[ImageLayer], other: &[ImageLayer]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.diff_id == b.diff_id)
}

/// After how many steps an image was what `other` is; 0 if it never was.
fn before(image: &Configuration, other: &Configuration) -> usize {
    let steps = other.history.len();
    let is = steps > 0
        && image.history.get(..steps) == Some(&other.history)
        && image.rootfs.diff_ids.starts_with(&other.rootfs.diff_ids);
    if is { steps } else { 0 }
}
