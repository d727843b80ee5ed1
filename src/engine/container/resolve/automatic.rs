//! `--userns auto`: ids that no other container has.

use super::namespaces::{options, single};
use crate::container::facts::Facts;
use ops::{Fault, Kind};
use types::{IdMap, IdRange};

/// How many ids a container gets at least and at most where nobody says how many, as Podman has it.
const USUAL: (u32, u32) = (1024, 65536);

/// As many ids as asked for, or as the image needs. Ids that were mapped by hand keep their place.
pub fn map(text: &str, user: Option<&str>, facts: &Facts) -> Result<IdMap, Fault> {
    if facts.single_id {
        return Err(single("auto"));
    }
    let own = user.unwrap_or_default().split(':').filter_map(|id| id.parse::<u32>().ok()).max().unwrap_or(0);
    let mut size = facts.largest_id.max(own).saturating_add(1).clamp(USUAL.0, USUAL.1);
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for (key, value) in options(text)? {
        match key {
            "size" => {
                size = value.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    Fault::invalid(format!("invalid value {value:?} for size of --userns auto: expected a number"))
                })?;
            }
            "uidmapping" => uids.push(range(key, value)?),
            "gidmapping" => gids.push(range(key, value)?),
            _ => {
                return Err(Fault::invalid(format!("unknown option specified: {key:?}"))
                    .hint("auto takes size=, uidmapping= and gidmapping="));
            }
        }
    }
    Ok(IdMap { uids: around(size, uids, &facts.free_ids)?, gids: around(size, gids, &facts.free_ids)? })
}

/// `CONTAINER:HOST:SIZE`; the host's ids are those of the engine's namespace.
fn range(key: &str, value: &str) -> Result<IdRange, Fault> {
    let wrong = || {
        Fault::invalid(format!(
            "invalid value {value:?} for {key} of --userns auto: expected CONTAINER-ID:HOST-ID:SIZE, three numbers"
        ))
    };
    let numbers: Vec<u32> = value.split(':').map(|n| n.parse().ok()).collect::<Option<_>>().ok_or_else(wrong)?;
    let [container, host, size] = numbers[..] else { return Err(wrong()) };
    let fits = |first: u32| first.checked_add(size).is_some();
    if size == 0 || !fits(container) || !fits(host) {
        return Err(wrong());
    }
    Ok(IdRange { container, host, size })
}

/// The ids from 0 to `size` inside but for those of `given`, each with a free one outside.
fn around(size: u32, given: Vec<IdRange>, free: &[(u32, u32)]) -> Result<Vec<IdRange>, Fault> {
    let inside = without(&[(0, size)], given.iter().map(|r| (r.container, r.size)));
    let outside = without(free, given.iter().map(|r| (r.host, r.size)));
    let count = |ranges: &[(u32, u32)]| ranges.iter().map(|r| u64::from(r.1)).sum::<u64>();
    if count(&inside) > count(&outside) {
        return Err(Fault::new(
            Kind::Conflict,
            format!("not enough unused IDs in user namespace: {} asked for, {} left", count(&inside), count(&outside)),
        )
        .hint("remove containers made with --userns auto, or ask for less with auto:size=N"));
    }
    // One stretch is better than several, where there is a large enough one.
    let single = outside.iter().find(|(_, length)| u64::from(*length) >= count(&inside)).copied();
    let mut outside = single.map_or(outside, |one| vec![one]).into_iter();
    let mut ranges = given;
    let (mut host, mut left) = outside.next().unwrap_or((0, 0));
    for (mut container, mut size) in inside {
        while size > 0 {
            if left == 0 {
                (host, left) = outside.next().unwrap_or((0, size));
            }
            let some = size.min(left);
            ranges.push(IdRange { container, host, size: some });
            (container, size, host, left) = (container + some, size - some, host + some, left - some);
        }
    }
    ranges.sort_by_key(|r| r.container);
    Ok(ranges)
}

/// What is left of stretches (first, length), which are sorted, without others.
fn without(ranges: &[(u32, u32)], others: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, u32)> {
    let mut left = ranges.to_vec();
    for (first, length) in others {
        let (first, end) = (u64::from(first), u64::from(first) + u64::from(length));
        left = left
            .into_iter()
            .flat_map(|(at, length)| {
                let (at, until) = (u64::from(at), u64::from(at) + u64::from(length));
                [(at, until.min(first)), (at.max(end), until)]
            })
            .filter(|(at, until)| at < until)
            .map(|(at, until)| (at as u32, (until - at) as u32))
            .collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(free: &[(u32, u32)], largest_id: u32) -> Facts {
        Facts { free_ids: free.to_vec(), largest_id, ..Facts::default() }
    }

    fn told(text: &str, user: Option<&str>, facts: &Facts) -> Result<(String, String), String> {
        let line = |ranges: &[IdRange]| types::idmap::render(ranges).trim_end().replace('\n', ", ");
        map(text, user, facts).map(|map| (line(&map.uids), line(&map.gids))).map_err(|fault| fault.message)
    }

    #[test]
    fn as_many_as_the_image_needs() {
        let free = [(1, 65536)];
        let uids = |largest, user| told("auto", user, &facts(&free, largest)).unwrap().0;
        assert_eq!(uids(0, None), "0 1 1024");
        assert_eq!(uids(5000, None), "0 1 5001");
        assert_eq!(uids(5000, Some("7000:1")), "0 1 7001");
        assert_eq!(uids(4_000_000, None), "0 1 65536");
        assert_eq!(told("auto:size=10", None, &facts(&free, 5000)).unwrap().0, "0 1 10");
    }

    #[test]
    fn stretches_are_put_together_only_where_they_must() {
        assert_eq!(told("auto:size=5", None, &facts(&[(10, 3), (20, 9)], 0)).unwrap().0, "0 20 5");
        assert_eq!(told("auto:size=11", None, &facts(&[(10, 3), (20, 9)], 0)).unwrap().0, "0 10 3, 3 20 8");
        let refused = told("auto:size=13", None, &facts(&[(10, 3), (20, 9)], 0)).unwrap_err();
        assert!(refused.contains("not enough unused IDs"), "{refused}");
    }

    #[test]
    fn what_was_mapped_by_hand_keeps_its_place() {
        let (uids, gids) =
            told("auto:size=100,uidmapping=0:1005:1,gidmapping=7:3:2", None, &facts(&[(1000, 500)], 0)).unwrap();
        assert_eq!(uids, "0 1005 1, 1 1006 99");
        assert_eq!(gids, "0 1000 7, 7 3 2, 9 1007 91");
        // Beyond the size, too.
        assert_eq!(told("auto:size=2,uidmapping=50:0:1", None, &facts(&[(10, 9)], 0)).unwrap().0, "0 10 2, 50 0 1");
        for wrong in ["1:2", "a:1:1", "1:1:0", "4294967295:1:2"] {
            let told = told(&format!("auto:uidmapping={wrong}"), None, &facts(&[(10, 9)], 0)).unwrap_err();
            assert!(told.contains("expected CONTAINER-ID:HOST-ID:SIZE"), "{told}");
        }
    }
}
