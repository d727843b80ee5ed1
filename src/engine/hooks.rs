//! Hooks of the host (oci-hooks(5)): files in its directories say which programs are run at moments of which containers' lives. What
//! comes after the start and after the end is kept in a file of the run's directory, for whoever starts and cleans up.
//!
//! Must not know: what a hook is for.

use crate::container::config::{Config, MountKind};
use ops::Fault;
use runtime::hooks::Moment;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::Pattern;

/// Where root's are if nothing says otherwise; a file of a later directory takes the place of one of the same name in an earlier.
pub const DIRECTORIES: [&str; 2] = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];
/// The moment that only engines know: what the hook writes is the specification that the runtime gets.
const PRECREATE: &str = "precreate";
/// Most bytes of a specification that such a hook may write.
const LARGEST: u64 = 16 << 20;
/// Between two looks at a hook that has a time limit.
const PAUSE: Duration = Duration::from_millis(2);
/// The file with what is run later.
const FILE: &str = "hooks";

/// The hooks that a container has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    /// Those that change the specification.
    pub filters: Vec<Program>,
    /// Those of the runtime specification's moments, each with that.
    pub hooks: Vec<(Moment, Value)>,
}

impl Chosen {
    /// Adds one for a moment.
    pub fn push(&mut self, moment: &str, program: Program) {
        let known = Moment::ALL.into_iter().find(|known| known.name() == moment);
        match known {
            Some(moment) => self.hooks.push((moment, json!(program))),
            None => self.filters.push(program),
        }
    }

    /// As the runtime specification has them; `None` if there are none.
    pub fn specified(&self) -> Option<Value> {
        let mut all = Map::new();
        for (moment, hook) in &self.hooks {
            match all.entry(moment.name()).or_insert_with(|| json!([])) {
                Value::Array(list) => list.push(hook.clone()),
                _ => continue,
            }
        }
        (!all.is_empty()).then_some(Value::Object(all))
    }
}

/// What is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The file.
    pub path: String,
    /// Its arguments, its own name first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its variables; without any, those of the engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds that it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// A file of a directory, in the form of today (1.0.0).
#[derive(Debug, Deserialize)]
struct Document {
    hook: Program,
    when: When,
    stages: Vec<String>,
}

/// When a hook is wanted: all that is said must hold, and of the commands one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct When {
    always: Option<bool>,
    annotations: BTreeMap<String, String>,
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
    /// One thing that holds is enough: the form of before.
    #[serde(skip)]
    any: bool,
}

/// The form of before (0.1.0).
#[derive(Debug, Deserialize)]
struct Old {
    hook: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default, alias = "stage")]
    stages: Vec<String>,
    #[serde(default, alias = "cmd")]
    cmds: Vec<String>,
    #[serde(default, alias = "annotation")]
    annotations: Vec<String>,
    #[serde(default)]
    hasbindmounts: Option<bool>,
}

/// What the conditions of hooks are about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The container's program.
    pub command: &'a str,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Directories of the host were asked for.
    pub has_bind_mounts: bool,
}

impl<'a> About<'a> {
    /// Of a decided container.
    pub fn of(config: &'a Config) -> About<'a> {
        let is_bound = |kind: &MountKind| matches!(kind, MountKind::Bind { .. });
        About {
            command: config.arguments.first().map_or("", String::as_str),
            annotations: &config.annotations,
            has_bind_mounts: config.mounts.iter().any(|mount| is_bound(&mount.kind)),
        }
    }
}

/// The hooks of `directories` that a container wants, in the order of their files' names. A directory that is not there has none.
///
/// # Errors
/// A file that cannot be read or understood, or whose program is not there.
pub fn choose(directories: &[PathBuf], about: About<'_>) -> Result<Chosen, Fault> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in directories {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Fault::invalid(format!("reading hooks of {}: {e}", directory.display()))),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|end| end == "json")
                && let Some(name) = path.file_name()
            {
                files.insert(name.to_string_lossy().into_owned(), path);
            }
        }
    }
    let mut files: Vec<(String, PathBuf)> = files.into_iter().collect();
    files.sort_by_key(|(name, _)| name.to_lowercase());
    let mut chosen = Chosen::default();
    for (_, path) in files {
        let wrong = |why: String| Fault::invalid(format!("parsing hook {path:?}: {why}"));
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        let document = parse(&text).map_err(wrong)?;
        if !Path::new(&document.hook.path).exists() {
            let program = &document.hook.path;
            return Err(wrong(format!("invalid hook: stat {program}: no such file or directory")));
        }
        if document.when.holds(about).map_err(wrong)? {
            for stage in &document.stages {
                chosen.push(stage, document.hook.clone());
            }
        }
    }
    Ok(chosen)
}

