//! Id maps in the notation of `--uidmap` and `--gidmap`: `[FLAGS]CONTAINER:HOST[:AMOUNT]`.
//!
//! `HOST` counts in the engine's namespace: for root the host's ids, for another user 0 is the user and 1 the first of the
//! user's range; with `@` before it, it is the host's id in any case. Flags: `u` or `g` (only for users or groups), `+` (what
//! is said here changes the usual map instead of standing for all of it).

use ops::Fault;
use types::{IdMap, IdRange};

/// The ranges that `texts` ask for. `engine` is the engine's own map (empty for root), `usual` what `+` changes; ranges for
/// the other kind of ids (`u`, `g`) go into the second list.
pub fn parse(
    texts: &[String],
    own: char,
    engine: &[IdRange],
    usual: &[IdRange],
) -> Result<(Vec<IdRange>, Vec<String>), Fault> {
    let mut ranges: Vec<IdRange> = Vec::new();
    let mut extends = false;
    let mut others = Vec::new();
    for text in texts {
        let (flags, rest) = text.split_at(text.bytes().take_while(|b| matches!(b, b'u' | b'g' | b'+')).count());
        extends |= flags.contains('+');
        let other = if own == 'u' { 'g' } else { 'u' };
        if flags.contains(other) || !flags.contains(['u', 'g']) {
            others.push(format!("{}{rest}", if flags.contains('+') { "+" } else { "" }));
        }
        if flags.contains(other) && !flags.contains(own) {
            continue;
        }
        ranges.extend(range(text, rest, engine)?);
    }
    if extends {
        ranges = overlaid(usual, &ranges);
    }
    check(&ranges)?;
    Ok((ranges, others))
}

fn range(text: &str, rest: &str, engine: &[IdRange]) -> Result<Vec<IdRange>, Fault> {
    let invalid =
        || Fault::invalid(format!("invalid id map {text:?}: expected [FLAGS]CONTAINER:HOST[:AMOUNT], with numbers"));
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id < u32::MAX).ok_or_else(invalid);
    let parts: Vec<&str> = rest.split(':').collect();
    let (container, host, size) = match parts.as_slice() {
        [container, host] => (number(container)?, *host, 1),
        [container, host, size] => (number(container)?, *host, number(size)?),
        _ => return Err(invalid()),
    };
    if size == 0 || container.checked_add(size).is_none() {
        return Err(invalid());
    }
    let Some(outside) = host.strip_prefix('@') else {
        return Ok(vec![IdRange { container, host: number(host)?, size }]);
    };
    let first = number(outside)?;
    if engine.is_empty() {
        return Ok(vec![IdRange { container, host: first, size }]);
    }
    within(container, first, size, engine).ok_or_else(|| {
        Fault::invalid(format!("invalid id map {text:?}: not all of these ids of the host are the user's"))
            .hint("their ranges are in /etc/subuid and /etc/subgid")
    })
}

/// The map of a mount's own, `[@]uids=FILE-SHOWN-AMOUNT[#…];gids=…`: an id of a file, and as which id of the host it shows; with
/// `@`, as which id of the container, whose map is `container`.
pub fn of_mount(text: &str, container: Option<&IdMap>) -> Result<IdMap, Fault> {
    let invalid = || {
        Fault::invalid(format!("invalid mount option \"idmap={text}\""))
            .hint("expected [@]uids=FILE-SHOWN-AMOUNT[#...];gids=FILE-SHOWN-AMOUNT[#...]")
    };
    let (relative, rest) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
    let mut map = IdMap::default();
    for part in rest.split(';') {
        let (to, ranges, outer) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut map.uids, ranges, container.map(|map| &map.uids)),
            Some(("gids", ranges)) => (&mut map.gids, ranges, container.map(|map| &map.gids)),
            _ => return Err(invalid()),
        };
        for range in ranges.split('#') {
            let numbers: Vec<u32> = range.split('-').filter_map(|number| number.parse().ok()).collect();
            let [first, shown, size] = numbers[..] else { return Err(invalid()) };
            if size == 0 || first.checked_add(size).is_none() || shown.checked_add(size).is_none() {
                return Err(invalid());
            }
            let host = match outer.filter(|_| relative) {
                None => shown,
                Some(outer) => {
                    let range = outer
                        .iter()
                        .find(|r| shown >= r.container && shown - r.container <= r.size.saturating_sub(size));
                    range.map(|r| r.host + (shown - r.container)).ok_or_else(|| {
                        Fault::invalid(format!(
                            "mount option \"idmap={text}\": the container has no ids {shown} to {}",
                            shown + size - 1
                        ))
                    })?
                }
            };
            to.push(IdRange { container: first, host, size });
        }
        check(to)?;
    }
    if map.uids.is_empty() || map.gids.is_empty() {
        return Err(invalid());
    }
    Ok(map)
}

/// Ids of the host as ids of the engine's namespace; `None` if they are not all mapped there.
pub fn within(container: u32, first: u32, size: u32, engine: &[IdRange]) -> Option<Vec<IdRange>> {
    let mut found = Vec::new();
    let mut done = 0;
    while done < size {
        let id = first.checked_add(done)?;
        let range = engine.iter().find(|r| id >= r.host && id - r.host < r.size)?;
        let count = (range.size - (id - range.host)).min(size - done);
        found.push(IdRange { container: container + done, host: range.container + (id - range.host), size: count });
        done += count;
    }
    Some(found)
}

