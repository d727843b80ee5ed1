//! From the documents of a source to the images that will be in the store: which manifest is meant, under which names,
//! made of which layers. Works the same on an archive, a directory and a registry, which all are [`Documents`].
//!
//! **Names.** The name of an image in an OCI layout is the annotation `io.containerd.image.name` of its descriptor in
//! the index or, without that, `org.opencontainers.image.ref.name`. Names without a registry belong to `localhost`, and
//! names without a tag to `latest`, as `podman load` has it: `latest` alone becomes `localhost/latest:latest`.
//!
//! Must not know: tar, files, HTTP, the store.

use crate::document::{self, Configuration, Descriptor, Either, Index, Manifest, Saved};
use crate::trust::{self, Signature};
use crate::{Choice, Error, Result};
use types::{Digest, Platform, Reference};

/// Where documents lie that are known by their digest.
pub trait Documents {
    /// The bytes of the blob, of which at most `limit` are accepted; not verified yet.
    fn blob(&self, what: &'static str, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>>;
    /// The signatures of a manifest that lie beside it.
    fn signatures(&self, _manifest: &Digest, _wanted: trust::Wanted) -> Result<Vec<Signature>> {
        Ok(Vec::new())
    }
    /// What is read, for errors: an archive, a directory, a name in a registry.
    fn title(&self) -> &str;
}

/// The platform that an image should be for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The platform.
    pub platform: Platform,
    /// The user asked for it: an image for another one is an error even if it is the only one.
    pub asked: bool,
}

impl Wanted {
    pub fn new(asked: Option<&Platform>) -> Wanted {
        Wanted { platform: asked.cloned().unwrap_or_else(Platform::native), asked: asked.is_some() }
    }
}

/// A manifest that was chosen, read and verified.
#[derive(Debug)]
pub struct Found {
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub media_type: &'static str,
    pub manifest: Manifest,
    pub names: Vec<String>,
}

/// An image that is to be in the store.
#[derive(Debug)]
pub struct Image {
    /// Its manifest with its media type; none where the source has none and one is to be made.
    pub manifest: Option<(Vec<u8>, &'static str)>,
    /// Its configuration.
    pub configuration: Vec<u8>,
    /// Digest of the configuration.
    pub id: Digest,
    /// Its names, normalised.
    pub names: Vec<String>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the unpacked archive, from the configuration.
    pub diff_id: Digest,
    /// Where its bytes are.
    pub place: Place,
}

/// Where the bytes of a layer are, and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A blob with its length.
    Blob(Digest, u64),
    /// A member of `docker save`'s archive.
    Member {
        /// Its name, links followed.
        name: String,
        /// Its length, if that is known.
        size: Option<u64>,
    },
}

/// What all documents of an archive may need of our memory: a thousand names of one large image are a small archive.
pub struct Budget<'a> {
    title: &'a str,
    left: usize,
}

impl<'a> Budget<'a> {
    pub fn new(title: &'a str) -> Budget<'a> {
        Budget { title, left: document::DOCUMENTS }
    }

    /// Takes note of a document of `bytes`.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let why = format!("the documents of its images have more than {} bytes together", document::DOCUMENTS);
            Error::Unknown { archive: self.title.into(), why }
        })?;
        Ok(())
    }
}

/// The name as the store keeps it.
pub fn normalised(name: &str) -> Result<String> {
    let name: Reference = name.parse()?;
    Ok(name.normalised("localhost").to_string())
}

/// The name as an archive of Docker's has it: complete, and without a digest.
pub fn docker_name(name: &str) -> Result<String> {
    let name: Reference = name.parse()?;
    Ok(crate::source::complete(&Reference { digest: None, ..name }).to_string())
}

/// The name that an index gives to one of its images, as it stands there.
fn annotated(descriptor: &Descriptor) -> Option<&str> {
    let known = |key: &str| descriptor.annotations.get(key).map(String::as_str).filter(|name| !name.is_empty());
    known("io.containerd.image.name").or_else(|| known("org.opencontainers.image.ref.name"))
}

/// The same, for who looks for signatures.
pub fn name_of(descriptor: &Descriptor) -> Option<&str> {
    annotated(descriptor)
}