fn parse(text: &str) -> Result<Document, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let version = value.get("version").map_or(Some("0.1.0"), Value::as_str);
    let document = match version {
        Some("1.0.0") => serde_json::from_value::<Document>(value).map_err(|e| e.to_string())?,
        Some("0.1.0") => serde_json::from_value::<Old>(list_of_one(value)).map_err(|e| e.to_string())?.into(),
        other => return Err(format!("unexpected hook version {}: use 1.0.0", other.unwrap_or("that is no text"))),
    };
    let hook = &document.hook;
    if !hook.path.starts_with('/') {
        return Err(format!("invalid hook: hook.path {:?} must be absolute", hook.path));
    }
    if hook.timeout.is_some_and(|seconds| seconds <= 0) {
        return Err("invalid hook: hook.timeout must be greater than zero".into());
    }
    if let Some(variable) = hook.env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        return Err(format!("invalid hook: hook.env {variable:?} is not KEY=VALUE"));
    }
    if document.stages.is_empty() {
        return Err("invalid hook: missing required property: stages".into());
    }
    let known = |stage: &str| stage == PRECREATE || Moment::ALL.iter().any(|moment| moment.name() == stage);
    if let Some(stage) = document.stages.iter().find(|stage| !known(stage)) {
        return Err(format!("invalid hook: unknown stage {stage:?}"));
    }
    let when = &document.when;
    for pattern in when.annotations.iter().flat_map(|(key, value)| [key, value]).chain(&when.commands) {
        Pattern::parse(pattern).map_err(|e| format!("invalid hook: {e}"))?;
    }
    Ok(document)
}

/// Lists of one may be written without brackets in the form of before.
fn list_of_one(mut value: Value) -> Value {
    for key in ["arguments", "stages", "stage", "cmds", "cmd", "annotations", "annotation"] {
        if let Some(item) = value.get_mut(key).filter(|item| item.is_string()) {
            *item = json!([item.take()]);
        }
    }
    value
}

impl From<Old> for Document {
    fn from(old: Old) -> Document {
        let program = Program { path: old.hook.clone(), ..Program::default() };
        let args = if old.arguments.is_empty() { Vec::new() } else { [vec![old.hook], old.arguments].concat() };
        let annotations = match old.annotations.as_slice() {
            [] => BTreeMap::new(),
            values => [(".*".to_owned(), format!("(?:{})", values.join(")|(?:")))].into(),
        };
        Document {
            hook: Program { args, ..program },
            when: When { always: None, annotations, commands: old.cmds, has_bind_mounts: old.hasbindmounts, any: true },
            stages: old.stages,
        }
    }
}

impl When {
    fn holds(&self, about: About<'_>) -> Result<bool, String> {
        let is_in =
            |pattern: &str, text: &str| Pattern::parse(pattern).map(|p| p.is_in(text)).map_err(|e| e.to_string());
        let mut held = Vec::new();
        held.extend(self.always);
        held.extend(self.has_bind_mounts.map(|wanted| wanted && about.has_bind_mounts));
        for (key, value) in &self.annotations {
            let mut found = false;
            for (own, its) in about.annotations {
                found |= is_in(key, own)? && is_in(value, its)?;
            }
            held.push(found);
        }
        if !self.commands.is_empty() {
            let mut found = false;
            for pattern in &self.commands {
                found |= is_in(pattern, about.command)?;
            }
            held.push(found);
        }
        Ok(if self.any { held.contains(&true) } else { !held.is_empty() && !held.contains(&false) })
    }
}

/// Lets the filters change the specification, one after another.
///
/// # Errors
/// One that fails, takes too long, or writes something else than a specification.
pub fn filter(filters: &[Program], create: &mut runtime::Create) -> Result<(), Fault> {
    for program in filters {
        let wrong = |why: String| Fault::internal(format!("executing {PRECREATE} hook {:?}: {why}", program.path));
        let text = serde_json::to_vec(&create.spec).map_err(Fault::internal)?;
        let text = run(program, &text).map_err(wrong)?;
        create.spec =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("what it wrote is no specification: {e}")))?;
    }
    // A filter of system calls that it wrote stands for the one that was ready.
    if create.spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some()) {
        create.filter = None;
    }
    Ok(())
}

