//! Compiled filters of system calls, kept for the next container with the same profile: engines give nearly every container
//! theirs, and to read and compile it takes longer than all of the filter's system calls.
//!
//! A directory beside the containers', with a name that no container can have. A file's name is the SHA-256 digest of the
//! profile's text, the machine and this program's compiler; it begins with the digest of the rest, which is
//! [`Filter::to_bytes`]. Only what this user alone can have written counts. Nothing is lost with it.
//!
//! Must not know: what a profile says.

use crate::launch::Ready;
use crate::seccomp::{Architecture, Filter};
use crate::specification::{self, Read};
use crate::{Error, plan};
use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use types::Digest;
use types::digest::Hasher;

/// The directory's name below the root.
pub(crate) const DIRECTORY: &str = "~filters";
/// Profiles differ by an engine's flags: more than so many are no engine's, and all go.
const MOST: usize = 64;

/// The filters below one root.
#[derive(Debug)]
pub(crate) struct Filters {
    directory: PathBuf,
}

impl Filters {
    /// Those below `root`, which need not exist.
    pub fn at(root: &Path) -> Filters {
        Filters { directory: root.join(DIRECTORY) }
    }

    /// Reads a specification without its profile, and its filter: the kept one, or one that is compiled and kept.
    pub fn read(&self, text: &[u8]) -> Result<(Read<Spec>, Option<Ready>), Error> {
        let Some(range) = profile(text) else { return specification::read(text).map(|read| (read, None)) };
        let rest = [&text[..range.start], b"null", &text[range.end..]].concat();
        let key = key(&text[range.clone()]);
        if let Some(filter) = self.kept(&key) {
            // What is wrong is told with its line in the text that was given.
            let read = specification::read(&rest).or_else(|_| specification::read(text))?;
            return Ok((read, Some(Ready::Compiled(filter))));
        }
        let mut read = specification::read(text)?;
        let seccomp = read.content.linux_mut().as_mut().and_then(|linux| {
            let seccomp = linux.seccomp().clone();
            linux.set_seccomp(None);
            seccomp
        });
        let filter = plan::filter(seccomp.as_ref(), None)?;
        if let Some(filter) = &filter {
            // Without it the next one is compiled again.
            let _ = self.keep(&key, filter);
        }
        Ok((read, filter.map(Ready::Compiled)))
    }

    fn kept(&self, key: &str) -> Option<Filter> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.directory.join(key), flags, Mode::empty()).ok()?;
        let status = rustix::fs::fstat(&file).ok()?;
        let is_ours = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
            && status.st_mode & 0o077 == 0
            && status.st_uid == rustix::process::geteuid().as_raw();
        if !is_ours {
            return None;
        }
        let mut bytes = Vec::with_capacity(status.st_size as usize + 1);
        File::from(file).read_to_end(&mut bytes).ok()?;
        let (digest, filter) = bytes.split_first_chunk::<32>()?;
        if Digest::of(filter).as_bytes() != digest {
            return None;
        }
        Filter::from_bytes(filter).ok()
    }

    fn keep(&self, key: &str, filter: &Filter) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        if std::fs::read_dir(&self.directory)?.count() >= MOST {
            for entry in std::fs::read_dir(&self.directory)? {
                std::fs::remove_file(entry?.path())?;
            }
        }
        let new = self.directory.join(format!("{key}.{}", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?;
        let bytes = filter.to_bytes();
        let written = File::from(file).write_all(&[&Digest::of(&bytes).as_bytes()[..], &bytes].concat());
        written.and_then(|()| std::fs::rename(&new, self.directory.join(key))).inspect_err(|_| {
            // It would be in the way of a process of the same number.
            let _ = std::fs::remove_file(&new);
        })
    }
}

/// Where `linux.seccomp` stands in the text of a specification that can be read.
fn profile(text: &[u8]) -> Option<Range<usize>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        linux: Option<Linux<'a>>,
    }
    #[derive(Deserialize)]
    struct Linux<'a> {
        #[serde(borrow)]
        seccomp: Option<&'a RawValue>,
    }
    let raw = serde_json::from_slice::<Whole<'_>>(text).ok()?.linux?.seccomp?.get();
    let start = raw.as_ptr() as usize - text.as_ptr() as usize;
    Some(start..start + raw.len())
}

/// The name of the file for a profile's text.
fn key(profile: &[u8]) -> String {
    let machine = Architecture::native().map_or("", Architecture::profile_name);
    let mut hasher = Hasher::new();
    [&COMPILER.to_le_bytes(), machine.as_bytes(), b"\n", profile].iter().for_each(|part| hasher.update(part));
    hasher.finish().hex()
}

/// What this program makes of a profile changes with these files only.
const COMPILER: u64 = {
    let compile = hashed(0xcbf2_9ce4_8422_2325, include_bytes!("../seccomp/compile.rs"));
    let rules = hashed(compile, include_bytes!("../seccomp/rules.rs"));
    let table = hashed(rules, include_bytes!("../seccomp/table.rs"));
    hashed(hashed(table, include_bytes!("../seccomp/architecture.rs")), include_bytes!("../seccomp/filter.rs"))
};

/// FNV-1a, which the compiler can work out.
const fn hashed(mut hash: u64, text: &[u8]) -> u64 {
    let mut at = 0;
    while at < text.len() {
        hash = (hash ^ text[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const TEXT: &str = r#"{"ociVersion": "1.2.0", "root": {"path": "r"}, "linux": {"namespaces": [],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#;

    fn filter(filters: &Filters) -> Filter {
        match filters.read(TEXT.as_bytes()).unwrap() {
            (read, Some(Ready::Compiled(filter))) => {
                assert!(read.content.linux().as_ref().unwrap().seccomp().is_none());
                filter
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_kept_is_taken_only_from_this_user() {
        let root = std::env::temp_dir().join(format!("monopod-filters-{}", std::process::id()));
        let filters = Filters::at(&root);
        let compiled = filter(&filters);
        let file = filters.directory.join(key(&TEXT.as_bytes()[profile(TEXT.as_bytes()).unwrap()]));
        let kept = std::fs::read(&file).unwrap();
        // Another program, rightly sealed: what is kept is what is used.
        let other = crate::seccomp::compile(&serde_json::from_str(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap());
        let bytes = other.unwrap().to_bytes();
        let sealed = [&Digest::of(&bytes).as_bytes()[..], &bytes].concat();
        std::fs::write(&file, &sealed).unwrap();
        assert_eq!(filter(&filters).to_bytes(), bytes);
        // Written by who else may write there, torn, or changed: compiled anew, and replaced.
        for (content, mode) in
            [(&sealed[..], 0o620), (&sealed[..sealed.len() - 8], 0o600), (&[0; 40], 0o600), (b"", 0o600)]
        {
            std::fs::write(&file, content).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(filter(&filters), compiled, "{} {mode:o}", content.len());
            assert_eq!(std::fs::read(&file).unwrap(), kept);
        }
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(filter(&filters), compiled);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn profiles_are_told_apart_and_wrong_ones_are_not_kept() {
        let root = std::env::temp_dir().join(format!("monopod-no-filters-{}", std::process::id()));
        let filters = Filters::at(&root);
        assert_ne!(key(b"{}"), key(b"{ }"));
        for text in
            ["{", "{}", r#"{"ociVersion": "1.0.0", "linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}}}"#]
        {
            assert!(filters.read(text.as_bytes()).is_err(), "{text}");
        }
        let (_, none) = filters.read(br#"{"ociVersion": "1.0.0", "linux": {"seccomp": null}}"#).unwrap();
        assert!(none.is_none() && !root.exists());
    }
}
