//! Signatures beside registries: where they are (containers-registries.d(5)), read and written.
//!
//! Those of OpenPGP lie on a server of files or in a directory, as `REPOSITORY@sha256=HEX/signature-N`, N from 1 and without gaps;
//! REPOSITORY has no registry in it. Whether those of sigstore are attached to images in the registry itself is said here, too.
//!
//! Of YAML, in which the files are written, what they need is read: maps within maps, and plain or quoted text.
//!
//! Must not know: what signatures are worth.

use super::signature::{LARGEST, MOST, Signature};
use crate::registry::{Page, full_name};
use crate::{Error, Registry, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use types::{Digest, Reference};

/// Largest file of configuration, in bytes.
const FILE: u64 = 1 << 20;

/// Where signatures of images are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookaside {
    /// By scopes of names, as the files have them.
    scopes: BTreeMap<String, Place>,
    default: Place,
    /// The directory that counts where nothing else is said.
    directory: Option<PathBuf>,
}

/// What is said of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    read: Option<String>,
    write: Option<String>,
    attachments: Option<bool>,
}

impl Lookaside {
    /// Reads the `*.yaml` of the first directory that exists; `fallback` is the directory that counts where they say nothing.
    ///
    /// # Errors
    /// A file cannot be read, or something in it is not understood or is there twice.
    pub fn read(directories: &[PathBuf], fallback: Option<PathBuf>) -> Result<Lookaside> {
        let mut found = Lookaside { directory: fallback, ..Lookaside::default() };
        let Some(directory) = directories.iter().find(|directory| directory.is_dir()) else { return Ok(found) };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { action: "read", path, source }
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                files.push(path);
            }
        }
        files.sort();
        for path in files {
            let mut text = String::new();
            let file = std::fs::File::open(&path).map_err(failed(&path))?;
            file.take(FILE).read_to_string(&mut text).map_err(failed(&path))?;
            let name = path.display().to_string();
            found.take(&text).map_err(|why| Error::Document { what: "configuration", name, why })?;
        }
        Ok(found)
    }

    fn take(&mut self, text: &str) -> std::result::Result<(), String> {
        // Two levels of maps, or one below `default-docker`.
        let mut section = String::new();
        let mut scope: Option<String> = None;
        let mut widths = [0, 0];
        for (number, line) in text.lines().enumerate() {
            let bad = |why: &str| format!("line {}: {why}", number + 1);
            let Some((indent, key, value)) = entry(line).map_err(bad)? else { continue };
            if indent == 0 {
                match (key.as_str(), value.is_empty()) {
                    ("docker" | "default-docker", true) => {}
                    ("docker", false) if value == "{}" => {}
                    _ => return Err(bad(&format!("{key:?} is not known here"))),
                }
                (section, scope, widths) = (key, None, [0, 0]);
                continue;
            }
            if widths[0] == 0 {
                widths[0] = indent;
            }
            let place = if section == "default-docker" {
                if indent != widths[0] {
                    return Err(bad("it is indented in another way than the lines before"));
                }
                &mut self.default
            } else if section == "docker" && indent == widths[0] {
                if !value.is_empty() && value != "{}" {
                    return Err(bad(&format!("{key:?} is not known here")));
                }
                if self.scopes.insert(key.clone(), Place::default()).is_some() {
                    return Err(bad(&format!("{key:?} is there twice")));
                }
                (scope, widths[1]) = (Some(key), 0);
                continue;
            } else {
                if widths[1] == 0 {
                    widths[1] = indent;
                }
                let place = scope.as_ref().and_then(|scope| self.scopes.get_mut(scope));
                place
                    .filter(|_| indent == widths[1] && indent > widths[0])
                    .ok_or_else(|| bad("it belongs to nothing"))?
            };
            let (Place { read, write, attachments }, text) = (place, Some(value.clone()));
            let twice = match key.as_str() {
                "lookaside" => std::mem::replace(read, text).is_some_and(|old| old != value),
                "lookaside-staging" => std::mem::replace(write, text).is_some_and(|old| old != value),
                // The names they had before.
                "sigstore" => read.get_or_insert(value).is_empty(),
                "sigstore-staging" => write.get_or_insert(value).is_empty(),
                "use-sigstore-attachments" => {
                    let on = value.parse().map_err(|_| bad("expected true or false"))?;
                    attachments.replace(on).is_some_and(|old| old != on)
                }
                _ => return Err(bad(&format!("{key:?} is not known"))),
            };
            if twice {
                return Err(bad(&format!("{key:?} is there twice, or empty")));
            }
        }
        Ok(())
    }

    /// The same, in `directory` whatever is configured.
    pub fn within(directory: PathBuf) -> Lookaside {
        Lookaside { directory: Some(directory), ..Lookaside::default() }
    }

    /// Where signatures of a scope are looked for, as it is configured for exactly that; for `default` what is for all.
    pub fn configured(&self, scope: &str) -> Option<&str> {
        let place = if scope == "default" { Some(&self.default) } else { self.scopes.get(scope) };
        place.and_then(|place| place.read.as_deref())
    }

    /// What is said of a name, from its most specific scope on.
    fn said<T>(&self, name: &Reference, of: impl Fn(&Place) -> Option<T>) -> Option<T> {
        let scopes = super::scopes(name);
        scopes.iter().find_map(|scope| self.scopes.get(scope).and_then(&of)).or_else(|| of(&self.default))
    }

    /// True if signatures of sigstore are attached to the image `name`.
    pub fn attached(&self, name: &Reference) -> bool {
        self.said(&full_name(name), |place| place.attachments).unwrap_or(false)
    }

    /// The signatures of a manifest of the image `name`.
    ///
    /// # Errors
    /// The server answers with anything but files and their absence.
    pub fn signatures(&self, name: &Reference, manifest: &Digest, options: &Registry) -> Result<Vec<Signature>> {
        let name = full_name(name);
        let Some(base) = self.said(&name, |place| place.read.clone()).or_else(|| self.fallback()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for number in 1..=MOST {
            let at = address(&base, &name, manifest, number)?;
            let bytes = match &at {
                At::File(path) => match std::fs::File::open(path) {
                    Ok(file) => {
                        limited(file).map_err(|source| Error::File { action: "read", path: path.clone(), source })?
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
                    Err(source) => return Err(Error::File { action: "read", path: path.clone(), source }),
                },
                At::Web(url) => match Page::find(url, options)? {
                    Some(page) => limited(page).map_err(|e| Error::Page { url: url.clone(), why: e.to_string() })?,
                    None => break,
                },
            };
            let bad = |why| Error::Document { what: "signature", name: at.to_string(), why };
            found.push(Signature::parse(&bytes).map_err(bad)?);
        }
        Ok(found)
    }

    /// Writes signatures beside those that are there.
    ///
    /// # Errors
    /// There is no place that can be written to.
    pub fn write(
        &self,
        name: &Reference,
        manifest: &Digest,
        signatures: &[Signature],
        options: &Registry,
    ) -> Result<()> {
        let name = full_name(name);
        let base = self.said(&name, |place| place.write.clone().or(place.read.clone())).or_else(|| self.fallback());
        let nowhere = |why: &str| Error::NoPlace { image: name.to_string(), why: why.into() };
        let base = base.ok_or_else(|| nowhere("no lookaside-staging is configured in registries.d"))?;
        if !base.starts_with("file:") {
            return Err(nowhere(&format!(
                "{base} cannot be written to: configure a lookaside-staging in registries.d"
            )));
        }
        let own = Lookaside {
            scopes: BTreeMap::new(),
            default: Place { read: Some(base.clone()), ..Place::default() },
            directory: None,
        };
        let there = own.signatures(&name, manifest, options)?;
        for (signature, number) in
            signatures.iter().filter(|signature| !there.contains(signature)).zip(there.len() + 1..)
        {
            let At::File(path) = address(&base, &name, manifest, number)? else { continue };
            let failed = |source| Error::File { action: "write", path: path.clone(), source };
            std::fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
            crate::destination::layout::put(&path, |file| {
                std::io::Write::write_all(file, &signature.filed()).map_err(failed)
            })?;
        }
        Ok(())
    }

    fn fallback(&self) -> Option<String> {
        self.directory.as_ref().map(|directory| format!("file://{}", directory.display()))
    }
}

enum At {
    File(PathBuf),
    Web(String),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            At::File(path) => path.display().fmt(f),
            At::Web(url) => f.write_str(url),
        }
    }
}