fn run(program: &Program, input: &[u8]) -> Result<Vec<u8>, String> {
    let file = |name: &str| rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map(std::fs::File::from);
    let words = |e: std::io::Error| e.to_string();
    let (mut given, mut written) = (file("spec").map_err(|e| e.to_string())?, file("out").map_err(|e| e.to_string())?);
    given.write_all(input).and_then(|()| given.rewind()).map_err(words)?;
    let mut command = std::process::Command::new(&program.path);
    if let Some((name, rest)) = program.args.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name).args(rest);
    }
    if !program.env.is_empty() {
        command.env_clear().envs(program.env.iter().filter_map(|entry| entry.split_once('=')));
    }
    let output = written.try_clone().map_err(words)?;
    let mut child = command.stdin(given).stdout(output).spawn().map_err(words)?;
    let deadline = program.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.max(0) as u64));
    let status = loop {
        let Some(deadline) = deadline else { break child.wait().map_err(words)? };
        if let Some(status) = child.try_wait().map_err(words)? {
            break status;
        }
        if Instant::now() >= deadline {
            // It may have ended since.
            let _ = child.kill();
            child.wait().map_err(words)?;
            return Err(format!("it took longer than its timeout of {} s", program.timeout.unwrap_or_default()));
        }
        std::thread::sleep(PAUSE);
    };
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    let mut text = Vec::new();
    written.rewind().map_err(words)?;
    written.take(LARGEST).read_to_end(&mut text).map_err(words)?;
    Ok(text)
}

/// What is run after the start and after the end.
#[derive(Debug, Serialize, Deserialize)]
struct Later {
    state: oci_spec::runtime::State,
    start: Vec<oci_spec::runtime::Hook>,
    end: Vec<oci_spec::runtime::Hook>,
}

/// Keeps what is to be run later in the directory of the run.
pub(crate) fn keep(create: &runtime::Create, run_directory: &Path) -> Result<(), Fault> {
    let of = |moment: Moment| moment.hooks(&create.spec).to_vec();
    let (start, end) = (of(Moment::Poststart), of(Moment::Poststop));
    if start.is_empty() && end.is_empty() {
        return Ok(());
    }
    let state = runtime::hooks::state(&create.spec, &create.id, &create.bundle, Moment::Poststart.status(), None);
    let path = run_directory.join(FILE);
    let text = serde_json::to_vec(&Later { state, start, end }).map_err(Fault::internal)?;
    std::fs::write(&path, text).map_err(|e| Fault::internal(format!("cannot write {path:?}: {e}")))
}

fn kept(run_directory: &Path) -> Option<Later> {
    serde_json::from_slice(&std::fs::read(run_directory.join(FILE)).ok()?).ok()
}

/// Runs what comes after the start of the container whose first process is `pid`.
///
/// # Errors
/// The first that fails: the container is to be ended then (OCI runtime specification, runtime.md, "Lifecycle").
pub(crate) fn after_start(run_directory: &Path, pid: i32) -> Result<(), Fault> {
    let Some(Later { mut state, start, .. }) = kept(run_directory).filter(|later| !later.start.is_empty()) else {
        return Ok(());
    };
    state.set_pid(Some(pid));
    runtime::hooks::run(Moment::Poststart, &start, &state).map_err(|e| Fault::internal(crate::fault::sentence(&e)))
}

