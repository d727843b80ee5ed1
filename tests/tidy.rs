//! Keeps the house rules of `src/README.md` that a program can check: the arrows between rooms, the size and the header
//! of files, the place of `unsafe`, the reasons of dependencies, the words that rooms may not be called by.
//!
//! Must not know: what any room does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may build on. A room that is missing here, or an arrow, is a change of `src/README.md` first.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("ops", &["types"]),
    ("sys", &["types"]),
    ("store", &["types", "sys"]),
    ("transfer", &["types", "sys", "store"]),
    ("runtime", &["types", "sys"]),
    ("monitor", &["types", "sys", "runtime"]),
    ("usernet", &["types", "sys"]),
    ("network", &["types", "sys"]),
    ("engine", &["types", "ops", "sys", "store", "transfer", "runtime", "monitor", "usernet", "network"]),
    ("cli", &["types", "ops", "sys", "engine"]),
    ("monopod", &["types", "sys", "runtime", "monitor", "usernet", "network", "engine", "cli"]),
    ("bench", &["types"]),
];

/// Names that say nothing about what lives behind them.
const EMPTY_WORDS: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc", "shared", "stuff"];

/// What a reader finds at the top, and what the tools themselves demand.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cross.toml",
    "README.md",
    "src",
    "build",
    "static",
    "ci",
    "tests",
    "Cargo.lock",
    ".cargo",
    ".ci",
    ".config",
    ".git",
    ".gitignore",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "target",
];

const LINES: usize = 700;
const MAIN_LINES: usize = 80;

/// One manifest: its package's name, and the names in each of its sections, with what stood above them.
struct Manifest {
    directory: PathBuf,
    package: String,
    /// Section → (name, line of text, has a reason beside it).
    sections: BTreeMap<String, Vec<(String, bool)>>,
}

impl Manifest {
    fn read(path: &Path) -> Manifest {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (mut section, mut package, mut sections) = (String::new(), String::new(), BTreeMap::new());
        let mut above = "";
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = name.trim_start_matches('[').to_string();
            } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                let name = key.trim().trim_end_matches(".workspace").to_string();
                if section == "package" && name == "name" {
                    package = value.trim().trim_matches('"').to_string();
                }
                let reason = above.starts_with('#') || value.contains("# ");
                sections.entry(section.clone()).or_insert_with(Vec::new).push((name, reason));
            }
            above = line;
        }
        Manifest { directory: path.parent().expect("a manifest has a directory").into(), package, sections }
    }

    fn names(&self, section: &str) -> impl Iterator<Item = &str> {
        self.sections.get(section).into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Everything it builds on, in tests too.
    fn dependencies(&self) -> BTreeSet<&str> {
        ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().flat_map(|s| self.names(s)).collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The root's manifest first, then one of each room.
fn manifests() -> Vec<Manifest> {
    let mut found = vec![root().join("Cargo.toml"), root().join("ci/bench/Cargo.toml")];
    for entry in fs::read_dir(root().join("src")).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            found.push(path.join("Cargo.toml"));
        }
    }
    found.iter().map(|path| Manifest::read(path)).collect()
}

