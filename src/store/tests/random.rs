//! Archives of random entries and random damage: no panic, nothing outside, nothing left.

use super::*;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(&b"a"[..]),
        Just(&b"b"[..]),
        Just(&b"c"[..]),
        Just(&b".."[..]),
        Just(&b"."[..]),
        Just(&b""[..]),
        Just(&b".wh.a"[..]),
        Just(&b".wh..wh..opq"[..]),
        Just(&b"\xff\n"[..]),
    ];
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b"/"[..]))
}

fn archive() -> impl Strategy<Value = Vec<u8>> {
    let kind =
        prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5'), Just(b'6'), Just(b'x'), Just(b'S'), any::<u8>()];
    let entry = (kind, name(), name(), 0u32..0o10000, proptest::collection::vec(any::<u8>(), 0..600));
    proptest::collection::vec(entry, 0..12).prop_map(|entries| {
        let archive = entries.into_iter().fold(Tar::new(), |archive, (kind, name, link, mode, data)| {
            let data = if let b'1' | b'2' | b'5' | b'6' = kind { Vec::new() } else { data };
            // Links lead out as often as not.
            let link = if kind == b'2' { [&b"../../../../../"[..], &link].concat() } else { link };
            archive.entry(kind, &name, &link, mode, &data)
        });
        archive.end()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_archive(archive in archive(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), fix in any::<bool>()) {
        let mut archive = archive;
        for (place, byte) in damage {
            let place = place.index(archive.len());
            archive[place] = byte;
            if fix {
                // With a good checksum the damage gets further.
                let start = place / 512 * 512;
                let block: &mut [u8; 512] = (&mut archive[start..start + 512]).try_into().unwrap();
                let (sum, _) = crate::archive::checksums(block);
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let scratch = Scratch::new();
        let store = scratch.store();
        let names = |path: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names(store.root());
        drop(ingest(&store, &archive));
        prop_assert_eq!(contents(&store), Vec::<String>::new());
        prop_assert_eq!(names(scratch.path()), ["root"]);
        prop_assert_eq!(names(store.root()), before);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic in 0usize..4) {
        let start: &[u8] = [&b""[..], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &[0x28, 0xb5, 0x2f, 0xfd], &[0x50, 0x2a, 0x4d, 0x18]][magic];
        let scratch = Scratch::new();
        let store = scratch.store();
        drop(ingest(&store, &[start, &bytes].concat()));
        prop_assert_eq!(contents(&store), Vec::<String>::new());
    }
}
