//! Layers made to do harm: each must fail with an error that names the entry or the blob, leave nothing in the store,
//! and touch nothing outside; or be confined.

use super::*;

/// A directory beside the store that no layer may touch.
struct Outside {
    scratch: Scratch,
    store: Store,
    path: PathBuf,
}

impl Outside {
    fn new() -> Outside {
        let scratch = Scratch::new();
        let store = scratch.store();
        let path = scratch.path().join("outside");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("victim"), "untouched").unwrap();
        Outside { scratch, store, path }
    }

    fn check(&self) {
        let names: Vec<_> = std::fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["victim"]);
        assert_eq!(std::fs::read_to_string(self.path.join("victim")).unwrap(), "untouched");
        let names: Vec<_> = std::fs::read_dir(self.scratch.path()).unwrap().collect();
        assert_eq!(names.len(), 2);
    }

    /// The words of the error that `archive` must end in.
    fn refused(&self, archive: Vec<u8>) -> String {
        let mut text = String::new();
        for blob in [archive.clone(), gzip(&archive)] {
            let problem = match ingest(&self.store, &blob) {
                Err(problem) => words(&problem),
                Ok(candidate) => panic!("accepted: {:?}", candidate.unpacked()),
            };
            self.check();
            assert_eq!(contents(&self.store), Vec::<String>::new(), "{problem}");
            text = problem;
        }
        text
    }

    /// A layer that is taken, and does no harm.
    fn confined(&self, archive: Vec<u8>) -> Candidate {
        let candidate = ingest(&self.store, &archive).map_err(|problem| words(&problem)).unwrap();
        self.check();
        candidate
    }
}

#[test]
fn names_that_lead_out() {
    let outside = Outside::new();
    for name in ["../escape", "a/../../escape", "/../escape", "./../../escape", "..", "a/b/../../.."] {
        let problem = outside.refused(Tar::new().file(name, b"x").end());
        assert!(problem.contains(name) && problem.contains("leads out"), "{problem}");
        let problem = outside.refused(Tar::new().directory(name, 0o755).end());
        assert!(problem.contains("leads out"), "{problem}");
        let problem = outside.refused(Tar::new().file("a/f", b"x").hard_link("b", name).end());
        assert!(problem.contains("leads out"), "{problem}");
    }
    // Absolute names are the layer's own.
    let candidate = outside.confined(Tar::new().file("/etc/made", b"x").file("//x/./y//z", b"y").end());
    assert_eq!(std::fs::read(tree(&candidate).join("etc/made")).unwrap(), b"x");
    assert_eq!(std::fs::read(tree(&candidate).join("x/y/z")).unwrap(), b"y");
}

#[test]
fn links_that_lead_out() {
    let outside = Outside::new();
    let out = outside.path.to_str().unwrap();
    let climb = format!("../../../../../../../../../../../..{out}");
    for target in [out, climb.as_str()] {
        // In the layer these resolve to the layer's own directory of that name, which does not exist.
        for archive in [
            Tar::new().symlink("l", target).file("l/victim", b"harm").end(),
            Tar::new().symlink("l", target).directory("l/made", 0o755).end(),
            Tar::new().symlink("a", "b").symlink("b", target).file("a/victim", b"harm").end(),
            Tar::new().symlink("l", target).hard_link("stolen", "l/victim").end(),
            Tar::new().symlink("l", target).file("l/.wh.victim", b"").end(),
            Tar::new().symlink("l", target).file("l/.wh..wh..opq", b"").end(),
            Tar::new().symlink("l", target).entry(b'6', b"l/fifo", b"", 0o644, b"").end(),
            Tar::new().symlink("l", target).symlink("l/link", "x").end(),
        ] {
            outside.refused(archive);
        }
        // Where it does exist in the layer, it is the layer's that is meant.
        let inner = out.trim_start_matches('/');
        let archive = Tar::new().directory(inner, 0o755).symlink("l", target).file("l/victim", b"own").end();
        let candidate = outside.confined(archive);
        assert_eq!(std::fs::read(tree(&candidate).join(inner).join("victim")).unwrap(), b"own");
    }
    let victim = format!("{out}/victim");
    // Replaced, not written through; and a hard link to a link is one to the link.
    let archive =
        Tar::new().symlink("l", &victim).file("l", b"harm").symlink("m", &victim).hard_link("n", "m").file("n", b"x");
    outside.confined(archive.end());
    // Neither mode nor time of what a link points to changes.
    let before = std::fs::metadata(&outside.path).unwrap();
    let archive = Tar::new()
        .directory("real", 0o755)
        .directory("real/x", 0o6777)
        .symlink("alias", "real")
        .symlink("alias/x", out)
        .directory("y", 0o6777)
        .symlink("y", out);
    outside.confined(archive.end());
    let after = std::fs::metadata(&outside.path).unwrap();
    assert_eq!(before.permissions(), after.permissions());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert!(outside.refused(Tar::new().symlink("l", "l").file("l/x", b"").end()).contains("l/x"));
    outside.refused(Tar::new().symlink("empty", "").end());
}