/// True if an entry of a layout's index is a manifest of signatures, by its name.
pub fn is_signature(descriptor: &Descriptor) -> bool {
    let tag = annotated(descriptor).map(|name| name.rsplit([':', '/']).next().unwrap_or(name));
    let hex = tag.and_then(|tag| tag.strip_prefix("sha256-")?.strip_suffix(".sig"));
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Signatures and attestations sit among the images of an index and are none.
fn is_attachment(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key("vnd.docker.reference.type")
        || descriptor.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
}

/// All images of a layout's index: one for each name, and each without a name.
pub fn all(documents: &dyn Documents, index: &Index, wanted: &Wanted) -> Result<Vec<Found>> {
    let mut budget = Budget::new(documents.title());
    let groups = groups(documents, index)?.into_iter();
    groups.map(|group| find(documents, &group, wanted).and_then(|f| budget.take(f.bytes.len()).map(|()| f))).collect()
}

/// The image of a layout's index that `choice` means.
pub fn chosen(documents: &dyn Documents, index: &Index, choice: &Choice, wanted: &Wanted) -> Result<Found> {
    find(documents, &group(documents, index, choice)?, wanted)
}

/// The manifest or index that `choice` means, with its media type; of entries for several platforms the one wanted.
pub fn entry(documents: &dyn Documents, index: &Index, choice: &Choice, wanted: &Wanted) -> Result<(Vec<u8>, String)> {
    let group = group(documents, index, choice)?;
    let entry = match group.entries.as_slice() {
        [only] => *only,
        several => for_platform(documents.title(), several, wanted)?,
    };
    let bytes = documents.blob("manifest", entry, document::MANIFEST)?;
    document::verify("manifest", entry, &bytes)?;
    Ok((bytes, entry.media_type.clone()))
}

fn group<'i>(documents: &dyn Documents, index: &'i Index, choice: &Choice) -> Result<Group<'i>> {
    let mut groups = groups(documents, index)?;
    let held = |groups: &[Group]| {
        groups.iter().map(|g| g.name.map_or_else(|| g.entries[0].digest.to_string(), Into::into)).collect::<Vec<_>>()
    };
    let at = match choice {
        Choice::Only if groups.len() == 1 => Some(0),
        Choice::Only if groups.is_empty() => None,
        Choice::Only => {
            return Err(Error::Ambiguous { archive: documents.title().into(), held: held(&groups) });
        }
        Choice::At(at) => (*at < groups.len()).then_some(*at),
        Choice::Named(name) => position(groups.iter().map(|g| g.name), name),
    };
    match at {
        Some(at) => Ok(groups.swap_remove(at)),
        None => Err(no_such(documents.title(), choice, held(&groups))),
    }
}

/// The error for a choice that fits nothing.
pub fn no_such(title: &str, choice: &Choice, held: Vec<String>) -> Error {
    let wanted = match choice {
        Choice::Only => "latest".into(),
        Choice::Named(name) => name.clone(),
        Choice::At(at) => format!("@{at}"),
    };
    Error::NoSuchImage { archive: title.into(), wanted, held }
}

/// The place of `wanted` among `names`: as it stands there or, failing that, as both would be kept.
pub fn position<'a>(names: impl Iterator<Item = Option<&'a str>> + Clone, wanted: &str) -> Option<usize> {
    names.clone().position(|name| name == Some(wanted)).or_else(|| {
        let wanted = normalised(wanted).ok()?;
        names.into_iter().position(|name| name.and_then(|n| normalised(n).ok()).as_ref() == Some(&wanted))
    })
}

/// Entries of an index that are one image: for several platforms, if they are more than one.
struct Group<'a> {
    name: Option<&'a str>,
    entries: Vec<&'a Descriptor>,
}

fn groups<'a>(documents: &dyn Documents, index: &'a Index) -> Result<Vec<Group<'a>>> {
    if index.manifests.len() > document::ENTRIES {
        let why = format!("it lists {} images, at most {} are accepted", index.manifests.len(), document::ENTRIES);
        return Err(Error::Document { what: "index", name: documents.title().into(), why });
    }
    let mut groups: Vec<Group> = Vec::new();
    for entry in index.manifests.iter().filter(|entry| !is_attachment(entry)) {
        let name = annotated(entry);
        let same = groups.iter_mut().find(|group| {
            group.entries.iter().any(|other| other.digest == entry.digest) && group.name == name
                || group.name == name
                    && entry.platform.is_some()
                    && group.entries.iter().all(|other| other.platform.is_some() && other.platform != entry.platform)
        });
        match same {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group { name, entries: vec![entry] }),
        }
    }
    Ok(groups)
}

