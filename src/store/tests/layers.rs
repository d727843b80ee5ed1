//! What a layer becomes.

use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn all_kinds_with_their_owners_modes_and_times() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let long = format!("long/{}/{}", "a".repeat(200), "b".repeat(200));
    let archive = Tar::new()
        .directory("./", 0o751)
        .directory("sub/", 0o2755)
        .owned(b'0', b"sub/file", b"", 0o4755, (1234, 5678), b"hello")
        .symlink("sub/link", "../../../outside")
        .hard_link("sub/second", "sub/file")
        .entry(b'6', b"fifo", b"", 0o640, b"")
        .entry(b'0', b"bad-\xff-name", b"", 0o600, b"x")
        .entry(b'0', long.as_bytes(), b"", 0o644, b"deep")
        .pax(&[
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.note", b"a\nb=c\0"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("path", "pax/é".as_bytes()),
        ])
        .file("ignored", b"data")
        .end();
    let candidate = ingest(&store, &gzip(&archive)).unwrap();
    let tree = tree(&candidate);
    assert_eq!(candidate.diff_id(), Digest::of(&archive));
    let at = |name: &str| std::fs::symlink_metadata(tree.join(name)).unwrap();
    assert_eq!(std::fs::metadata(&tree).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(at("sub").mode() & 0o7777, 0o2755);
    let file = at("sub/file");
    assert_eq!((file.mode() & 0o7777, file.nlink(), file.len()), (0o4755, 2, 5));
    if root() {
        assert_eq!((file.uid(), file.gid()), (1234, 5678));
    }
    for name in ["", "sub", "sub/file", "sub/link", "fifo"] {
        assert_eq!(at(name).mtime(), 1_000_000_000, "{name}");
    }
    assert_eq!(std::fs::read_link(tree.join("sub/link")).unwrap(), Path::new("../../../outside"));
    assert!(at("fifo").file_type().is_fifo());
    assert_eq!(std::fs::read(tree.join(&long)).unwrap(), b"deep");
    use std::os::unix::ffi::OsStrExt;
    assert_eq!(std::fs::read(tree.join(std::ffi::OsStr::from_bytes(b"bad-\xff-name"))).unwrap(), b"x");
    let pax = at("pax/é");
    assert_eq!((pax.mtime(), pax.mtime_nsec()), (-2, 500_000_000));
    let file = std::fs::File::open(tree.join("pax/é")).unwrap();
    assert_eq!(sys::xattr::get(&file, b"user.note").unwrap().as_deref(), Some(&b"a\nb=c\0"[..]));
    assert_eq!(sys::xattr::get(&file, b"trusted.overlay.opaque").unwrap(), None);
    assert_eq!(candidate.unpacked().unwrap().skipped_attributes, 1);
    drop(candidate);
    assert_eq!(contents(&store), Vec::<String>::new());
}

#[test]
fn every_compression_and_several_members() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let archive = Tar::new().file("a", &[7; 100_000]).file("b", b"").end();
    let (first, second) = archive.split_at(70_000);
    let members = [gzip(first), gzip(b""), gzip(second), vec![0; 512]].concat();
    let frames = [zstd::encode_all(first, 3).unwrap(), zstd::encode_all(second, 1).unwrap()].concat();
    for blob in [archive.clone(), gzip(&archive), members, frames] {
        let candidate = ingest(&store, &blob).unwrap();
        assert_eq!((candidate.digest(), candidate.size()), (Digest::of(&blob), blob.len() as u64));
        assert_eq!(candidate.diff_id(), Digest::of(&archive));
        assert_eq!(std::fs::read(tree(&candidate).join("a")).unwrap(), [7; 100_000]);
        assert_eq!(std::fs::read(candidate.place.path(&candidate.digest().hex())).unwrap(), blob);
    }
}

/// A reader that gives a byte at a time makes every state of the parser and of the decompressors be left and entered.
#[test]
fn byte_by_byte() {
    struct Slow<'a>(&'a [u8]);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let scratch = Scratch::new();
    let store = scratch.store();
    let archive = Tar::new().directory("d", 0o755).file("d/a", &[1; 3000]).symlink("l", "d").end();
    for blob in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 3).unwrap()] {
        let candidate = store.ingest_layer(Slow(&blob), Expect::default()).unwrap();
        assert_eq!(candidate.diff_id(), Digest::of(&archive));
        assert_eq!(std::fs::read(tree(&candidate).join("d/a")).unwrap(), [1; 3000]);
    }
}

#[test]
fn what_comes_twice_is_replaced_and_not_written_through() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let archive = Tar::new()
        .file("target", b"untouched")
        .symlink("a", "target")
        .file("a", b"new")
        .directory("b", 0o755)
        .file("b/inner", b"x")
        .file("b", b"file now")
        .file("c", b"x")
        .directory("c", 0o700)
        .file("c/inner", b"y")
        .directory("d", 0o700)
        .file("d/stays", b"z")
        .directory("d", 0o755)
        .hard_link("a", "target")
        .hard_link("a", "a")
        .end();
    let candidate = ingest(&store, &archive).unwrap();
    let tree = tree(&candidate);
    let read = |name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!(
        (read("target").as_str(), read("a").as_str(), read("b").as_str()),
        ("untouched", "untouched", "file now")
    );
    assert_eq!((read("c/inner").as_str(), read("d/stays").as_str()), ("y", "z"));
    assert_eq!(std::fs::metadata(tree.join("d")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::metadata(tree.join("a")).unwrap().nlink(), 2);
}

