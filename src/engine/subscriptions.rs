//! What every container is given of the host (containers-mounts.conf(5)): lines `HOST[:CONTAINER]` of the first file that exists. Files and
//! directories are copied for each start, so that no container writes to those of the host.

use ops::Fault;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The host's files, the one that counts first; a user's own comes before.
pub const FILES: [&str; 2] = ["/etc/containers/mounts.conf", "/usr/share/containers/mounts.conf"];
/// Deepest directory that is copied: links may lead in circles.
const DEEPEST: usize = 32;

/// A line: path of the host, and inside.
fn entries(text: &str, file: &Path) -> Result<Vec<(PathBuf, String)>, Fault> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (from, to) = line.split_once(':').unwrap_or((line, line));
        let parts = to.split('/').skip(1);
        if !from.starts_with('/') || !to.starts_with('/') || to.contains(':') || parts.clone().any(|part| part == "..")
        {
            let file = file.display();
            return Err(Fault::invalid(format!("{file} line {}: {line:?} is not /HOST[:/CONTAINER]", number + 1)));
        }
        all.push((
            from.into(),
            format!("/{}", parts.filter(|p| !matches!(*p, "" | ".")).collect::<Vec<_>>().join("/")),
        ));
    }
    Ok(all)
}

/// Copies what the first of `files` that exists names below `directory`, where nothing of an earlier start stays, and gives each copy
/// with its path inside. What the host does not have is passed over. `named` files must be there. `owner` is the container's root.
///
/// # Errors
/// A file or line that cannot be read, or something that cannot be copied.
pub fn write(
    files: &[PathBuf],
    named: Option<&Path>,
    directory: &Path,
    owner: Option<(Option<u32>, Option<u32>)>,
) -> Result<Vec<(PathBuf, String)>, Fault> {
    let read = |file: &Path| std::fs::read_to_string(file);
    let wrong = |file: &Path, e: &std::io::Error| Fault::invalid(format!("cannot read {}: {e}", file.display()));
    let (file, text) = match named {
        Some(file) => (file, read(file).map_err(|e| wrong(file, &e))?),
        None => {
            let Some(file) = files.iter().find(|file| file.exists()) else { return Ok(Vec::new()) };
            (file.as_path(), read(file).map_err(|e| wrong(file, &e))?)
        }
    };
    let entries = entries(&text, file)?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let top = directory.join("subscriptions");
    match std::fs::remove_dir_all(&top) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Fault::internal(format!("cannot remove {top:?}: {e}")));
        }
        _ => std::fs::create_dir(&top).map_err(|e| Fault::internal(format!("cannot create {top:?}: {e}")))?,
    }
    let mut written = Vec::new();
    for (number, (from, to)) in entries.into_iter().enumerate().filter(|(_, (from, _))| from.exists()) {
        let copy = top.join(number.to_string());
        copy_tree(&from, &copy, owner, 0)
            .map_err(|e| Fault::internal(format!("cannot copy {from:?}, which {} names: {e}", file.display())))?;
        written.push((copy, to));
    }
    Ok(written)
}

/// With what links lead to.
fn copy_tree(from: &Path, to: &Path, owner: Option<(Option<u32>, Option<u32>)>, depth: usize) -> std::io::Result<()> {
    let other = |why: &str| std::io::Error::other(format!("{}: {why}", from.display()));
    let meta = std::fs::metadata(from)?;
    if depth > DEEPEST {
        return Err(other("it is nested too deeply"));
    }
    if meta.is_dir() {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            // A link that leads nowhere has nothing to give.
            if entry.path().exists() {
                copy_tree(&entry.path(), &to.join(entry.file_name()), owner, depth + 1)?;
            }
        }
    } else if meta.is_file() {
        std::fs::copy(from, to)?;
    } else {
        return Err(other("it is neither a file nor a directory"));
    }
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(meta.permissions().mode() & 0o7777))?;
    match owner {
        Some((uid, gid)) => std::os::unix::fs::chown(to, uid, gid),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let file = Path::new("/m");
        let read = |text: &str| entries(text, file);
        let found = read("# all\n\n/a:/run/secrets/\n /b/c \n").unwrap();
        assert_eq!(found, [("/a".into(), "/run/secrets".into()), ("/b/c".into(), "/b/c".into())]);
        for wrong in ["a:/b", "/a:b", "/a:/b:ro", "/a:/b/../c"] {
            assert!(read(wrong).unwrap_err().message.contains("/m line 1"), "{wrong}");
        }
    }
}