fn address(base: &str, name: &Reference, manifest: &Digest, number: usize) -> Result<At> {
    let end = format!("{}@sha256={}/signature-{number}", name.path, manifest.hex());
    if let Some(path) = base.strip_prefix("file://").filter(|path| path.starts_with('/')) {
        return Ok(At::File(Path::new(path).join(end)));
    }
    if base.starts_with("https://") || base.starts_with("http://") {
        return Ok(At::Web(format!("{}/{end}", base.trim_end_matches('/'))));
    }
    let why = "expected file:///DIRECTORY, http:// or https://".into();
    Err(Error::Document { what: "lookaside", name: base.into(), why })
}

fn limited(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// The fields of a file for signing by sigstore (containers-sigstore-signing-params.yaml(5)): text at the top, no maps within.
///
/// # Errors
/// A line is not understood, or a field is there twice.
pub fn parameters(text: &str) -> std::result::Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |why: &str| format!("line {}: {why}", number + 1);
        let Some((indent, key, value)) = entry(line).map_err(bad)? else { continue };
        if indent > 0 {
            // What is below a map is told by the name of the map.
            continue;
        }
        if found.insert(key.clone(), value).is_some() {
            return Err(bad(&format!("{key:?} is there twice")));
        }
    }
    Ok(found)
}

