//! What is mounted in a volume, in the words of `volume create --opt` and mount(8). Pure.

use ops::{Fault, Kind};
use std::collections::BTreeMap;

/// Reads `KEY=VALUE` options and refuses what no volume can be.
pub fn check(asked: &[String]) -> Result<BTreeMap<String, String>, Fault> {
    let mut options = BTreeMap::new();
    for option in asked {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "type" | "device" | "o" => {}
            "copy" | "nocopy" if value.is_empty() => {}
            _ => {
                return Err(Fault::invalid(format!("invalid mount option {option} for driver 'local'"))
                    .hint("use type=, device=, o=, copy or nocopy"));
            }
        }
        if value.contains('\0') {
            return Err(Fault::invalid(format!("invalid mount option {option:?}: it holds a zero byte")));
        }
        options.insert(key.to_owned(), value.to_owned());
    }
    if options.contains_key("copy") && options.contains_key("nocopy") {
        return Err(Fault::invalid("the options copy and nocopy exclude each other"));
    }
    let words = words(&options);
    let is_memory = options.get("type").is_some_and(|kind| kind == "tmpfs");
    if let Some(word) = words.iter().find(|w| w.starts_with("size=") || w.starts_with("inodes=")).filter(|_| !is_memory)
    {
        return Err(Fault::new(
            Kind::Unsupported,
            format!("volume option {word:?} needs project quotas, which are not set"),
        )
        .hint("use type=tmpfs for a volume of limited size"));
    }
    for word in &words {
        if let Some(("uid" | "gid", number)) = word.split_once('=')
            && number.parse::<u32>().is_err()
        {
            return Err(Fault::invalid(format!("invalid volume option {word:?}: expected a number")));
        }
    }
    if is_bind(&options) && !options.get("device").is_some_and(|device| device.starts_with('/')) {
        return Err(Fault::invalid("a volume that binds a directory needs its absolute path: device=/DIRECTORY"));
    }
    if is_bind(&options)
        && let Some(device) = options.get("device")
        && let Err(error) = std::fs::metadata(device)
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return Err(Fault::invalid(format!(
            "invalid volume option device for driver 'local': stat {device}: no such file or directory"
        )));
    }
    if options.get("type").is_some_and(|kind| !kind.is_empty()) && !is_memory && !options.contains_key("device") {
        return Err(Fault::invalid("a volume with a file system needs its device: device=…"));
    }
    Ok(options)
}

/// The words of `o=`.
pub fn words(options: &BTreeMap<String, String>) -> Vec<&str> {
    options.get("o").map(|text| text.split(',').filter(|w| !w.is_empty()).collect()).unwrap_or_default()
}

/// Something is mounted in it: otherwise its files are those of its own directory.
pub fn needs_mount(options: &BTreeMap<String, String>) -> bool {
    options.contains_key("type") || options.contains_key("device")
}

/// It is a directory of the host by another name.
pub fn is_bind(options: &BTreeMap<String, String>) -> bool {
    let kind = options.get("type").map(String::as_str).unwrap_or_default();
    matches!(kind, "bind" | "none" | "") && needs_mount(options)
        || words(options).iter().any(|w| matches!(*w, "bind" | "rbind"))
}

/// Bits of mount(2), and what is left for the file system.
pub fn mount_flags(options: &BTreeMap<String, String>) -> (u64, String) {
    const BITS: [(&str, u64); 14] = [
        ("ro", 1),
        ("nosuid", 2),
        ("nodev", 4),
        ("noexec", 8),
        ("sync", 16),
        ("dirsync", 128),
        ("noatime", 1024),
        ("nodiratime", 2048),
        ("bind", 1 << 12),
        ("rbind", 1 << 12 | 1 << 14),
        ("relatime", 1 << 21),
        ("strictatime", 1 << 24),
        ("lazytime", 1 << 25),
        ("rw", 0),
    ];
    let (mut flags, mut data) = (0, Vec::new());
    for word in words(options) {
        match BITS.iter().find(|(name, _)| *name == word) {
            Some((_, bits)) => flags |= bits,
            None if matches!(word, "suid" | "dev" | "exec" | "async" | "defaults" | "atime") => {}
            None => data.push(word),
        }
    }
    if is_bind(options) && flags & (1 << 12) == 0 {
        flags |= 1 << 12;
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(texts: &[&str]) -> Result<BTreeMap<String, String>, Fault> {
        check(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_mounted() {
        let memory = checked(&["type=tmpfs", "device=tmpfs", "o=size=2M,nodev,noexec,uid=3"]).unwrap();
        assert!(needs_mount(&memory) && !is_bind(&memory));
        assert_eq!(mount_flags(&memory), (4 | 8, "size=2M,uid=3".into()));
        let bound = checked(&["type=none", "o=bind,ro", "device=/srv"]).unwrap();
        assert!(is_bind(&bound));
        assert_eq!(mount_flags(&bound), (1 << 12 | 1, String::new()));
        assert_eq!(mount_flags(&checked(&["device=/srv"]).unwrap()).0, 1 << 12);
        assert!(!needs_mount(&checked(&["o=uid=1000", "nocopy"]).unwrap()));
    }

    #[test]
    fn what_no_volume_can_be() {
        for (bad, why) in [
            (&["colour=red"][..], "invalid mount option"),
            (&["o=size=1g"], "project quotas"),
            (&["type=bind", "device=rel"], "absolute path"),
            (&["type=ext4"], "needs its device"),
            (&["o=uid=x"], "expected a number"),
            (&["copy", "nocopy"], "exclude"),
        ] {
            let fault = checked(bad).unwrap_err();
            assert!(fault.message.contains(why), "{bad:?}: {fault}");
        }
    }
}