/// `base` with `over` in its place: what `over` maps, inside or outside, is not mapped by `base` any more.
pub fn overlaid(base: &[IdRange], over: &[IdRange]) -> Vec<IdRange> {
    let mut left: Vec<IdRange> = base.to_vec();
    for cut in over {
        left = left.into_iter().flat_map(|r| without(r, |r| r.container, cut.container, cut.size)).collect();
        left = left.into_iter().flat_map(|r| without(r, |r| r.host, cut.host, cut.size)).collect();
    }
    left.extend_from_slice(over);
    left.sort_by_key(|r| r.container);
    left
}

/// What is left of a range without `size` ids from `first` on, counted by `start`.
fn without(range: IdRange, start: impl Fn(&IdRange) -> u32, first: u32, size: u32) -> Vec<IdRange> {
    let from = u64::from(start(&range));
    let (end, cut, cut_end) = (from + u64::from(range.size), u64::from(first), u64::from(first) + u64::from(size));
    let piece = |a: u64, b: u64| {
        let offset = (a - from) as u32;
        (b > a).then(|| IdRange {
            container: range.container + offset,
            host: range.host + offset,
            size: (b - a) as u32,
        })
    };
    [piece(from, end.min(cut.max(from))), piece(from.max(cut_end.min(end)), end)].into_iter().flatten().collect()
}

/// The kernel takes no range twice and at most 340 of them (user_namespaces(7)).
fn check(ranges: &[IdRange]) -> Result<(), Fault> {
    let overlap = |a: u32, b: u32, a_size: u32, b_size: u32| {
        u64::from(a) < u64::from(b) + u64::from(b_size) && u64::from(b) < u64::from(a) + u64::from(a_size)
    };
    for (at, a) in ranges.iter().enumerate() {
        for b in &ranges[at + 1..] {
            if overlap(a.container, b.container, a.size, b.size) || overlap(a.host, b.host, a.size, b.size) {
                return Err(Fault::invalid(format!(
                    "invalid id map: {}:{}:{} and {}:{}:{} overlap",
                    a.container, a.host, a.size, b.container, b.host, b.size
                )));
            }
        }
    }
    if ranges.len() > 340 {
        return Err(Fault::invalid("invalid id map: the kernel takes at most 340 ranges"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(texts: &[&str], engine: &[IdRange], usual: &[IdRange]) -> Result<Vec<(u32, u32, u32)>, Fault> {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        let (ranges, _) = parse(&texts, 'u', engine, usual)?;
        Ok(ranges.iter().map(|r| (r.container, r.host, r.size)).collect())
    }

    #[test]
    fn maps_of_mounts() {
        let numbers = |map: IdMap| -> Vec<(u32, u32, u32)> {
            map.uids.iter().chain(&map.gids).map(|r| (r.container, r.host, r.size)).collect()
        };
        let text = "uids=0-1-10#10-11-10;gids=0-100-10";
        assert_eq!(numbers(of_mount(text, None).unwrap()), [(0, 1, 10), (10, 11, 10), (0, 100, 10)]);
        let all = vec![IdRange { container: 0, host: 5000, size: 10 }, IdRange { container: 10, host: 9000, size: 5 }];
        let container = IdMap { uids: all.clone(), gids: all };
        let text = "@uids=0-10-5;gids=7-1-2";
        assert_eq!(numbers(of_mount(text, Some(&container)).unwrap()), [(0, 9000, 5), (7, 5001, 2)]);
        for wrong in [
            "",
            "uids=0-1-10",
            "uids=0-1;gids=0-1-1",
            "uids=a-1-1;gids=0-1-1",
            "uids=0-0-0;gids=0-0-1",
            "x=0-0-1",
            "@uids=0-9-5;gids=0-0-1",
            "uids=0-0-5#2-9-1;gids=0-0-1",
        ] {
            assert!(of_mount(wrong, Some(&container)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn forms() {
        assert_eq!(map(&["0:100000:5000", "5000:7"], &[], &[]).unwrap(), [(0, 100_000, 5000), (5000, 7, 1)]);
        let engine =
            [IdRange { container: 0, host: 1000, size: 1 }, IdRange { container: 1, host: 100_000, size: 65_536 }];
        assert_eq!(map(&["0:@1000", "1:@100005:2"], &engine, &[]).unwrap(), [(0, 0, 1), (1, 6, 2)]);
        assert_eq!(map(&["g5:5:5", "u0:0:3"], &engine, &[]).unwrap(), [(0, 0, 3)]);
        let usual = [IdRange { container: 0, host: 1, size: 10 }];
        assert_eq!(map(&["+5:0:1"], &engine, &usual).unwrap(), [(0, 1, 5), (5, 0, 1), (6, 7, 4)]);
        assert_eq!(map(&["+0:3:1"], &engine, &usual).unwrap(), [(0, 3, 1), (1, 2, 1), (3, 4, 7)]);
        for wrong in ["", "0", "0:1:0", "a:1:1", "0:1:2:3", "4294967295:0:1", "0:@5:1", "1:-1:1", "4294967290:0:6"] {
            assert!(map(&[wrong], &engine, &[]).is_err(), "{wrong}");
        }
        assert!(map(&["0:0:10", "5:100:10"], &[], &[]).is_err());
        assert!(map(&["0:0:10", "50:5:10"], &[], &[]).is_err());
    }
}
