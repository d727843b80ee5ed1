//! Archives damaged at random: an error or a success, never a panic, and nothing left behind after an error.

mod build;

use build::{Image, Packing, Scratch, docker, oci};
use proptest::prelude::*;
use transfer::{Input, Options, load};

#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index, u8),
    Digits(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, count)| Damage::Remove(at, count)),
        any::<Index>().prop_map(Damage::Digits),
    ]
}

/// Applies a damage; one to the headers of the archive has its checksums mended, so that it is believed.
fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            mend(bytes, at);
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Repeat(from, to) => {
            let from = from.index(bytes.len()) / 512 * 512;
            let end = (from + 1024).min(bytes.len());
            let piece = bytes[from..end].to_vec();
            let to = to.index(bytes.len()) / 512 * 512;
            bytes.splice(to..to, piece);
        }
        Damage::Remove(at, count) => {
            let at = at.index(bytes.len());
            let end = (at + usize::from(*count)).min(bytes.len());
            bytes.drain(at..end);
        }
        Damage::Digits(at) => {
            let at = at.index(bytes.len());
            if let Some(digit) = bytes[at..].iter_mut().find(|b| b.is_ascii_digit()) {
                *digit = b'0' + (*digit - b'0' + 1) % 10;
            }
        }
    }
}

fn mend(bytes: &mut [u8], at: usize) {
    let start = at / 512 * 512;
    let Some(record) = bytes.get_mut(start..start + 512) else { return };
    if &record[257..262] == b"ustar" {
        record[148..156].fill(b' ');
        let sum: u32 = record.iter().map(|&b| u32::from(b)).sum();
        record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn archive(which: u8) -> Vec<u8> {
    let packing = [Packing::Plain, Packing::Gzip, Packing::Zstd][usize::from(which % 3)];
    let images = [Image::new(&["one", "two"], packing).named("a:1"), Image::new(&["one"], packing).named("b")];
    match which / 3 % 3 {
        0 => oci(&images),
        1 => docker(&images, true),
        _ => docker(&images, false),
    }
}

#[test]
fn a_damaged_configuration_keeps_all_images_out() {
    // Two images as Docker saves them; any byte of the second one's configuration.
    let whole = archive(7);
    let start = b"\"rootfs\"";
    let places: Vec<usize> = (0..whole.len() - start.len()).filter(|at| whole[*at..].starts_with(start)).collect();
    assert_eq!(places.len(), 2);
    let mut refused = 0;
    for at in places[1] - 80..places[1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x80;
        let scratch = Scratch::new();
        let store = scratch.store();
        if load(&store, Input::Path(scratch.write("archive", &bytes)), &Options::default(), &()).is_err() {
            assert_eq!(store.images().unwrap().len(), 0, "byte {at}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged(which in 0..9u8, damages in prop::collection::vec(damage(), 1..4), outer in 0..3u8, streamed: bool) {
        let mut bytes = archive(which);
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        let bytes = [Packing::Plain, Packing::Gzip, Packing::Zstd][usize::from(outer)].pack(&bytes);
        let scratch = Scratch::new();
        let store = scratch.store();
        let loaded = if streamed {
            load(&store, Input::Reader(&mut &bytes[..]), &Options::default(), &())
        } else {
            load(&store, Input::Path(scratch.write("archive", &bytes)), &Options::default(), &())
        };
        match loaded {
            Ok(loaded) => {
                for image in loaded {
                    prop_assert!(store.find_image(&image.id.to_string()).is_ok());
                }
            }
            Err(error) => {
                prop_assert!(!error.to_string().is_empty());
                prop_assert_eq!(store.images().unwrap().len(), 0, "{}", error);
                prop_assert_eq!(scratch.left(), Vec::<std::path::PathBuf>::new());
            }
        }
    }
}
