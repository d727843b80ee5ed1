//! Mount options of a specification (OCI runtime specification, config-linux.md, "Linux mount options").
//!
//! Pure. What is not a property of mounts is left as data for the file system.

use sys::mount;

/// Options of one mount, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Properties to set on the mount ([`sys::mount`] bits).
    pub set: u64,
    /// Properties to clear.
    pub clear: u64,
    /// Properties to set on it and on all mounts below it.
    pub set_below: u64,
    /// Properties to clear on it and on all mounts below it.
    pub clear_below: u64,
    /// Flags of the file system as a whole (`MS_SYNCHRONOUS`, …, as mount(2) numbers them).
    pub superblock: u64,
    /// `remount`: what is mounted there is changed.
    pub remount: bool,
    /// `bind` or `rbind` was given.
    pub bind: bool,
    /// `rbind`: with all mounts below.
    pub recursive: bool,
    /// `MS_PRIVATE`, …, each with whether it goes for all mounts below.
    pub propagation: Vec<(u64, bool)>,
    /// `idmap` or `ridmap` (true): owners are shown through the mount's or the container's map.
    pub id_map: Option<bool>,
    /// `idmap=…` or `ridmap=…`: that map, in words ([`crate::id_maps`]).
    pub id_ranges: Option<String>,
    /// `tmpcopyup`: a tmpfs starts with what it hides.
    pub copy_up: bool,
    /// `src-nofollow`: the source may be a link, which is bound itself.
    pub no_follow: bool,
    /// The file system's own: key, and value if it has one.
    pub data: Vec<(String, Option<String>)>,
}

const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// `MS_I_VERSION`: only mount(2) can say it.
pub const VERSIONS: u64 = 1 << 23;

/// Flags of a file system as a whole: its name, its bit, and whether it sets it.
const SUPERBLOCK: [(&str, u64, bool); 11] = [
    ("sync", 1 << 4, true),
    ("async", 1 << 4, false),
    ("mand", 1 << 6, true),
    ("nomand", 1 << 6, false),
    ("dirsync", 1 << 7, true),
    ("silent", 1 << 15, true),
    ("loud", 1 << 15, false),
    ("iversion", VERSIONS, true),
    ("noiversion", VERSIONS, false),
    ("lazytime", 1 << 25, true),
    ("nolazytime", 1 << 25, false),
];

/// Those that stand for no property, or for its absence.
const ACCESS_TIMES: [&str; 4] = ["atime", "norelatime", "nostrictatime", "relatime"];

const PROPAGATIONS: [(&str, u64); 4] =
    [("private", MS_PRIVATE), ("slave", MS_SLAVE), ("shared", MS_SHARED), ("unbindable", MS_UNBINDABLE)];

const OTHERS: [&str; 8] = ["bind", "defaults", "idmap", "rbind", "remount", "ridmap", "src-nofollow", "tmpcopyup"];

/// `name`, bits, and whether it sets them.
const PROPERTIES: [(&str, u64, bool); 14] = [
    ("ro", mount::READ_ONLY, true),
    ("rw", mount::READ_ONLY, false),
    ("nosuid", mount::NO_SUID, true),
    ("suid", mount::NO_SUID, false),
    ("nodev", mount::NO_DEV, true),
    ("dev", mount::NO_DEV, false),
    ("noexec", mount::NO_EXEC, true),
    ("exec", mount::NO_EXEC, false),
    ("nodiratime", mount::NO_DIR_ATIME, true),
    ("diratime", mount::NO_DIR_ATIME, false),
    ("nosymfollow", mount::NO_SYMLINK_FOLLOW, true),
    ("symfollow", mount::NO_SYMLINK_FOLLOW, false),
    ("noatime", mount::NO_ATIME, true),
    ("strictatime", mount::STRICT_ATIME, true),
];

/// The names of all options that are not the file system's own, sorted.
pub fn names() -> Vec<String> {
    let properties = PROPERTIES.iter().map(|(name, ..)| *name).chain(ACCESS_TIMES);
    let below = properties.clone().map(|name| format!("r{name}"));
    let propagations = PROPAGATIONS.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("r{name}")]);
    let others = SUPERBLOCK.iter().map(|(name, ..)| *name).chain(OTHERS).chain(properties);
    let mut names: Vec<String> = others.map(str::to_owned).chain(below).chain(propagations).collect();
    names.sort_unstable();
    names
}

/// Reads the options in order; later ones win.
pub fn parse<S: AsRef<str>>(options: &[S]) -> Options {
    let mut parsed = Options::default();
    options.iter().for_each(|option| parsed.take(option.as_ref()));
    parsed
}