#[test]
fn hard_links_to_nothing() {
    let outside = Outside::new();
    for (target, why) in
        [("missing", "does not have"), ("d", "directory"), (".", "root"), ("f/x", "does not have"), ("/", "root")]
    {
        let archive = Tar::new().directory("d", 0o755).file("f", b"").hard_link("bad", target).end();
        let problem = outside.refused(archive);
        assert!(problem.contains("\"bad\"") && problem.contains(why), "{target}: {problem}");
    }
    // It replaces the directory that holds its target.
    outside.refused(Tar::new().directory("d", 0o755).file("d/f", b"").hard_link("d", "d/f").end());
}

#[test]
fn odd_whiteouts_and_roots() {
    let outside = Outside::new();
    for name in [".wh.", "d/.wh.", ".wh..", "d/.wh..."] {
        let problem = outside.refused(Tar::new().directory("d", 0o755).file(name, b"").end());
        assert!(problem.contains("whiteout of nothing"), "{problem}");
    }
    for kind in [b'0', b'1', b'2', b'3', b'6'] {
        for name in [&b"."[..], b"./", b"/", b"a/.."] {
            let problem = outside.refused(Tar::new().entry(kind, name, b"target", 0o644, b"").end());
            assert!(problem.contains("root of the layer"), "{problem}");
        }
    }
    let inside = outside.refused(Tar::new().file("f", b"").file("f/below", b"").end());
    assert!(inside.contains("f/below") && inside.contains("not a directory"), "{inside}");
}

#[test]
fn what_is_too_much() {
    let outside = Outside::new();
    let long = "n".repeat(256);
    assert!(outside.refused(Tar::new().file(&long, b"").end()).contains("255"));
    let longer = "d/".repeat(2100);
    assert!(outside.refused(Tar::new().file(&longer, b"").end()).contains("4095"));
    assert!(outside.refused(Tar::new().symlink("l", &longer).end()).contains("4095"));
    let large = vec![b'x'; 2 << 20];
    assert!(outside.refused(Tar::new().entry(b'x', b"h", b"", 0, &large).end()).contains("extended header"));
    assert!(
        outside.refused(Tar::new().pax(&[("size", b"99999999999999999")]).file("f", b"").end()).contains("more than")
    );
    for number in ["-1", "x", "99999999999999999999999"] {
        assert!(outside.refused(Tar::new().pax(&[("size", number.as_bytes())]).file("f", b"").end()).contains("\"f\""));
        assert!(outside.refused(Tar::new().pax(&[("uid", number.as_bytes())]).file("f", b"").end()).contains("\"f\""));
    }
    assert!(
        outside
            .refused(Tar::new().owned(b'0', b"f", b"", 0o644, (u64::from(u32::MAX), 0), b"").end())
            .contains("owner")
    );
    assert!(outside.refused(Tar::new().pax(&[("path", b"a\0b")]).file("f", b"").end()).contains("zero"));
    let mut headers = Tar::new();
    for _ in 0..20 {
        headers = headers.pax(&[("comment", b"x")]);
    }
    assert!(outside.refused(headers.file("f", b"").end()).contains("in a row"));
    let holes = [("GNU.sparse.size", &b"10"[..]), ("GNU.sparse.map", b"5,5,0,5")];
    assert!(outside.refused(Tar::new().pax(&holes).file("f", &[0; 10]).end()).contains("holes"));
    let holes = [("GNU.sparse.size", &b"10"[..]), ("GNU.sparse.map", b"0,20")];
    assert!(outside.refused(Tar::new().pax(&holes).file("f", &[0; 20]).end()).contains("holes"));
    assert!(outside.refused(Tar::new().entry(b'M', b"volume", b"", 0, b"").end()).contains("not supported"));
}

/// A tree deeper than a process has descriptors is made, copied over by another of the same name, and removed.
#[test]
fn a_very_deep_tree_goes_again() {
    let outside = Outside::new();
    let deep = "d/".repeat(2000);
    let archive = Tar::new().file(&format!("{deep}f"), b"x").directory("locked", 0).file("locked/f", b"").end();
    let candidate = outside.confined(archive);
    drop(candidate);
    assert_eq!(contents(&outside.store), Vec::<String>::new());
    let replaced = outside.confined(Tar::new().file(&format!("{deep}f"), b"x").file("d", b"file").end());
    assert_eq!(std::fs::read(tree(&replaced).join("d")).unwrap(), b"file");
}