#[test]
fn whiteouts_become_overlays() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let archive = Tar::new()
        .directory("d", 0o755)
        .file("d/.wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .file("d/.wh..wh.plnk", b"")
        .file("new/.wh.gone", b"")
        .file(".wh.again", b"")
        .directory("again", 0o755)
        .file("again/x", b"")
        .file("kept", b"data")
        .file(".wh.kept", b"")
        .end();
    let candidate = ingest(&store, &archive).unwrap();
    let tree = tree(&candidate);
    for name in ["d/gone", "new/gone"] {
        let found = std::fs::symlink_metadata(tree.join(name)).unwrap();
        assert!(found.file_type().is_char_device() && found.rdev() == 0, "{name}");
    }
    let opaque = crate::format::overlay_attribute(options().in_user_namespace, "opaque");
    for (name, expected) in [("d", true), ("again", true), ("new", false)] {
        let directory = std::fs::File::open(tree.join(name)).unwrap();
        assert_eq!(sys::xattr::get(&directory, opaque.as_bytes()).unwrap().is_some(), expected, "{name}");
    }
    assert!(!tree.join("d/.wh..wh.plnk").exists());
    assert_eq!(std::fs::read(tree.join("kept")).unwrap(), b"data");
}

#[test]
fn sparse_files_of_all_formats() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let mut expected = vec![0u8; 10_000];
    expected[1000..1005].copy_from_slice(b"hello");
    expected[9000..9005].copy_from_slice(b"world");
    let data = b"helloworld";
    let map = |text: &str| text.as_bytes().to_vec();
    let in_data = [&map("2\n1000\n5\n9000\n5\n")[..], &vec![0; 512 - 16], data].concat();
    let formats: [Vec<u8>; 4] = [
        Tar::new()
            .pax(&[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"1000"),
                ("GNU.sparse.numbytes", b"5"),
                ("GNU.sparse.offset", b"9000"),
                ("GNU.sparse.numbytes", b"5"),
            ])
            .file("sparse", data)
            .end(),
        Tar::new()
            .pax(&[("GNU.sparse.size", b"10000"), ("GNU.sparse.name", b"sparse"), ("GNU.sparse.map", b"1000,5,9000,5")])
            .file("GNUSparseFile.1/sparse", data)
            .end(),
        Tar::new()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.realsize", b"10000"),
            ])
            .file("GNUSparseFile.1/sparse", &in_data)
            .end(),
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(10);
            header.set_mode(0o644);
            header.as_old_mut().name[..6].copy_from_slice(b"sparse");
            header.as_old_mut().linkflag[0] = b'S';
            let gnu = header.as_gnu_mut().unwrap();
            gnu.sparse[0].offset.copy_from_slice(b"00000001750\0");
            gnu.sparse[0].numbytes.copy_from_slice(b"00000000005\0");
            gnu.sparse[1].offset.copy_from_slice(b"00000021450\0");
            gnu.sparse[1].numbytes.copy_from_slice(b"00000000005\0");
            gnu.realsize.copy_from_slice(b"00000023420\0");
            header.set_cksum();
            Tar(header.as_bytes().to_vec()).data(data).end()
        },
    ];
    for archive in formats {
        let candidate = ingest(&store, &archive).map_err(|problem| words(&problem)).unwrap();
        assert_eq!(std::fs::read(tree(&candidate).join("sparse")).unwrap(), expected);
    }
}

#[test]
fn one_id_keeps_owners_aside() {
    let scratch = Scratch::new();
    let options = Options { in_user_namespace: true, single_id: true, ..Options::default() };
    let store = Store::open(&scratch.path().join("single"), options).unwrap();
    let archive = Tar::new()
        .owned(b'5', b"d", b"", 0o2750, (10, 20), b"")
        .owned(b'0', b"d/f", b"", 0o640, (30, 40), b"x")
        .file("mine", b"")
        .entry(b'3', b"null", b"", 0o666, b"")
        .end();
    let candidate = ingest(&store, &archive).unwrap();
    let tree = tree(&candidate);
    let kept = |name: &str| {
        let file = std::fs::File::open(tree.join(name)).unwrap();
        sys::xattr::get(&file, crate::format::OVERRIDE_STAT.as_bytes()).unwrap().map(|v| String::from_utf8(v).unwrap())
    };
    assert_eq!(kept("d").as_deref(), Some("10:20:02750"));
    assert_eq!(kept("d/f").as_deref(), Some("30:40:0640"));
    assert_eq!(kept("mine"), None);
    assert!(!tree.join("null").exists());
    assert_eq!(candidate.unpacked().unwrap().skipped_devices, 1);
    assert_eq!(std::fs::metadata(tree.join("d/f")).unwrap().uid(), rustix::process::geteuid().as_raw());
}
