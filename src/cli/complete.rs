//! Completion of command lines, made from the table of verbs and flags: what may stand where the cursor is, and the scripts
//! by which shells ask for that (`completion bash|zsh|fish`).
//!
//! A script calls `PROGRAM __complete WORD...`, the last word being the one that is typed. The answer is a line for each
//! candidate, with a tab and a description, and at the end `:` and a number: 4 says that files do not fit, 2 that no space
//! follows. Scripts made for Podman understand it.

use crate::dispatch::within;
use crate::failure::Failure;
use crate::flag::Description;
use crate::program::{GLOBALS, Globals, Program, print};
use crate::verb::{AnyVerb, Entry, GROUPS, Group, HIDDEN, TOP};
use ops::container::List;
use std::fmt::Write as _;

const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// What completes a word.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    /// Candidates and what they are.
    candidates: Vec<(String, String)>,
    /// See above.
    directive: u8,
}

/// What a word stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Container,
    ContainerPath,
    Image,
    Either,
    Network,
    Volume,
    File,
    Nothing,
}

/// Answers a script. `words` are those after `__complete`; `described`: with descriptions.
pub fn complete(program: &Program, words: &[String], described: bool) -> Result<u8, Failure> {
    let answer = answer(words, &|place| names(program, place));
    let mut text = String::new();
    for (word, about) in &answer.candidates {
        match described && !about.is_empty() {
            true => drop(writeln!(text, "{word}\t{about}")),
            false => drop(writeln!(text, "{word}")),
        }
    }
    print(&format!("{text}:{}\n", answer.directive)).map(|()| 0)
}

/// The script for a shell, for a program of that name.
pub fn script(shell: &str, program: &str) -> Result<String, Failure> {
    let text = match shell {
        "bash" => include_str!("complete/bash.sh"),
        "zsh" => include_str!("complete/zsh.sh"),
        "fish" => include_str!("complete/fish.fish"),
        _ => {
            return Err(Failure::new(format!("invalid argument {shell:?} for \"completion\": use bash, zsh or fish")));
        }
    };
    Ok(text.replace("monopod", program))
}

fn answer(words: &[String], names: &dyn Fn(Place) -> Vec<(String, String)>) -> Answer {
    let Some((typed, before)) = words.split_last() else { return Answer::default() };
    let globals: Vec<Description> = GLOBALS.iter().map(crate::flag::Flag::<Globals>::describe).collect();
    // Where the verb stands: behind the program's own flags and their values.
    let mut at = 0;
    while let Some(word) = before.get(at).filter(|word| word.starts_with('-')) {
        let takes = globals.iter().any(|flag| !flag.word.is_empty() && *word == format!("--{}", flag.long));
        at += if takes { 2 } else { 1 };
    }
    let Some(first) = before.get(at) else {
        if at > before.len() {
            return Answer::default();
        }
        if typed.starts_with('-') {
            return flags(&globals, typed);
        }
        let groups = GROUPS.iter().map(|group| (group.name, group.about)).filter(|(name, _)| !name.contains(' '));
        let words = TOP.iter().map(|(word, verb)| (*word, verb.about())).chain(groups);
        return fitting(words.map(|(word, about)| (word.to_owned(), about.to_owned())), typed);
    };
    let rest = &before[at + 1..];
    if let Some(verb) = find(TOP, first).or_else(|| find(HIDDEN, first)) {
        return of_verb(verb, rest, typed, &globals, names);
    }
    match GROUPS.iter().find(|group| group.name == first.as_str()) {
        Some(group) => of_group(group, rest, typed, &globals, names),
        None => Answer::default(),
    }
}

fn of_group(
    group: &Group,
    words: &[String],
    typed: &str,
    globals: &[Description],
    names: &dyn Fn(Place) -> Vec<(String, String)>,
) -> Answer {
    let Some((word, rest)) = words.split_first() else {
        let verbs = group.verbs.iter().map(|(word, verb)| (*word, verb.about()));
        let inner = within(group).map(|(inner, word)| (word, inner.about));
        return fitting(verbs.chain(inner).map(|(word, about)| (word.to_owned(), about.to_owned())), typed);
    };
    if let Some(verb) = find(group.verbs, word).or_else(|| find(group.hidden, word)) {
        return of_verb(verb, rest, typed, globals, names);
    }
    match within(group).find(|(_, name)| name == word) {
        Some((inner, _)) => of_group(inner, rest, typed, globals, names),
        None => Answer::default(),
    }
}