fn find(documents: &dyn Documents, group: &Group, wanted: &Wanted) -> Result<Found> {
    let names = group.name.map(normalised).transpose()?;
    let entry = for_platform(documents.title(), &group.entries, wanted)?;
    let mut budget = document::ENTRIES;
    let mut found = descend(documents, entry, wanted, 0, &mut budget)?;
    found.names.extend(names);
    Ok(found)
}

/// The entry for the platform wanted; the only one is taken as it is.
fn for_platform<'a>(title: &str, entries: &[&'a Descriptor], wanted: &Wanted) -> Result<&'a Descriptor> {
    if let [only] = entries
        && (!wanted.asked || only.platform.is_none())
    {
        return Ok(only);
    }
    let serves = |entry: &&&Descriptor| entry.platform.as_ref().is_some_and(|p| p.serves(&wanted.platform));
    entries.iter().find(serves).copied().ok_or_else(|| Error::NoPlatform {
        what: title.into(),
        wanted: wanted.platform.clone(),
        held: entries
            .iter()
            .map(|e| e.platform.as_ref().map_or_else(|| "one that does not say".into(), Platform::to_string))
            .collect(),
    })
}

/// Reads what `entry` points to, and goes on through indexes until a manifest is reached. A cycle would need a digest
/// that contains itself; depth and number are bounded all the same.
fn descend(
    documents: &dyn Documents,
    entry: &Descriptor,
    wanted: &Wanted,
    depth: usize,
    budget: &mut usize,
) -> Result<Found> {
    let name = entry.digest.to_string();
    let bad = |why: String| Error::Document { what: "manifest", name: name.clone(), why };
    if depth > document::DEPTH || *budget == 0 {
        return Err(bad(format!("indexes are nested deeper than {} levels", document::DEPTH)));
    }
    *budget -= 1;
    if entry.size > document::MANIFEST {
        return Err(bad(format!("it has {} bytes, at most {} are accepted", entry.size, document::MANIFEST)));
    }
    let bytes = documents.blob("manifest", entry, document::MANIFEST)?;
    document::verify("manifest", entry, &bytes)?;
    match document::either(&name, &entry.media_type, &bytes)? {
        Either::Manifest(manifest, media_type) => {
            Ok(Found { digest: entry.digest, bytes, media_type, manifest, names: Vec::new() })
        }
        Either::Index(index) => inside(documents, &name, &index, wanted, depth, budget),
    }
}

fn inside(
    documents: &dyn Documents,
    name: &str,
    index: &Index,
    wanted: &Wanted,
    depth: usize,
    budget: &mut usize,
) -> Result<Found> {
    let entries: Vec<&Descriptor> = index.manifests.iter().filter(|entry| !is_attachment(entry)).collect();
    if entries.is_empty() {
        return Err(Error::Document { what: "index", name: name.into(), why: "it lists no image".into() });
    }
    let entry = for_platform(&format!("index {name}"), &entries, wanted)?;
    descend(documents, entry, wanted, depth + 1, budget)
}

/// The manifest `bytes`, which are known to be one.
pub fn manifest(media_type: &str, bytes: Vec<u8>) -> Result<Found> {
    let digest = Digest::of(&bytes);
    match document::either(&digest.to_string(), media_type, &bytes)? {
        Either::Manifest(manifest, media_type) => Ok(Found { digest, bytes, media_type, manifest, names: Vec::new() }),
        Either::Index(_) => {
            let why = "it is an index, where a manifest is expected".into();
            Err(Error::Document { what: "manifest", name: digest.to_string(), why })
        }
    }
}

/// The image that a manifest or index, fetched by name and verified by the caller if it can be, stands for.
pub fn top(documents: &dyn Documents, media_type: &str, bytes: Vec<u8>, wanted: &Wanted) -> Result<Found> {
    let digest = Digest::of(&bytes);
    let name = digest.to_string();
    match document::either(&name, media_type, &bytes)? {
        Either::Manifest(manifest, media_type) => Ok(Found { digest, bytes, media_type, manifest, names: Vec::new() }),
        Either::Index(index) => inside(documents, &name, &index, wanted, 0, &mut document::ENTRIES.clone()),
    }
}