/// Every Rust file, relative to the root.
fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = fs::read_dir(directory).expect("a directory of the tree").flatten().collect();
        entries.sort_by_key(|entry| entry.path());
        for entry in entries {
            let path = entry.path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    for part in ["src", "tests", "ci", "build"] {
        walk(&root().join(part), &mut found);
    }
    found.into_iter().map(|path| path.strip_prefix(root()).expect("below the root").to_path_buf()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn verdict(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn arrows_do_not_turn_round() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let manifests = manifests();
    let rooms: BTreeSet<_> = manifests.iter().map(|m| m.package.as_str()).collect();
    let mut faults = Vec::new();
    for manifest in &manifests {
        let Some(below) = allowed.get(manifest.package.as_str()) else {
            faults.push(format!("{}: a room that ARROWS does not know", manifest.package));
            continue;
        };
        for name in manifest.dependencies() {
            if rooms.contains(name) && !below.contains(&name) {
                faults.push(format!("{} must not build on {name}", manifest.package));
            }
        }
    }
    verdict(faults);
}

#[test]
fn every_dependency_has_a_reason_and_a_user() {
    let manifests = manifests();
    let rooms: BTreeSet<_> = manifests.iter().map(|m| m.package.as_str()).collect();
    let declared = &manifests[0].sections["workspace.dependencies"];
    let mut faults = Vec::new();
    for (name, reason) in declared.iter().filter(|(name, _)| !rooms.contains(name.as_str())) {
        if !reason {
            faults.push(format!("Cargo.toml: {name}: no reason in a comment above it or beside it"));
        }
        if !manifests.iter().any(|m| m.dependencies().contains(name.as_str())) {
            faults.push(format!("Cargo.toml: {name}: no room uses it"));
        }
    }
    let declared: BTreeSet<_> = declared.iter().map(|(name, _)| name.as_str()).collect();
    let sources = sources();
    for manifest in &manifests {
        let home = manifest.directory.strip_prefix(root()).expect("below the root");
        for name in manifest.dependencies() {
            if !declared.contains(name) {
                faults.push(format!("{}: {name} is not declared in the root manifest", manifest.package));
            }
            let word = name.replace('-', "_");
            let mut own = sources.iter().filter(|path| match manifest.package.as_str() {
                "monopod" => path.starts_with("tests") || *path == Path::new("src/main.rs"),
                _ => path.starts_with(home),
            });
            if !own.any(|path| mentions(&read(path), &word)) {
                faults.push(format!("{} depends on {name} and does not use it", manifest.package));
            }
        }
    }
    verdict(faults);
}

/// True if `word` stands somewhere as a word of its own.
fn mentions(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    let mut faults = Vec::new();
    for path in sources() {
        let text = read(&path);
        let limit = if path == Path::new("src/main.rs") { MAIN_LINES } else { LINES };
        let lines = text.lines().count();
        if lines > limit {
            faults.push(format!("{}: {lines} lines, more than {limit}: split it", path.display()));
        }
        if !text.starts_with("//! ") {
            faults.push(format!("{}: no `//!` header in its first line", path.display()));
        }
    }
    verdict(faults);
}

#[test]
fn unsafe_lives_in_sys_and_says_why_it_holds() {
    let mut faults = Vec::new();
    for path in sources().iter().filter(|path| *path != Path::new("tests/tidy.rs")) {
        let text = read(path);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let keyword = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern", "unsafe("];
            if !keyword.iter().any(|k| code.contains(k)) && !code.contains("allow(unsafe_code)") {
                continue;
            }
            if !path.starts_with("src/sys") {
                faults.push(format!("{}:{}: unsafe outside of src/sys", path.display(), index + 1));
            } else if code.contains("unsafe {") || code.contains("unsafe impl") {
                let near = &lines[index.saturating_sub(8)..=index];
                if !near.iter().any(|line| line.contains("SAFETY:")) {
                    faults.push(format!("{}:{}: no SAFETY comment above it", path.display(), index + 1));
                }
            }
        }
    }
    verdict(faults);
}

#[test]
fn names_say_what_lives_behind_them() {
    let mut faults = Vec::new();
    for path in sources() {
        for part in path.iter().map(|part| part.to_string_lossy()) {
            if EMPTY_WORDS.contains(&part.trim_end_matches(".rs")) {
                faults.push(format!("{}: {part} says nothing", path.display()));
            }
        }
    }
    for entry in fs::read_dir(root()).expect("the root can be listed").flatten() {
        let name = entry.file_name();
        if !TOP.iter().any(|known| name == **known) {
            faults.push(format!("{} does not belong at the top", name.to_string_lossy()));
        }
    }
    verdict(faults);
}

#[test]
fn the_map_names_every_room() {
    let map = read(Path::new("src/README.md"));
    let missing = manifests().into_iter().map(|m| m.package).filter(|room| room != "monopod" && room != "bench");
    verdict(
        missing.filter(|room| !map.contains(&format!("`{room}`"))).map(|r| format!("src/README.md: no {r}")).collect(),
    );
}
