//! Every layout in every compression, as a file and as a stream; what is chosen, what is skipped, what is refused.

mod build;

use build::{Blobs, Image, PACKINGS, Packing, Scratch, Tar, docker, native, oci, oci_files, packed, spread, tar};
use std::slice::from_ref;
use std::sync::atomic::{AtomicU64, Ordering};
use store::Store;
use transfer::{Input, Loaded, Options, Progress, fetch, load, source};
use types::Digest;

/// Loads `bytes` as a file, or as a stream.
fn bring(scratch: &Scratch, store: &Store, bytes: &[u8], streamed: bool) -> transfer::Result<Vec<Loaded>> {
    if streamed {
        load(store, Input::Reader(&mut { bytes }), &Options::default(), &())
    } else {
        load(store, Input::Path(scratch.write("archive.tar", bytes)), &Options::default(), &())
    }
}

fn get(store: &Store, text: &str) -> transfer::Result<Loaded> {
    fetch(store, &source::parse(text)?, &Options::default(), &())
}

/// The whole chain of an error.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

/// What loading `bytes` says, as a file and as a stream; the store must be left as it was.
fn refused(bytes: &[u8]) -> [String; 2] {
    [false, true].map(|streamed| {
        let scratch = Scratch::new();
        let store = scratch.store();
        let error = bring(&scratch, &store, bytes, streamed).expect_err("it was loaded");
        assert_eq!(store.images().unwrap(), []);
        assert_eq!(scratch.left(), Vec::<std::path::PathBuf>::new(), "left behind after {}", told(&error));
        told(&error)
    })
}

#[track_caller]
fn refused_with(bytes: &[u8], words: &[&str]) {
    for text in refused(bytes) {
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }
}

#[test]
fn every_layout_in_every_compression() {
    for inner in PACKINGS {
        for outer in PACKINGS {
            for streamed in [false, true] {
                let image = Image::new(&["one", "two", "three"], inner).named("busybox:latest");
                for (layout, bytes) in [("oci", oci(from_ref(&image))), ("docker", docker(from_ref(&image), false))] {
                    let scratch = Scratch::new();
                    let store = scratch.store();
                    let what = format!("{layout}, layers {inner:?}, archive {outer:?}, streamed {streamed}");
                    let bytes = outer.pack(&bytes);
                    let loaded =
                        bring(&scratch, &store, &bytes, streamed).unwrap_or_else(|e| panic!("{what}: {}", told(&e)));
                    let expected =
                        Loaded { id: image.id(), names: vec!["localhost/busybox:latest".into()], known: false };
                    assert_eq!(loaded, [expected], "{what}");
                    let found = store.find_image("busybox").unwrap();
                    assert_eq!((found.id, found.layers, found.size), (image.id(), 3, 11), "{what}");
                    assert_eq!(scratch.left().len(), 6, "{what}: three blobs and three layers");
                    let again = bring(&scratch, &store, &bytes, streamed).unwrap();
                    assert!(again[0].known, "{what}");
                }
            }
        }
    }
}