impl Options {
    fn take(&mut self, option: &str) {
        if self.take_property(option) || self.take_propagation(option) {
            return;
        }
        if let Some((_, bit, sets)) = SUPERBLOCK.iter().find(|(name, ..)| *name == option) {
            self.superblock = if *sets { self.superblock | bit } else { self.superblock & !bit };
            return;
        }
        match option {
            "defaults" | "" => {}
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "idmap" => (self.id_map, self.id_ranges) = (Some(false), None),
            "ridmap" => (self.id_map, self.id_ranges) = (Some(true), None),
            "tmpcopyup" => self.copy_up = true,
            "src-nofollow" => self.no_follow = true,
            _ => self.data.push(match option.split_once('=') {
                Some((word @ ("idmap" | "ridmap"), ranges)) => {
                    (self.id_map, self.id_ranges) = (Some(word == "ridmap"), Some(ranges.to_owned()));
                    return;
                }
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), None),
            }),
        }
    }

    fn take_property(&mut self, option: &str) -> bool {
        // Access times are one property with three values: whichever is set, the other bits are cleared.
        let (below, name) = match option.strip_prefix('r') {
            Some(rest) if is_property(rest) && !is_property(option) => (true, rest),
            _ => (false, option),
        };
        let (set, clear) = match name {
            _ if ACCESS_TIMES.contains(&name) => (0, mount::ATIME),
            _ => match PROPERTIES.iter().find(|(known, _, _)| *known == name) {
                Some((_, bits, true)) if bits & mount::ATIME != 0 => (*bits, mount::ATIME),
                Some((_, bits, true)) => (*bits, 0),
                Some((_, bits, false)) => (0, *bits),
                None => return false,
            },
        };
        let (all_set, all_clear) =
            if below { (&mut self.set_below, &mut self.clear_below) } else { (&mut self.set, &mut self.clear) };
        *all_set = *all_set & !clear | set;
        *all_clear = *all_clear & !set | clear;
        true
    }

    fn take_propagation(&mut self, option: &str) -> bool {
        let (below, name) = match option {
            "rprivate" | "rslave" | "rshared" | "runbindable" => (true, &option[1..]),
            _ => (false, option),
        };
        let Some(flag) = propagation(name) else { return false };
        self.propagation.push((flag, below));
        true
    }
}

fn is_property(name: &str) -> bool {
    ACCESS_TIMES.contains(&name) || PROPERTIES.iter().any(|(known, _, _)| *known == name)
}

fn propagation(name: &str) -> Option<u64> {
    PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
}

/// The flags of `rootfsPropagation` (`rprivate`, `slave`, …) for mount(2), with `MS_REC`.
pub fn root_propagation(name: &str) -> Option<u64> {
    const MS_REC: u64 = 1 << 14;
    match name.strip_prefix('r') {
        Some(rest) => propagation(rest).map(|flag| flag | MS_REC),
        None => propagation(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_and_data() {
        let got = parse(&["nosuid", "noexec", "ro", "rw", "size=64k", "nr_inodes", "strictatime", "rro", "relatime"]);
        assert_eq!(got.set, mount::NO_SUID | mount::NO_EXEC);
        assert_eq!(got.clear, mount::READ_ONLY | mount::ATIME);
        assert_eq!(got.set_below, mount::READ_ONLY);
        assert_eq!(got.data, [("size".into(), Some("64k".into())), ("nr_inodes".into(), None)]);
    }

    #[test]
    fn binds() {
        let got = parse(&["rbind", "rprivate", "slave", "rnosuid", "ridmap"]);
        assert!(got.bind && got.recursive && got.data.is_empty());
        assert_eq!(got.propagation, [(MS_PRIVATE, true), (MS_SLAVE, false)]);
        assert_eq!((got.set_below, got.id_map), (mount::NO_SUID, Some(true)));
        assert_eq!(parse(&["relatime"]), parse(&["norelatime"]));
        assert_eq!(parse(&["rrelatime"]).clear_below, mount::ATIME);
        assert_eq!(parse(&["noatime"]).clear, mount::ATIME);
    }

    #[test]
    fn of_file_systems_as_a_whole() {
        let got = parse(&["sync", "dirsync", "async", "iversion", "lazytime", "remount", "size=1"]);
        assert_eq!(got.superblock, 1 << 7 | 1 << 23 | 1 << 25);
        assert!(got.remount && got.data.len() == 1);
        assert_eq!(parse(&["silent", "loud"]), parse(&["defaults"]));
    }

    #[test]
    fn propagation_of_roots() {
        assert_eq!(root_propagation("rslave"), Some(MS_SLAVE | 1 << 14));
        assert_eq!(root_propagation("private"), Some(MS_PRIVATE));
        assert_eq!(root_propagation("roof"), None);
    }

    #[test]
    fn id_maps_in_words() {
        let got = parse(&["bind", "ridmap=uids=0-1-2;gids=0-1-2"]);
        assert_eq!((got.id_map, got.id_ranges.as_deref()), (Some(true), Some("uids=0-1-2;gids=0-1-2")));
        assert!(got.data.is_empty());
        let got = parse(&["idmap=uids=0-1-2;gids=0-1-2", "idmap"]);
        assert_eq!((got.id_map, got.id_ranges), (Some(false), None), "later ones win");
    }
}
