//! `import`: the files of a tar archive become an image of one layer.

use super::change::{apply, section};
use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Access, Import};
use serde_json::{Map, Value, json};
use store::{Descriptor, Manifest, NewImage};
use transfer::Tarball;
use types::{Digest, Platform};

impl Engine {
    /// Makes an image of a tar archive; it may be compressed. Returns the image's id.
    pub fn import(&self, asked: &Import) -> Result<Digest, Fault> {
        let name = asked.name.as_deref().map(super::name::complete).transpose()?;
        // What makes no sense is told before anything is read.
        let mut configuration = configuration(asked)?;
        let store = self.store()?;
        let options = self.registry_options(&Access::default())?;
        let mut standard_input = std::io::stdin();
        let (from, title) = match asked.source.as_deref() {
            None | Some("-") => (Tarball::Reader(&mut standard_input), "standard input"),
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => (Tarball::Url(url), url),
            Some(path) => (Tarball::Path(path.as_ref()), path),
        };
        let (mut layer, compression) = transfer::import(store, from, &options).map_err(fault::transfer)?;
        if self.drops_blobs(None)? {
            store.drop_blob(&mut layer).map_err(fault::store)?;
        }
        let now = jiff::Timestamp::now().to_string();
        configuration.insert("created".into(), json!(now));
        configuration.insert("rootfs".into(), json!({"type": "layers", "diff_ids": [layer.diff_id()]}));
        let comment = if asked.message.is_empty() { format!("Imported from {title}") } else { asked.message.clone() };
        let by = format!("/bin/sh -c #(nop) ADD file:{} in /", layer.diff_id().hex());
        configuration.insert("history".into(), json!([{"created": now, "created_by": by, "comment": comment}]));
        let configuration = serde_json::to_vec(&configuration).map_err(Fault::internal)?;
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{}", compression.suffix());
        let descriptor = Descriptor { media_type, digest: layer.digest(), size: layer.size() };
        let manifest = Manifest::synthesise(&configuration, vec![descriptor]);
        let names: Vec<String> = name.into_iter().collect();
        let image = store
            .commit_image(NewImage {
                manifest: &manifest,
                media_type: store::OCI_MANIFEST,
                config: &configuration,
                names: &names,
                candidates: vec![layer],
            })
            .map_err(fault::store)?;
        self.tell_of("image", "import", &image.id.hex(), title);
        Ok(image.id)
    }
}

/// All that is known before the archive is read.
fn configuration(asked: &Import) -> Result<Map<String, Value>, Fault> {
    let native = Platform::native();
    let architecture = asked.architecture.clone().unwrap_or(native.architecture);
    let mut configuration = Map::new();
    configuration.insert("architecture".into(), json!(architecture));
    configuration.insert("os".into(), json!(asked.os.as_deref().unwrap_or("linux")));
    if let Some(variant) = &asked.variant {
        configuration.insert("variant".into(), json!(variant));
    }
    section(&mut configuration, "config");
    for change in &asked.changes {
        apply(&mut configuration, change)?;
    }
    Ok(configuration)
}