#[test]
fn old_docker_layout_with_links_and_several_images() {
    let first = Image::new(&["base", "top"], Packing::Plain).named("a:1").named("b/c:2").named("x.y/z:3");
    let second = Image::new(&["base", "other"], Packing::Plain);
    for streamed in [false, true] {
        let scratch = Scratch::new();
        let store = scratch.store();
        let loaded = bring(&scratch, &store, &docker(&[first.clone(), second.clone()], true), streamed).unwrap();
        assert_eq!(loaded[0].names, ["localhost/a:1", "localhost/b/c:2", "x.y/z:3"]);
        assert_eq!((loaded[1].id, loaded[1].names.len()), (second.id(), 0));
        assert_eq!(store.images().unwrap().len(), 2);
        assert_eq!(scratch.left().len(), 6, "the base is shared");
        let manifest = store.document(&store.find_image("a:1").unwrap().manifest).unwrap().unwrap();
        let text = String::from_utf8(manifest).unwrap();
        assert!(text.contains(r#""application/vnd.oci.image.layer.v1.tar""#), "{text}");
    }
}

#[test]
fn a_made_manifest_tells_how_layers_are_compressed_whether_they_are_new_or_not() {
    let scratch = Scratch::new();
    let store = scratch.store();
    for (streamed, name) in [(false, "a"), (true, "b")] {
        let image = Image::new(&["same"], Packing::Gzip).named(name);
        bring(&scratch, &store, &docker(&[image], false), streamed).unwrap();
        let manifest = store.document(&store.find_image(name).unwrap().manifest).unwrap().unwrap();
        assert!(String::from_utf8(manifest).unwrap().contains("layer.v1.tar+gzip"));
    }
}

#[test]
fn a_directory() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let image = Image::new(&["one", "two"], Packing::Gzip).named("x:1");
    spread(&scratch.path("layout"), &oci_files(from_ref(&image)));
    let path = scratch.path("layout");
    let text = path.display();
    assert_eq!(get(&store, &format!("oci:{text}:x:1")).unwrap().names, ["localhost/x:1"]);
    assert!(load(&store, Input::Path(path.clone()), &Options::default(), &()).unwrap()[0].known);
    assert!(get(&store, &format!("oci-archive:{text}")).unwrap_err().to_string().contains("`oci:`"));
    assert!(get(&store, &format!("oci:{text}:y")).unwrap_err().to_string().contains("x:1"));

    // The same as `dir:`.
    let mut blobs = Blobs::default();
    let manifest = image.put(&mut blobs);
    let manifest: Digest = manifest["digest"].as_str().unwrap().parse().unwrap();
    for (digest, bytes) in &blobs.0 {
        scratch
            .write(&format!("dir/{}", if *digest == manifest { "manifest.json".into() } else { digest.hex() }), bytes);
    }
    let loaded = get(&store, &format!("dir:{}", scratch.path("dir").display())).unwrap();
    assert_eq!((loaded.id, loaded.known), (image.id(), true));
}

#[test]
fn a_directory_is_not_left_through_links_and_pipes_are_no_files() {
    let scratch = Scratch::new();
    let image = Image::new(&["one"], Packing::Plain);
    spread(&scratch.path("layout"), &oci_files(&[image]));
    std::fs::rename(scratch.path("layout/blobs"), scratch.path("outside")).unwrap();
    std::os::unix::fs::symlink(scratch.path("outside"), scratch.path("layout/blobs")).unwrap();
    let text = format!("oci:{}", scratch.path("layout").display());
    let error = get(&scratch.store(), &text).unwrap_err();
    assert!(told(&error).contains("blobs/sha256"), "{}", told(&error));
    std::fs::remove_file(scratch.path("layout/index.json")).unwrap();
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.path("layout/index.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    );
    made.unwrap();
    let error = get(&scratch.store(), &text).unwrap_err();
    assert!(told(&error).contains("no regular file"), "{}", told(&error));
}

#[test]
fn one_of_several_is_chosen_by_name_or_place() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let images = [Image::new(&["a"], Packing::Gzip).named("a:1"), Image::new(&["b"], Packing::Gzip).named("b:1")];
    for (transport, bytes) in [("oci-archive", oci(&images)), ("docker-archive", docker(&images, false))] {
        let path = scratch.write(transport, &bytes);
        let text = format!("{transport}:{}", path.display());
        let error = get(&store, &text).unwrap_err().to_string();
        assert!(error.contains("more than one image") && error.contains("a:1, b:1"), "{error}");
        assert_eq!(get(&store, &format!("{text}:b:1")).unwrap().id, images[1].id());
        assert_eq!(get(&store, &format!("{text}:localhost/b:1")).unwrap().id, images[1].id());
        assert_eq!(get(&store, &format!("{text}:@0")).unwrap().id, images[0].id());
        let error = get(&store, &format!("{text}:c")).unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("a:1, b:1"), "{error}");
        assert!(get(&store, &format!("{text}:@2")).is_err());
    }
    let wrong = format!("docker-archive:{}", scratch.path("oci-archive").display());
    assert!(get(&store, &wrong).unwrap_err().to_string().contains("manifest.json"));
}

/// Counts the bytes of layers that are read.
#[derive(Default)]
struct Counted(AtomicU64);

