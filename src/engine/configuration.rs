//! containers.conf(5): which files there are, and what they say. Later ones win, key by key; nothing in them is fatal but what
//! cannot be read: a key that means nothing here is named by `info --debug`.
//!
//! Must not know: what a default is good for (see [`crate::container::resolve`]).

mod keys;

use ops::Fault;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub use keys::Defaults;

/// Where the files are.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Files, and directories whose `*.conf` follow each other by name, in rising order of weight. They may be missing.
    pub places: Vec<PathBuf>,
    /// The file that was named instead of those: it must be there.
    pub named: Vec<PathBuf>,
    /// The file that wins over all: it must be there.
    pub last: Option<PathBuf>,
    /// Directories in which modules are looked for, the first that has one counts.
    pub module_roots: Vec<PathBuf>,
    /// Modules that were asked for, by path or by name.
    pub modules: Vec<String>,
}

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What applies here.
    pub defaults: Defaults,
    /// Keys that do not, as `table.key`.
    pub unused: Vec<String>,
}

/// The configuration, read when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Cell(OnceCell<Configuration>);

impl Cell {
    /// What the files say.
    pub fn get(&self, sources: &Sources) -> Result<&Configuration, Fault> {
        if let Some(known) = self.0.get() {
            return Ok(known);
        }
        let read = read(sources)?;
        Ok(self.0.get_or_init(|| read))
    }
}

fn read(sources: &Sources) -> Result<Configuration, Fault> {
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    let mut all = Table::new();
    for place in &sources.places {
        look(place, &mut found)?;
    }
    for place in &sources.named {
        found.push((place.clone(), std::fs::read_to_string(place).map_err(|e| unreadable(place, &e))?));
    }
    for module in &sources.modules {
        let places: Vec<PathBuf> = match Path::new(module).is_absolute() {
            true => vec![module.into()],
            false => sources.module_roots.iter().map(|root| root.join(module)).collect(),
        };
        let place = places.iter().find(|place| place.is_file()).ok_or_else(|| {
            Fault::invalid(format!("could not find configuration module {module:?}"))
                .hint("modules are looked for in containers.conf.modules beside containers.conf")
        })?;
        look(place, &mut found)?;
    }
    if let Some(place) = &sources.last {
        found.push((place.clone(), std::fs::read_to_string(place).map_err(|e| unreadable(place, &e))?));
    }
    for (path, text) in &found {
        if says_nothing(text) {
            continue;
        }
        let table: Table = toml::from_str(&without_comments(text))
            .map_err(|e| Fault::invalid(format!("containers.conf {}: {}", path.display(), e.message())))?;
        merge(&mut all, table);
    }
    let files = found.into_iter().map(|(path, _)| path).collect();
    if all.is_empty() {
        return Ok(Configuration { files, ..Configuration::default() });
    }
    let (defaults, unused) = keys::defaults(all)?;
    Ok(Configuration { files, defaults, unused })
}

/// A file, or the files of a directory; what is not there says nothing.
fn look(place: &Path, found: &mut Vec<(PathBuf, String)>) -> Result<(), Fault> {
    match std::fs::read_to_string(place) {
        Ok(text) => found.push((place.to_owned(), text)),
        Err(e) if e.kind() == std::io::ErrorKind::IsADirectory => {
            let entries = std::fs::read_dir(place).map_err(|e| unreadable(place, &e))?;
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.retain(|path| path.extension().is_some_and(|end| end == "conf"));
            files.sort();
            for path in files {
                let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
                found.push((path, text));
            }
        }
        // One that the user may not read is none of the user's.
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory | std::io::ErrorKind::PermissionDenied
            ) => {}
        Err(e) => return Err(unreadable(place, &e)),
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::invalid(format!("cannot read {}: {error}", path.display()))
}

/// Files as distributions ship them are comments and names of tables, which the parser need not be started for.
fn says_nothing(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line.starts_with('['))
}

/// The lines that count: of files as distributions ship them, one in twenty. Where a text has several lines nothing is cut.
fn without_comments(text: &str) -> Cow<'_, str> {
    if text.contains("\"\"\"") || text.contains("'''") {
        return text.into();
    }
    let counts = |line: &&str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    text.lines().filter(counts).flat_map(|line| [line, "\n"]).collect::<String>().into()
}

/// Later keys win. A list that holds `{append=true}` adds to the one before.
fn merge(all: &mut Table, more: Table) {
    for (key, value) in more {
        match (all.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (old, Value::Array(mut new)) => {
                let appends = |value: &Value| value.get("append").and_then(Value::as_bool);
                let append = new.iter().find_map(appends).unwrap_or(false);
                new.retain(|value| appends(value).is_none());
                match old {
                    Some(Value::Array(old)) if append => old.extend(new),
                    _ => {
                        all.insert(key, Value::Array(new));
                    }
                }
            }
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_win_and_lists_can_grow() {
        let mut all = Table::new();
        for text in [
            "[containers]\nenv=[\"A=1\"]\ntz=\"UTC\"\ndns_servers=[\"1.1.1.1\"]",
            "[containers]\nenv=[\"B=2\", {append=true}]\ntz=\"local\"\ndns_servers=[\"2.2.2.2\"]",
        ] {
            merge(&mut all, toml::from_str(text).unwrap());
        }
        let (defaults, unused) = keys::defaults(all).unwrap();
        assert_eq!(defaults.env, ["A=1", "B=2"]);
        assert_eq!(defaults.timezone.as_deref(), Some("local"));
        assert_eq!(defaults.dns_servers, ["2.2.2.2"]);
        assert!(unused.is_empty());
    }

    #[test]
    fn what_does_not_apply_is_named() {
        let text = "[containers]\nno_such=1\nshm_size=\"1m\"\n[engine]\nconmon_path=[\"/x\"]\n[network]\nx=1\n[machine]\ncpus=1";
        let (defaults, unused) = keys::defaults(toml::from_str(text).unwrap()).unwrap();
        assert_eq!(defaults.shm_size, Some(1 << 20));
        assert_eq!(unused, ["containers.no_such", "engine.conmon_path", "machine.cpus", "network.x"]);
        assert!(keys::defaults(toml::from_str("[containers]\ntz=5").unwrap()).is_err());
        assert_eq!(without_comments("# a\n\n  # b\n[c]\n a=[\n # x\n 1]\n"), "[c]\n a=[\n 1]\n");
        assert!(without_comments("a=\"\"\"\n# b\n\"\"\"").contains("# b"));
        assert!(says_nothing("# a\n[containers]\n\n  #b = 1\n") && !says_nothing("[containers]\na=1\n"));
    }
}