fn of_verb(
    verb: &dyn AnyVerb,
    words: &[String],
    typed: &str,
    globals: &[Description],
    names: &dyn Fn(Place) -> Vec<(String, String)>,
) -> Answer {
    let mut all = verb.flags();
    all.extend(globals);
    let flag = |word: &str| {
        all.iter().find(|flag| match word.strip_prefix("--") {
            Some(long) => flag.long == long || flag.aliases.contains(&long),
            None => word.strip_prefix('-').and_then(|rest| rest.chars().last()).is_some_and(|s| flag.short == Some(s)),
        })
    };
    let takes_value = |word: &String| flag(word).is_some_and(|flag| !flag.word.is_empty());
    // How many arguments come before, and whether the word before is a flag that wants this one.
    let (mut count, mut waiting) = (0, None);
    let mut only_arguments = false;
    for word in words {
        if waiting.take().is_some() {
            continue;
        }
        match () {
            () if only_arguments || !word.starts_with('-') || word == "-" => {
                count += 1;
                only_arguments |= !verb.interspersed();
            }
            () if word == "--" => only_arguments = true,
            () if takes_value(word) => waiting = Some(word),
            () => {}
        }
    }
    if let Some(word) = waiting {
        return values(flag(word).map_or("", |flag| flag.long), "", typed, names);
    }
    if typed.starts_with('-') && !only_arguments {
        if let Some((name, value)) = typed.split_once('=')
            && let Some(flag) = flag(name)
        {
            return values(flag.long, &format!("{name}="), value, names);
        }
        return flags(&all, typed);
    }
    let place = place(verb.path(), verb.usage(), count);
    let mut answer = match place {
        Place::File => return Answer::default(),
        Place::Nothing => return Answer { directive: NO_FILES, ..Answer::default() },
        _ => fitting(names(place).into_iter(), typed),
    };
    if place == Place::ContainerPath {
        answer.candidates.iter_mut().for_each(|(word, _)| word.push(':'));
        answer.directive = NO_SPACE;
    }
    answer
}

/// What the argument number `count` of a verb is, as its usage line says.
fn place(path: &str, usage: &str, count: usize) -> Place {
    let words: Vec<&str> = usage.split_whitespace().collect();
    let repeats = words.last().is_some_and(|word| word.contains("..."));
    let word = match words.get(count) {
        Some(word) => *word,
        None if repeats => words[words.len() - 1],
        None => return Place::Nothing,
    };
    let group = path.split(' ').next().unwrap_or_default();
    let plain = word.trim_matches(['[', ']', '{', '}']);
    match plain.trim_end_matches("...").trim_end_matches(']') {
        "CONTAINER" if group == "network" && count == 0 => Place::Network,
        "CONTAINER" => Place::Container,
        "IMAGE" => Place::Image,
        "NETWORK" => Place::Network,
        "VOLUME" => Place::Volume,
        "NAME" if group == "volume" && !path.ends_with("create") => Place::Volume,
        "NAME" if group == "network" && !path.ends_with("create") => Place::Network,
        _ if plain.contains("CONTAINER:]") => Place::ContainerPath,
        _ if plain.contains("CONTAINER|IMAGE") => Place::Either,
        _ => Place::File,
    }
}

/// What the value of a flag can be.
fn values(flag: &str, before: &str, typed: &str, names: &dyn Fn(Place) -> Vec<(String, String)>) -> Answer {
    let words = |words: &[&str]| words.iter().map(|word| ((*word).to_owned(), String::new())).collect::<Vec<_>>();
    let found = match flag {
        "network" => [words(&["bridge", "host", "none", "private"]), names(Place::Network)].concat(),
        "volumes-from" | "requires" => names(Place::Container),
        "pid" | "ipc" | "uts" | "cgroupns" => {
            let joined = names(Place::Container).into_iter().map(|(name, about)| (format!("container:{name}"), about));
            words(&["host", "private"]).into_iter().chain(joined).collect()
        }
        "pull" => words(&["always", "missing", "never", "newer"]),
        "log-driver" => words(&["k8s-file", "json-file", "none"]),
        "restart" => words(&["no", "on-failure", "always", "unless-stopped"]),
        "signal" | "stop-signal" => {
            words(&["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"])
        }
        "log-level" => words(&["debug", "info", "warn", "error"]),
        "type" => words(&["container", "image", "network", "volume", "all"]),
        "sort" => words(&["command", "created", "id", "image", "names", "runningfor", "size", "status"]),
        "condition" => words(&["created", "initialized", "running", "paused", "stopping", "exited", "removing"]),
        _ => return Answer::default(),
    };
    let found = found.into_iter().map(|(word, about)| (format!("{before}{word}"), about));
    fitting(found, &format!("{before}{typed}"))
}

