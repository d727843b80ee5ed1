//! The command that made a container, as a unit says it again.

use crate::container::config::Config;
use ops::Fault;
use ops::life::Notify;
use ops::unit::Unit;

/// Where such a unit keeps the id of its container.
pub const ID_FILE: &str = "%t/%n.ctr-id";

/// Letters of `run` and `create` that take a value.
const WITH_VALUE: &[u8] = b"acehlmpuvw";

/// The line that starts a new container, and what else the command says of the unit.
pub struct Start {
    /// `ExecStart=`.
    pub line: String,
    /// The program's own flags, each after a space.
    pub globals: String,
    /// The policy that the command asks for, in systemd's word.
    pub restart: Option<String>,
    /// Most restarts.
    pub restarts: Option<u32>,
    /// `KEY=VALUE` of variables that the command takes from its caller.
    pub environment: Vec<String>,
}

/// What the flags of a command say, as far as a unit cares, and those that stay.
#[derive(Default)]
struct Flags {
    kept: Vec<String>,
    detached: bool,
    replaces: bool,
    named: bool,
    notify: Option<String>,
    restart: Option<String>,
    from_caller: Vec<String>,
}

/// The line for `config`'s command.
///
/// # Errors
/// A container that no command of `run` or `create` has made.
pub fn start(asked: &Unit, service: &str, config: &Config) -> Result<Start, Fault> {
    let words = &config.create_command;
    let verb = words.iter().position(|word| word == "run" || word == "create").ok_or_else(|| {
        Fault::invalid(format!(
            "cannot use --new on container {}: no create command found: it was not made by run or create",
            config.name
        ))
    })?;
    let words = &words[verb + 1..];
    let (flags, rest) = words.split_at(words.len() - arguments(words, config));
    let mut flags = read(flags);
    let mut line: Vec<String> =
        vec![asked.executable.clone()].into_iter().chain(own_flags(&config.create_command).iter().cloned()).collect();
    line.push("run".into());
    let mut head: Vec<String> = vec!["--cgroups=no-conmon".into(), "--rm".into()];
    let notify = flags.notify.as_deref().map(str::parse::<Notify>).and_then(Result::ok);
    // A unit that waits for a word must get one.
    if matches!(notify, None | Some(Notify::Ignore)) {
        head.push("--sdnotify=conmon".into());
        flags.kept = without(&flags.kept, "--sdnotify");
    }
    if !flags.detached {
        head.push("-d".into());
    }
    if flags.named && !flags.replaces {
        head.push("--replace".into());
    }
    if asked.template {
        head.retain(|word| word != "--replace");
        head.push("--replace".into());
        flags.kept = of_instance(flags.kept, service);
    }
    let (restart, restarts) =
        match flags.restart.as_deref().map(|policy| policy.split_once(':').unwrap_or((policy, ""))) {
            None | Some(("", _)) => (None, None),
            Some(("unless-stopped", _)) => (Some("always".to_owned()), None),
            Some((policy, most)) => (Some(policy.to_owned()), most.parse().ok()),
        };
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let environment =
        config.environment.iter().filter(|entry| flags.from_caller.contains(&key(entry))).cloned().collect();
    let mut text = line.iter().map(|word| escaped(word)).collect::<Vec<_>>().join(" ");
    // The unit's own specifiers are not to be escaped.
    text.push_str(&format!(" \\\n\t--cidfile={ID_FILE}"));
    for word in head.iter().chain(&flags.kept).chain(rest) {
        text.push_str(if word.starts_with('-') { " \\\n\t" } else { " " });
        // The one word that a template makes ends with a specifier.
        let (plain, instance) = match word.strip_suffix(INSTANCE).filter(|_| asked.template) {
            Some(plain) => (plain, INSTANCE),
            None => (word.as_str(), ""),
        };
        text.push_str(&escaped(plain));
        text.push_str(instance);
    }
    Ok(Start { line: text, globals: globals(&config.create_command), restart, restarts, environment })
}

/// The end of a name in a template.
const INSTANCE: &str = "-%i";

/// The program's own flags in a command, escaped, each after a space.
pub fn globals(words: &[String]) -> String {
    own_flags(words).iter().map(|word| format!(" {}", escaped(word))).collect()
}