/// Runs what comes after the end, all of it, once; tells what failed.
pub(crate) fn after_end(run_directory: &Path) -> Vec<String> {
    let Some(Later { mut state, end, .. }) = kept(run_directory) else { return Vec::new() };
    // Whoever comes later has nothing to run.
    let _ = std::fs::remove_file(run_directory.join(FILE));
    state.set_status(Moment::Poststop.status()).set_pid(None);
    runtime::hooks::run_all(Moment::Poststop, &end, &state).iter().map(|e| crate::fault::sentence(e)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(when: Value, command: &str, annotations: &[(&str, &str)], has_bind_mounts: bool) -> bool {
        let text =
            json!({"version": "1.0.0", "hook": {"path": "/x"}, "stages": ["prestart"], "when": when}).to_string();
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parse(&text).unwrap().when.holds(About { command, annotations: &annotations, has_bind_mounts }).unwrap()
    }

    #[test]
    fn when_hooks_are_wanted() {
        assert!(holds(json!({"always": true}), "sh", &[], false));
        assert!(!holds(json!({"always": false}), "sh", &[], false));
        assert!(!holds(json!({}), "sh", &[], true));
        assert!(holds(json!({"commands": ["^/bin/(a|b)$", "sh"]}), "/bin/sh", &[], false));
        assert!(!holds(json!({"commands": ["^sh"]}), "/bin/sh", &[], false));
        assert!(holds(json!({"hasBindMounts": true}), "sh", &[], true));
        assert!(!holds(json!({"hasBindMounts": true}), "sh", &[], false));
        let annotated = json!({"annotations": {"^org\\.example\\.": "^on$"}});
        assert!(holds(annotated.clone(), "sh", &[("x", "off"), ("org.example.a", "on")], false));
        assert!(!holds(annotated, "sh", &[("org.example.a", "off"), ("x", "on")], false));
        // All of it must hold.
        assert!(!holds(json!({"always": true, "commands": ["^x$"]}), "sh", &[], false));
        assert!(holds(json!({"always": true, "commands": ["^sh$"], "hasBindMounts": true}), "sh", &[], true));
    }

    #[test]
    fn the_form_of_before() {
        let text = r#"{"hook": "/x", "arguments": ["a"], "stage": "prestart", "cmd": ["^no$"], "annotation": ["^1$", "2"], "hasbindmounts": true}"#;
        let document = parse(text).unwrap();
        assert_eq!(
            (document.hook.args.as_slice(), document.stages.as_slice()),
            (&["/x".to_owned(), "a".to_owned()][..], &["prestart".to_owned()][..])
        );
        let holds = |value: &str, has_bind_mounts| {
            let annotations = [("any".to_owned(), value.to_owned())].into();
            document.when.holds(About { command: "sh", annotations: &annotations, has_bind_mounts }).unwrap()
        };
        assert!(holds("1", false) && holds("x2", false) && holds("", true) && !holds("11", false));
    }

    #[test]
    fn what_is_wrong_with_a_file() {
        let text = r#"{"version": "1.0.0", "hook": {"path": "/x", "env": ["A=1"]}, "when": {"always": true}, "stages": ["poststop"]}"#;
        assert!(parse(text).is_ok());
        for (from, to, words) in [
            ("1.0.0", "2.0.0", "unexpected hook version 2.0.0"),
            ("\"/x\"", "\"x\"", "must be absolute"),
            ("A=1", "A", "\"A\" is not KEY=VALUE"),
            ("\"poststop\"", "", "missing required property: stages"),
            ("poststop", "never", "unknown stage \"never\""),
            ("{\"always\": true}", "{\"commands\": [\"(\"]}", "regular expression"),
            ("\"when\"", "\"while\"", "when"),
            ("{\"version\"", "\"version\"", ""),
        ] {
            let why = parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(why.contains(words), "{to}: {why}");
        }
    }

    #[test]
    fn names_give_the_order_and_later_directories_win() {
        let top = std::env::temp_dir().join(format!("monopod-hooks-{}", std::process::id()));
        let write = |place: &str, path: &str, stage: &str| {
            let file = top.join(place);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let text = json!({"version": "1.0.0", "hook": {"path": path}, "when": {"always": true}, "stages": [stage]});
            std::fs::write(file, text.to_string()).unwrap();
        };
        write("a/B.json", "/bin/sh", "prestart");
        write("a/a.json", "/bin/ls", "prestart");
        write("a/c.json", "/bin/ls", "precreate");
        write("a/d.txt", "/no/such", "prestart");
        write("b/a.json", "/bin/cat", "poststop");
        let places = [top.join("a"), top.join("none"), top.join("b")];
        let none = BTreeMap::new();
        let about = About { command: "sh", annotations: &none, has_bind_mounts: false };
        let chosen = choose(&places, about).unwrap();
        write("b/e.json", "/no/such", "poststop");
        let fault = choose(&places, about).unwrap_err();
        std::fs::remove_dir_all(&top).unwrap();
        let paths: Vec<_> =
            chosen.hooks.iter().map(|(moment, hook)| (moment.name(), hook["path"].as_str().unwrap())).collect();
        assert_eq!(paths, [("poststop", "/bin/cat"), ("prestart", "/bin/sh")]);
        assert_eq!(chosen.filters[0].path, "/bin/ls");
        assert!(fault.message.contains("e.json") && fault.message.contains("stat /no/such"), "{fault}");
    }
}