/// Indentation, key and value of a line; none if there is nothing in it.
fn entry(line: &str) -> std::result::Result<Option<(usize, String, String)>, &'static str> {
    let rest = line.trim_start_matches(' ');
    if rest.trim_end().is_empty() || rest.starts_with('#') || line.trim_end() == "---" {
        return Ok(None);
    }
    let (key, rest_of_line) = match rest.chars().next() {
        Some('\t') => return Err("it is indented with a tab"),
        Some('-' | '[' | '{' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`') => {
            return Err("lists and whatever else YAML has are not expected here");
        }
        Some(quote @ ('"' | '\'')) => {
            let (key, after) = rest[1..].split_once(quote).ok_or("a quote has no end")?;
            (key, after.trim_start().strip_prefix(':').ok_or("a colon is missing")?)
        }
        _ => rest
            .split_once(": ")
            .or_else(|| Some((rest.trim_end().strip_suffix(':')?, "")))
            .ok_or("a colon is missing")?,
    };
    let value = rest_of_line.trim();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (value, after) = value[1..].split_once(quote).ok_or("a quote has no end")?;
            if value.contains('\\') || !after.trim().is_empty() && !after.trim_start().starts_with('#') {
                return Err("a quoted text is not understood");
            }
            value
        }
        Some('#') => "",
        Some('[' | '&' | '*' | '!' | '|' | '>') => {
            return Err("lists and whatever else YAML has are not expected here");
        }
        Some('{') if value != "{}" => return Err("maps in braces are not expected here"),
        _ => value.split(" #").next().unwrap_or(value).trim(),
    };
    Ok(Some((line.len() - rest.len(), key.trim().to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Lookaside, String> {
        let mut made = Lookaside::default();
        made.take(text).map(|()| made)
    }

    #[test]
    fn the_most_specific_scope_that_says_something_counts() {
        let found = read(
            "# comment\n---\ndefault-docker:\n  lookaside: https://all.example/sigs  # there\n\ndocker:\n    'host:5000':\n        \
             lookaside-staging: \"file:///staging\"\n    host:5000/a/b:\n        sigstore: file:///b\n        use-sigstore-attachments: true\n",
        )
        .unwrap();
        let said = |name: &str| {
            let name: Reference = name.parse().unwrap();
            let name = full_name(&name);
            (
                found.said(&name, |p| p.read.clone()).unwrap_or_default(),
                found.said(&name, |p| p.write.clone()).unwrap_or_default(),
                found.attached(&name),
            )
        };
        let (all, staging) = ("https://all.example/sigs".to_owned(), "file:///staging".to_owned());
        assert_eq!(said("busybox"), (all.clone(), String::new(), false));
        assert_eq!(said("host:5000/a"), (all, staging.clone(), false));
        assert_eq!(said("host:5000/a/b/c:1"), ("file:///b".into(), staging, true));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "docker",
            "other:\n",
            "docker:\n  a: b\n",
            "docker:\n  a:\n    lookaside: x\n  a:\n    lookaside: y\n",
            "docker:\n  a:\n    other: x\n",
            "docker:\n  a:\n    use-sigstore-attachments: perhaps\n",
            "docker:\n  a:\n    lookaside: x\n   lookaside: y\n",
            "docker:\n  - a\n",
            "docker:\n\ta:\n",
            "docker:\n  a:\n    lookaside: [x]\n",
            "docker:\n  a:\n    lookaside: \"x\n",
            "default-docker:\n  lookaside: x\n  lookaside: y\n",
            "default-docker:\n  lookaside: {a: b}\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(read("docker: {}\n").is_ok() && read("").is_ok() && read("docker:\n  a: {}\n").is_ok());
    }

    #[test]
    fn signatures_are_written_beside_each_other_and_read_again() {
        let directory = std::env::temp_dir().join(format!("lookaside-{}-{}", std::process::id(), crate::random()));
        let all = Lookaside { directory: Some(directory.clone()), ..Lookaside::default() };
        let (name, digest, options) = ("host:5000/a/b:1".parse().unwrap(), Digest::of(b"m"), Registry::default());
        let (one, two) = (Signature::Simple(vec![0x90, 1]), Signature::Simple(vec![0x90, 2]));
        assert_eq!(all.signatures(&name, &digest, &options).unwrap(), []);
        all.write(&name, &digest, std::slice::from_ref(&one), &options).unwrap();
        all.write(&name, &digest, &[one.clone(), two.clone()], &options).unwrap();
        assert_eq!(all.signatures(&name, &digest, &options).unwrap(), [one, two]);
        assert!(directory.join(format!("a/b@sha256={}/signature-2", digest.hex())).exists());
        std::fs::remove_dir_all(directory).unwrap();
        assert!(Lookaside::default().write(&name, &digest, &[], &options).is_err());
    }
}