fn flags(flags: &[Description], typed: &str) -> Answer {
    let mut all: Vec<(String, String)> =
        flags.iter().map(|flag| (format!("--{}", flag.long), flag.help.to_owned())).collect();
    all.push(("--help".into(), "Print help".into()));
    all.sort();
    all.dedup_by(|one, other| one.0 == other.0);
    fitting(all.into_iter(), typed)
}

/// Those that begin with what is typed; files do not fit.
fn fitting(words: impl Iterator<Item = (String, String)>, typed: &str) -> Answer {
    Answer { candidates: words.filter(|(word, _)| word.starts_with(typed)).collect(), directive: NO_FILES }
}

fn find(entries: &[Entry], word: &str) -> Option<&'static dyn AnyVerb> {
    entries.iter().find(|(name, _)| *name == word).map(|(_, verb)| *verb)
}

/// Names that there are. What cannot be read has none: a completion is no place for errors.
fn names(program: &Program, place: Place) -> Vec<(String, String)> {
    let Ok(engine) = program.engine() else { return Vec::new() };
    let containers = || {
        let list = engine.list(&List { all: true, ..List::default() }).unwrap_or_default();
        list.into_iter().map(|c| (c.name, format!("{}, {}", c.image, c.status.word()))).collect::<Vec<_>>()
    };
    let images = || {
        let images = engine.images(&Default::default()).unwrap_or_default();
        let names = images.into_iter().flat_map(|image| image.names);
        // As people type them: without the registry that needs no word, and without the usual tag.
        names
            .map(|name| {
                let short = name.strip_prefix("localhost/").unwrap_or(&name);
                (short.strip_suffix(":latest").unwrap_or(short).to_owned(), name.clone())
            })
            .collect::<Vec<_>>()
    };
    match place {
        Place::Container | Place::ContainerPath => containers(),
        Place::Image => images(),
        Place::Either => [containers(), images()].concat(),
        Place::Network => {
            let networks = engine.network_list(&[]).unwrap_or_default();
            let names = networks.iter().filter_map(|network| network["name"].as_str());
            names.map(|name| (name.to_owned(), "network".to_owned())).collect()
        }
        Place::Volume => {
            let volumes = engine.volumes(&Default::default()).unwrap_or_default();
            volumes.into_iter().map(|volume| (volume.name, "volume".to_owned())).collect()
        }
        Place::File | Place::Nothing => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> (Vec<String>, u8) {
        let words: Vec<String> = line.split(' ').map(Into::into).collect();
        let names = |place| match place {
            Place::Container | Place::ContainerPath => {
                vec![("web".into(), String::new()), ("db".into(), String::new())]
            }
            Place::Image => vec![("busybox".into(), String::new())],
            Place::Volume => vec![("data".into(), String::new())],
            Place::Network => vec![("podman".into(), String::new())],
            _ => Vec::new(),
        };
        let answer = answer(&words, &names);
        (answer.candidates.into_iter().map(|(word, _)| word).collect(), answer.directive)
    }

    #[test]
    fn what_may_come_next() {
        for (line, wanted, directive) in [
            ("renam", &["rename"][..], NO_FILES),
            ("container exp", &["export"], NO_FILES),
            ("--root /x renam", &["rename"], NO_FILES),
            ("stop w", &["web"], NO_FILES),
            ("stop web d", &["db"], NO_FILES),
            ("stop --time 5 w", &["web"], NO_FILES),
            ("stop -t 5 d", &["db"], NO_FILES),
            ("run b", &["busybox"], NO_FILES),
            ("run --rm busybox ls", &[], 0),
            ("run --network=pod", &["--network=podman"], NO_FILES),
            ("run --pid container:d", &["container:db"], NO_FILES),
            ("cp w", &["web:"], NO_SPACE),
            ("volume rm d", &["data"], NO_FILES),
            ("network inspect p", &["podman"], NO_FILES),
            ("logs --fol", &["--follow"], NO_FILES),
            ("load -i /tm", &[], 0),
            ("image tru", &["trust"], NO_FILES),
            ("image trust se", &["set"], NO_FILES),
            ("no such", &[], 0),
        ] {
            assert_eq!(asked(line), (wanted.iter().map(ToString::to_string).collect(), directive), "{line}");
        }
        assert!(asked("run --").0.contains(&"--memory".to_owned()));
        assert!(asked("").0.contains(&"ps".to_owned()));
    }

    #[test]
    fn scripts_bear_the_name_of_the_program() {
        for shell in ["bash", "zsh", "fish"] {
            let text = script(shell, "podman").unwrap();
            assert!(text.contains("podman") && !text.contains("monopod") && text.contains("__complete"), "{shell}");
        }
        assert!(script("powershell", "monopod").is_err());
    }
}