/// Reads the configuration of an image that was found, so that it can be brought in.
pub fn complete(documents: &dyn Documents, found: Found, wanted: &Wanted) -> Result<Image> {
    document::check_image(&found.digest.to_string(), &found.manifest)?;
    let descriptor = &found.manifest.config;
    let name = descriptor.digest.to_string();
    if descriptor.size > document::CONFIGURATION {
        let why = format!("it has {} bytes, at most {} are accepted", descriptor.size, document::CONFIGURATION);
        return Err(Error::Document { what: "configuration", name, why });
    }
    let bytes = documents.blob("configuration", descriptor, document::CONFIGURATION)?;
    document::verify("configuration", descriptor, &bytes)?;
    let configuration = document::configuration(&name, &bytes, found.manifest.layers.len())?;
    check_platform(documents.title(), &configuration, wanted)?;
    let places = found.manifest.layers.iter().map(|layer| Place::Blob(layer.digest, layer.size));
    let layers = configuration.rootfs.diff_ids.iter().zip(places);
    Ok(Image {
        id: descriptor.digest,
        layers: layers.map(|(&diff_id, place)| Layer { diff_id, place }).collect(),
        manifest: Some((found.bytes, found.media_type)),
        configuration: bytes,
        names: found.names,
    })
}

/// An image of `docker save`; `place` tells where the member of a name is.
pub fn saved(
    title: &str,
    saved: &Saved,
    configuration: Vec<u8>,
    place: impl Fn(&str) -> Result<Place>,
    wanted: &Wanted,
) -> Result<Image> {
    if saved.layers.len() > document::LAYERS {
        let why = format!("it has {} layers, at most {} are accepted", saved.layers.len(), document::LAYERS);
        return Err(Error::Document { what: "manifest", name: "manifest.json".into(), why });
    }
    let parsed = document::configuration(&saved.config, &configuration, saved.layers.len())?;
    check_platform(title, &parsed, wanted)?;
    let layers = parsed.rootfs.diff_ids.iter().zip(&saved.layers);
    Ok(Image {
        manifest: None,
        id: Digest::of(&configuration),
        layers: layers.map(|(&diff_id, layer)| Ok(Layer { diff_id, place: place(layer)? })).collect::<Result<_>>()?,
        configuration,
        names: tags(saved)?,
    })
}