fn own_flags(words: &[String]) -> &[String] {
    let end = words.iter().position(|word| word == "run" || word == "create").unwrap_or(0);
    let end = if end > 0 && words[end - 1] == "container" { end - 1 } else { end };
    words.get(1..end).unwrap_or_default()
}

/// How many of the last words are the image and its command.
fn arguments(words: &[String], config: &Config) -> usize {
    let command = config.command.len();
    let is_image = |word: &String| {
        let with_tag = format!("{word}:latest");
        let known = [word.as_str(), with_tag.as_str()];
        let named = known.iter().any(|known| config.image == *known || config.image.ends_with(&format!("/{known}")));
        named || config.image_id.starts_with(word.as_str()) && word.len() > 2 || word.contains(":/")
    };
    let at = |count: usize| words.len().checked_sub(count + 1).and_then(|at| words.get(at));
    let ends_so = words.ends_with(&config.command);
    if ends_so && at(command).is_some_and(is_image) {
        command + 1
    } else if at(0).is_some_and(is_image) || !ends_so {
        // The image's own command.
        1.min(words.len())
    } else {
        (command + 1).min(words.len())
    }
}

/// Reads the flags; those that a unit says in its own way are left out.
fn read(words: &[String]) -> Flags {
    let mut flags = Flags::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let mut take = |value: Option<&str>| match value {
            Some(value) => (value.to_owned(), false),
            None => (words.next().cloned().unwrap_or_default(), true),
        };
        match name {
            "--rm" => continue,
            "--cgroups" | "--cidfile" => {
                take(value);
                continue;
            }
            "--restart" => {
                flags.restart = Some(take(value).0);
                continue;
            }
            "--detach" | "--replace" => {
                let on = !matches!(value, Some("false" | "0" | "f" | "F" | "FALSE" | "False"));
                if name == "--detach" {
                    flags.detached = on
                } else {
                    flags.replaces = on
                }
                if !on {
                    continue;
                }
            }
            "--name" | "--sdnotify" | "--env" => {
                let (value, apart) = take(value);
                match name {
                    "--name" => flags.named = true,
                    "--sdnotify" => flags.notify = Some(value.clone()),
                    _ if !value.contains('=') => flags.from_caller.push(value.clone()),
                    _ => {}
                }
                flags.kept.push(word.clone());
                flags.kept.extend(apart.then_some(value));
                continue;
            }
            _ => {}
        }
        flags.kept.push(word.clone());
        let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.starts_with('-') && !rest.is_empty()) else {
            continue;
        };
        let end = letters.bytes().position(|letter| WITH_VALUE.contains(&letter));
        let switches = &letters[..end.unwrap_or(letters.len())];
        flags.detached |= switches.contains('d') && !switches.contains('=');
        if let Some(end) = end {
            let inside = letters[end + 1..].trim_start_matches('=');
            let value =
                if letters.len() > end + 1 { inside.to_owned() } else { words.next().cloned().unwrap_or_default() };
            if letters.as_bytes()[end] == b'e' && !value.contains('=') {
                flags.from_caller.push(value.clone());
            }
            if letters.len() == end + 1 {
                flags.kept.push(value);
            }
        }
    }
    // "-d=false" is kept by nobody: it would undo the unit's own.
    flags.kept.retain(|word| word != "-d=false");
    flags
}

/// The words without a flag and its value.
fn without(words: &[String], flag: &str) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == flag {
            words.next();
        } else if word.strip_prefix(flag).is_none_or(|rest| !rest.starts_with('=')) {
            kept.push(word.clone());
        }
    }
    kept
}

/// The flags with a name that ends with the instance's.
fn of_instance(mut words: Vec<String>, service: &str) -> Vec<String> {
    if let Some(at) = words.iter().position(|word| word == "--name")
        && let Some(name) = words.get_mut(at + 1)
    {
        name.push_str(INSTANCE);
    } else if let Some(name) = words.iter_mut().find(|word| word.starts_with("--name=")) {
        name.push_str(INSTANCE);
    } else {
        words.insert(0, format!("--name={service}{INSTANCE}"));
    }
    words
}

/// A word of a unit's command line (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").
pub fn escaped(word: &str) -> String {
    let word = word.replace('$', "$$").replace('%', "%%");
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\') || c.is_control();
    if !word.is_empty() && !word.contains(special) && word != ";" {
        return word;
    }
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
    text + "\""
}