#[test]
fn damaged_streams() {
    let outside = Outside::new();
    let archive = Tar::new().file("first", &[1; 5000]).file("second", &[2; 5000]).end();
    for end in [100, 511, 700, 5000, 5700, 6300, 9000] {
        let problem = outside.refused(archive[..end].to_vec());
        assert!(problem.contains("cut off"), "{end}: {problem}");
    }
    for change in [0, 100, 150, 156, 5633] {
        let mut damaged = archive.clone();
        damaged[change] ^= 0x55;
        assert!(outside.refused(damaged).contains("checksum"), "{change}");
    }
    let blob = gzip(&archive);
    let zstd = zstd::encode_all(&archive[..], 3).unwrap();
    let problem = |blob: &[u8]| {
        let problem = ingest(&outside.store, blob).err().map(|problem| words(&problem)).unwrap();
        assert_eq!(contents(&outside.store), Vec::<String>::new());
        problem
    };
    for (blob, name) in [(&blob, "gzip"), (&zstd, "zstd")] {
        for end in [5, 12, blob.len() / 2, blob.len() - 1] {
            let problem = problem(&blob[..end]);
            assert!(problem.contains(name) && problem.contains("cut off"), "{end}: {problem}");
        }
        let mut damaged = blob.clone();
        let middle = damaged.len() - 6;
        damaged[middle] ^= 0xff;
        assert!(problem(&damaged).contains("damaged"), "{name}");
        assert!(problem(&[&blob[..], b"garbage!"].concat()).contains("gzip stream") || name == "zstd");
        problem(&[&blob[..], b"garbage!"].concat());
    }
    assert!(problem(b"\xfd7zXZ\0rest of it").contains("xz"));
    assert!(problem(b"BZh91AY&SY").contains("bzip2"));
    assert!(problem(&[b'x'; 4096]).contains("checksum"));
    assert!(problem(b"x").contains("cut off"));
}

#[test]
fn what_was_announced_must_come() {
    let outside = Outside::new();
    let archive = Tar::new().file("f", b"x").end();
    for blob in [archive.clone(), gzip(&archive)] {
        let right = Expect {
            digest: Some(Digest::of(&blob)),
            size: Some(blob.len() as u64),
            diff_id: Some(Digest::of(&archive)),
        };
        assert!(outside.store.ingest_layer(&blob[..], right).is_ok());
        let other = Some(Digest::of(b"other"));
        for (wrong, what) in [
            (Expect { digest: other, ..right }, "digest"),
            (Expect { diff_id: other, ..right }, "diff id"),
            (Expect { size: Some(1), ..right }, "size"),
            (Expect { size: Some(1 << 40), ..right }, "size"),
        ] {
            let problem = outside.store.ingest_layer(&blob[..], wrong).err().unwrap();
            assert!(matches!(&problem, Error::Mismatch { what: found, .. } if *found == what), "{problem}");
            assert_eq!(contents(&outside.store), Vec::<String>::new());
        }
    }
}

/// The walk of our own, for kernels without openat2, keeps to the same rules.
#[test]
fn both_walks_agree() {
    use rustix::fs::OFlags;
    use sys::beneath::{Root, Walk};
    let scratch = Scratch::new();
    let at = |path: &str| scratch.path().join(path);
    std::fs::create_dir_all(at("root/a/b")).unwrap();
    std::fs::create_dir(at("outside")).unwrap();
    for (name, text) in [("root/a/f", "inner"), ("outside/f", "outer"), ("root/f", "top")] {
        std::fs::write(at(name), text).unwrap();
    }
    let outside = at("outside");
    for (link, target) in [
        ("up", "../../.."),
        ("out", outside.to_str().unwrap()),
        ("absolute", "/a"),
        ("a/climb", "../../../../../../f"),
        ("loop", "loop"),
        ("a/b/back", "../.././a/b/../f"),
        ("slash", "a/f/"),
        ("dangling", "nowhere"),
    ] {
        std::os::unix::fs::symlink(target, at("root").join(link)).unwrap();
    }
    let paths = [
        "",
        ".",
        "/",
        "..",
        "../../f",
        "a/f",
        "/a/f",
        "a/../f",
        "a/../../../f",
        "up/f",
        "out/f",
        "absolute/f",
        "a/climb",
        "loop",
        "loop/x",
        "a/b/back",
        "slash",
        "f/",
        "a/",
        "dangling",
        "nothing",
        "a/f/x",
        "up",
        "absolute",
        "absolute/",
    ];
    for flags in [
        OFlags::RDONLY,
        OFlags::RDONLY | OFlags::NOFOLLOW,
        OFlags::PATH | OFlags::DIRECTORY,
        OFlags::PATH | OFlags::NOFOLLOW,
    ] {
        for path in paths {
            let look = |walk| {
                let root = Root::open(&at("root")).unwrap().with_walk(walk);
                root.resolve(path.as_bytes(), flags).and_then(rustix::fs::fstat).map(|stat| stat.st_ino)
            };
            assert_eq!(look(Walk::Kernel), look(Walk::Own), "{path:?} {flags:?}");
        }
    }
}