impl Progress for Counted {
    fn bytes(&self, _digest: Option<&Digest>, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// Writes down the order of what is told, but for bytes.
#[derive(Default)]
struct Diary(std::sync::Mutex<Vec<&'static str>>);

impl Progress for Diary {
    fn begin(&self) {
        self.0.lock().unwrap().push("begin");
    }
    fn blob(&self, _: Option<&Digest>, _: Option<u64>) {
        self.0.lock().unwrap().push("blob");
    }
    fn skipped(&self, _: &Digest) {
        self.0.lock().unwrap().push("skipped");
    }
    fn config(&self, _: &Digest) {
        self.0.lock().unwrap().push("config");
    }
    fn manifest(&self) {
        self.0.lock().unwrap().push("manifest");
    }
}

#[test]
fn progress_is_told_in_order() {
    for pack in [Packing::Plain, Packing::Gzip] {
        let scratch = Scratch::new();
        let store = scratch.store();
        let told = |contents: &[&str]| {
            let diary = Diary::default();
            let path = scratch.write("a", &pack.pack(&oci(&[Image::new(contents, Packing::Zstd)])));
            load(&store, Input::Path(path), &Options::default(), &diary).unwrap();
            diary.0.into_inner().unwrap()
        };
        assert_eq!(told(&["a"]), ["begin", "blob", "config", "manifest"]);
        let again = told(&["a", "b"]);
        assert_eq!((again[0], again.last()), ("begin", Some(&"manifest")));
        assert_eq!(again.iter().filter(|word| **word == "blob").count(), 1);
        assert_eq!(again.iter().filter(|word| **word == "skipped").count(), 1);
    }
}

#[test]
fn layers_that_are_there_are_not_read_again() {
    for streamed in [false, true] {
        for layout in [|image: Image| oci(&[image]), |image: Image| docker(&[image], false)] {
            let scratch = Scratch::new();
            let store = scratch.store();
            let base = Image::new(&["base"], Packing::Plain).named("base");
            bring(&scratch, &store, &layout(base.clone()), streamed).unwrap();
            let both = Image::new(&["base", "top"], Packing::Plain).named("both");
            let counted = Counted::default();
            let bytes = layout(both.clone());
            let input = if streamed {
                Input::Path(scratch.write("a.gz", &Packing::Gzip.pack(&bytes)))
            } else {
                Input::Path(scratch.write("a", &bytes))
            };
            load(&store, input, &Options::default(), &counted).unwrap();
            let top = both.layers[1].len() as u64;
            assert!(counted.0.load(Ordering::Relaxed) <= top, "streamed {streamed}");
            assert_eq!(store.find_image("both").unwrap().layers, 2);
        }
    }
}

#[test]
fn images_of_several_platforms() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let mine = Image::new(&["mine"], Packing::Gzip);
    let other = Image { architecture: "s390x", ..Image::new(&["other"], Packing::Gzip) };
    let mut blobs = Blobs::default();
    let mut list = Vec::new();
    for image in [&other, &mine] {
        let mut descriptor = image.put(&mut blobs);
        descriptor["platform"] = serde_json::json!({"os": "linux", "architecture": image.architecture});
        list.push(descriptor);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": list});
    let inner = blobs.put("application/vnd.oci.image.index.v1+json", serde_json::to_vec(&index).unwrap());
    let path = scratch.write("both.tar", &packed(&blobs.files(&[inner])));
    let source = source::parse(&format!("oci-archive:{}", path.display())).unwrap();
    let on = |platform: &str| {
        let options = Options { platform: Some(platform.parse().unwrap()), ..Options::default() };
        fetch(&store, &source, &options, &())
    };
    assert_eq!(fetch(&store, &source, &Options::default(), &()).unwrap().id, mine.id());
    assert_eq!(on("linux/s390x").unwrap(), Loaded { id: other.id(), names: vec![], known: false });
    assert!(on("linux/s390x").unwrap().known);
    let error = on("linux/riscv64").unwrap_err().to_string();
    assert!(error.contains("linux/riscv64") && error.contains(&format!("linux/s390x, linux/{}", native())), "{error}");
    assert_eq!(load(&store, Input::Path(path), &Options::default(), &()).unwrap()[0].id, mine.id());
}

#[test]
fn what_is_no_archive() {
    refused_with(b"", &["too short"]);
    refused_with(&[b'x'; 4096], &["neither a tar archive"]);
    refused_with(&[0; 1024], &["empty"]);
    refused_with(b"\xfd7zXZ\0and so on", &["XZ stream header"]);
    refused_with(b"BZh9and so on", &["cannot read"]);
    refused_with(&tar(&[("a", b"b")]), &["neither index.json"]);
    refused_with(&tar(&[("repositories", b"{}")]), &["older than 1.10"]);
    refused_with(&tar(&[("index.json", b"{\"manifests\":null}")]), &["no image"]);
    refused_with(&tar(&[("index.json", b"nonsense")]), &["index.json"]);
}

#[test]
fn members_that_lead_elsewhere_or_are_odd() {
    let good = oci(&[Image::new(&["one"], Packing::Plain)]);
    let before = |member: &mut Tar| [member.finish()[..].strip_suffix(&[0; 1024][..]).unwrap(), &good[..]].concat();
    refused_with(&before(Tar::default().file("../x", b"y")), &["../x", "leads out"]);
    refused_with(&before(Tar::default().file("/etc/x", b"y")), &["/etc/x", "leads out"]);
    refused_with(&before(Tar::default().file("index.json", b"{}")), &["index.json", "twice"]);
    refused_with(&before(Tar::default().link("x", tar::EntryType::GNUSparse, "")), &["\"x\"", "sparse"]);
    refused_with(&before(Tar::default().member("x", tar::EntryType::Regular, "", b"", u64::MAX)), &["absurd"]);
    refused_with(
        &before(Tar::default().member("x", tar::EntryType::GNULongName, "", b"", 1 << 40)),
        &["extended header"],
    );
    // A directory that is a link is nothing but a name, and a link that leads out leads nowhere.
    for streamed in [false, true] {
        let scratch = Scratch::new();
        let bytes = before(Tar::default().link("blobs", tar::EntryType::Symlink, "/etc"));
        bring(&scratch, &scratch.store(), &bytes, streamed).unwrap();
    }
    let mut links = Tar::default();
    links.link("manifest.json", tar::EntryType::Symlink, "a").link("a", tar::EntryType::Symlink, "manifest.json");
    refused_with(&links.finish(), &["links lead to it"]);
    refused_with(
        &Tar::default().link("manifest.json", tar::EntryType::Symlink, "../../etc/passwd").finish(),
        &["neither"],
    );
}

#[test]
fn blobs_that_are_not_what_they_are_called() {
    let files = oci_files(&[Image::new(&["one"], Packing::Gzip)]);
    for at in 0..files.len() - 2 {
        let mut files = files.clone();
        let name = files[at].0.rsplit('/').next().unwrap().to_owned();
        let last = files[at].1.len() - 3;
        files[at].1[last] ^= 1;
        refused_with(&packed(&files), &[&name]);
        files.remove(at);
        refused_with(&packed(&files), &["missing", &name]);
    }
    // A configuration that lies about the layer.
    let mut image = Image::new(&["one"], Packing::Gzip);
    let real = image.layers[0].clone();
    image.layers[0] = tar(&[("other", b"")]);
    let bytes = docker(&[image.clone()], false);
    let text = docker(&[Image { layers: vec![real], ..image }], false);
    let swapped = [&text[..text.len() - 3072], &bytes[bytes.len() - 3072..]].concat();
    for text in refused(&swapped) {
        assert!(text.contains("diff id") || text.contains("missing"), "{text}");
    }
}

#[test]
fn truncated_anywhere() {
    let bytes = oci(&[Image::new(&["one", "two"], Packing::Gzip)]);
    // What is cut off must be more than padding: the index is the last member.
    for end in (0..=bytes.len() - 1024 - 512 + 64).step_by(64) {
        for text in refused(&bytes[..end]) {
            assert!(!text.is_empty());
        }
    }
    let packed = Packing::Gzip.pack(&bytes);
    refused(&packed[..packed.len() / 2]);
}

#[test]
fn members_nobody_refers_to_are_dropped() {
    let image = Image::new(&["one"], Packing::Gzip);
    let mut files = oci_files(from_ref(&image));
    files.insert(0, ("junk.gz".into(), b"\x1f\x8bbroken".to_vec()));
    files.insert(1, ("stray.tar".into(), tar(&[("stray", b"stray")])));
    files.insert(2, ("text".into(), vec![b'x'; 100_000]));
    for streamed in [false, true] {
        let scratch = Scratch::new();
        let store = scratch.store();
        assert_eq!(bring(&scratch, &store, &packed(&files), streamed).unwrap()[0].id, image.id());
        assert_eq!(scratch.left().len(), 2);
    }
}

#[test]
fn one_bad_image_of_two_keeps_both_out() {
    let bad =
        Image { layers: vec![b"no tar at all, but long enough for one".repeat(40)], ..Image::new(&[], Packing::Gzip) };
    let bytes = oci(&[Image::new(&["good"], Packing::Gzip).named("good"), bad.named("bad")]);
    refused(&bytes);
}
