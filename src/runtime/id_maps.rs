//! The id map that a mount's option writes out: `idmap=uids=0-100000-10#@10-0-5;gids=0-100000-10`, as crun(1) has it and Podman
//! passes it on. A range is `FILE-HOST-SIZE`: owner FILE in the file system shows as HOST. After `@` the second number is an id of
//! the container's, whose own map leads it to the host's.

use types::idmap::to_host;
use types::{IdMap, IdRange};

/// Reads `text`, what stands behind `idmap=`. `uids` and `gids` are the container's own map, empty if it has none. An error is a
/// sentence for the user.
pub fn read(text: &str, uids: &[IdRange], gids: &[IdRange]) -> Result<IdMap, String> {
    let mut map = IdMap { uids: Vec::new(), gids: Vec::new() };
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (all, list, own) = match part.split_once('=') {
            Some(("uids", list)) => (&mut map.uids, list, uids),
            Some(("gids", list)) => (&mut map.gids, list, gids),
            _ => return Err(format!("idmap {part:?} begins neither with uids= nor with gids=")),
        };
        for one in list.split('#') {
            all.push(range(one, own)?);
        }
    }
    if map.uids.is_empty() || map.gids.is_empty() {
        return Err(format!("idmap {text:?} must have both uids= and gids="));
    }
    Ok(map)
}

fn range(text: &str, own: &[IdRange]) -> Result<IdRange, String> {
    let (of_container, numbers) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
    let numbers: Result<Vec<u32>, _> = numbers.split('-').map(str::parse).collect();
    let Ok(&[container, host, size]) = numbers.as_deref() else {
        return Err(format!("idmap range {text:?} is not FILE-HOST-SIZE, three numbers"));
    };
    if !of_container {
        return Ok(IdRange { container, host, size });
    }
    let first =
        to_host(own, host).ok_or_else(|| format!("idmap range {text:?}: the container's own map has no id {host}"))?;
    let last = host.checked_add(size.saturating_sub(1)).and_then(|last| to_host(own, last));
    // What lies in several ranges of the container's map is not one range of the host's.
    if last.and_then(|last| last.checked_sub(first)) != Some(size.saturating_sub(1)) {
        return Err(format!("idmap range {text:?} does not fit into one range of the container's own map"));
    }
    Ok(IdRange { container, host: first, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_in_words() {
        let range = |container, host, size| IdRange { container, host, size };
        let own = [range(0, 100_000, 10), range(10, 200_000, 5)];
        let got = read("uids=0-1-100#@7-12-3;gids=5-6-7;", &own, &[]).unwrap();
        assert_eq!(got.uids, [range(0, 1, 100), range(7, 200_002, 3)]);
        assert_eq!(got.gids, [range(5, 6, 7)]);
        for (wrong, words) in [
            ("", "both uids= and gids="),
            ("uids=0-1-1", "both uids= and gids="),
            ("uids=0-1;gids=0-1-1", "\"0-1\" is not FILE-HOST-SIZE"),
            ("uids=0-1-2-3;gids=0-1-1", "is not FILE-HOST-SIZE"),
            ("uids=0-1-4294967296;gids=0-1-1", "is not FILE-HOST-SIZE"),
            ("uids=;gids=0-1-1", "\"\" is not FILE-HOST-SIZE"),
            ("ids=0-1-1", "neither with uids="),
            ("uids=@0-15-1;gids=0-1-1", "has no id 15"),
            ("uids=@0-8-5;gids=0-1-1", "into one range"),
            ("uids=@0-12-4;gids=0-1-1", "into one range"),
            ("uids=0-1-1;gids=@0-0-1", "has no id 0"),
        ] {
            let error = read(wrong, &own, &[]).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