/// The names of an image of `docker save`, normalised.
pub fn tags(saved: &Saved) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for tag in &saved.repo_tags {
        let name = normalised(tag)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn check_platform(title: &str, configuration: &Configuration, wanted: &Wanted) -> Result<()> {
    match configuration.platform() {
        Some(platform) if wanted.asked && !platform.serves(&wanted.platform) => Err(Error::NoPlatform {
            what: title.into(),
            wanted: wanted.platform.clone(),
            held: vec![platform.to_string()],
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Held(HashMap<Digest, Vec<u8>>);

    impl Held {
        fn put(&mut self, text: String) -> String {
            let digest = Digest::of(text.as_bytes());
            let size = text.len();
            self.0.insert(digest, text.into_bytes());
            format!(r#""digest":"{digest}","size":{size}"#)
        }

        fn image(&mut self, architecture: &str) -> String {
            let config = self.put(format!(
                r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
            ));
            self.put(format!(r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[]}}"#))
        }
    }

    impl Documents for Held {
        fn blob(&self, _: &'static str, descriptor: &Descriptor, _: u64) -> Result<Vec<u8>> {
            Ok(self.0[&descriptor.digest].clone())
        }
        fn title(&self) -> &str {
            "held"
        }
    }

    #[test]
    fn many_names_of_one_image_do_not_fill_the_memory() {
        let mut held = Held::default();
        let config = held.put(r#"{"rootfs":{"diff_ids":[]}}"#.into());
        let padding = " ".repeat(1 << 20);
        let image = held.put(format!(r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[]{padding}}}"#));
        let index = |names: usize| -> Index {
            let entry = |n| format!(r#"{{{image},"annotations":{{"org.opencontainers.image.ref.name":"a:{n}"}}}}"#);
            let entries: Vec<_> = (0..names).map(entry).collect();
            serde_json::from_str(&format!(r#"{{"manifests":[{}]}}"#, entries.join(","))).unwrap()
        };
        let wanted = Wanted::new(None);
        assert_eq!(all(&held, &index(3), &wanted).unwrap().len(), 3);
        let error = all(&held, &index(100), &wanted).unwrap_err().to_string();
        assert!(error.contains("together"), "{error}");
    }

    fn index(entries: &[String]) -> Index {
        serde_json::from_str(&format!(r#"{{"manifests":[{}]}}"#, entries.join(","))).unwrap()
    }

    fn native() -> Wanted {
        Wanted { platform: "linux/amd64".parse().unwrap(), asked: false }
    }

    fn on(platform: &str) -> String {
        let (os, architecture) = platform.split_once('/').unwrap();
        format!(r#""platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
    }

    #[test]
    fn names_as_podman_load_gives_them() {
        for (given, kept) in [
            ("latest", "localhost/latest:latest"),
            ("busybox:latest", "localhost/busybox:latest"),
            ("1.2.3", "localhost/1.2.3:latest"),
            ("foo/bar:1", "localhost/foo/bar:1"),
            ("docker.io/library/bb:9", "docker.io/library/bb:9"),
        ] {
            assert_eq!(normalised(given).unwrap(), kept);
        }
    }

    #[test]
    fn several_images_and_platforms() {
        let mut held = Held::default();
        let (amd, arm) = (held.image("amd64"), held.image("arm64"));
        let list = held.put(format!(
            r#"{{"schemaVersion":2,"manifests":[{{{arm},{}}},{{{amd},{}}},{{{arm},{}}}]}}"#,
            on("linux/arm64"),
            on("linux/amd64"),
            on("unknown/unknown")
        ));
        let named = |image: &str, name: &str| {
            format!(r#"{{{image},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#)
        };
        let index = index(&[named(&list, "both:1"), named(&arm, "arm"), format!("{{{amd}}}")]);
        let all = all(&held, &index, &native()).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].names, ["localhost/both:1"]);
        assert_eq!(all[0].digest, all[2].digest);
        assert_eq!(all[1].names, ["localhost/arm:latest"]);
        assert!(all[2].names.is_empty());

        let pick = |choice: Choice| chosen(&held, &index, &choice, &native());
        assert_eq!(pick(Choice::Named("localhost/arm:latest".into())).unwrap().digest, all[1].digest);
        assert_eq!(pick(Choice::At(2)).unwrap().digest, all[2].digest);
        let ambiguous = pick(Choice::Only).unwrap_err().to_string();
        assert!(ambiguous.contains("more than one image") && ambiguous.contains("both:1, arm"), "{ambiguous}");
        assert!(pick(Choice::Named("no".into())).unwrap_err().to_string().contains("it holds both:1"));

        let asked = Wanted { platform: "linux/s390x".parse().unwrap(), asked: true };
        let error = chosen(&held, &index, &Choice::At(0), &asked).unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm64, linux/amd64"), "{error}");
        let error = chosen(&held, &index, &Choice::At(1), &asked).and_then(|f| complete(&held, f, &asked)).unwrap_err();
        assert!(error.to_string().contains("there is linux/arm64"), "{error}");
    }

    #[test]
    fn platforms_side_by_side_are_one_image() {
        let mut held = Held::default();
        let (amd, arm) = (held.image("amd64"), held.image("arm64"));
        let entries = [format!("{{{arm},{}}}", on("linux/arm64")), format!("{{{amd},{}}}", on("linux/amd64"))];
        let found = all(&held, &index(&entries), &native()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(amd.contains(&found[0].digest.to_string()));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut held = Held::default();
        let mut inner = held.image("amd64");
        for _ in 0..document::DEPTH {
            inner = held.put(format!(r#"{{"manifests":[{{{inner}}}]}}"#));
        }
        all(&held, &index(&[format!("{{{inner}}}")]), &native()).unwrap();
        inner = held.put(format!(r#"{{"manifests":[{{{inner}}}]}}"#));
        let error = all(&held, &index(&[format!("{{{inner}}}")]), &native()).unwrap_err().to_string();
        assert!(error.contains("nested"), "{error}");
    }
}
