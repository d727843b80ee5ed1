//! From the words of the command line to the verb that is meant; and what needs no verb: help and the version.

use crate::complete::complete;
use crate::failure::Failure;
use crate::flag::{Description, Flag, Grammar, short, switch};
use crate::program::{Globals, Program, note, print};
use crate::surface;
use crate::verb::{AnyVerb, Entry, GROUPS, Group, HIDDEN, SKOPEO, TOP, options_help};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Does what `words` (the program's name first) ask. Returns the exit code.
pub fn main(words: Vec<OsString>) -> u8 {
    let result = command(&words);
    match result {
        Ok(code) => code,
        Err(failure) => {
            // Nowhere to tell that it cannot be told.
            let _ = std::io::stderr().lock().write_all(failure.text().as_bytes());
            failure.code
        }
    }
}

/// The word that `main` takes for the runtime's own command line.
const RUNTIME: (&str, &str) = ("runtime", "Run containers from bundles, as runc and crun do");

/// The word that writes manual pages.
const MANUAL: (&str, &str) = ("man", "Write the manual pages into a directory");

/// Writes the manual pages into the directory that is named.
fn manual(words: &[OsString]) -> Result<u8, Failure> {
    let directory = match words {
        [word] if !word.as_encoded_bytes().starts_with(b"-") => Path::new(word),
        _ => {
            return Err(Failure::new(
                "man takes a directory: man DIRECTORY, then man -M or copy to /usr/share/man/man1",
            ));
        }
    };
    std::fs::create_dir_all(directory).map_err(|e| Failure::new(format!("cannot create {directory:?}: {e}")))?;
    for (name, text) in crate::manual::pages(VERSION, &crate::verb::version::built_on()) {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|e| Failure::new(format!("cannot write {path:?}: {e}")))?;
    }
    Ok(0)
}

#[derive(Default)]
struct Top {
    version: bool,
}

const TOP_FLAGS: &[Flag<Top>] = &[short('v', switch("version", "Print the version", |top, on| top.version = on))];

fn command(words: &[OsString]) -> Result<u8, Failure> {
    let (name, words) = words.split_first().map_or((None, words), |(name, rest)| (Some(name), rest));
    let mut program = Program::called(Path::new(name.unwrap_or(&OsString::new())));
    program.words = std::iter::once(program.name.clone())
        .chain(words.iter().map(|word| word.to_string_lossy().into_owned()))
        .collect();
    let first_is_verb = words.first().is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-"));
    if first_is_verb {
        return verb(program, words);
    }
    let called = program.name.clone();
    let flags = &[TOP_FLAGS];
    let grammar = Grammar { path: "(global)", called: &called, interspersed: false, flags, globals: program.globals() };
    let parsed = grammar.read(Globals::default(), words)?;
    program.globals = parsed.globals;
    if parsed.help {
        print(&top_help(&program))?;
    } else if parsed.request.version {
        print(&format!("{} version {VERSION}\n", program.name))?;
    } else if parsed.arguments.is_empty() {
        note(top_help(&program).trim_end());
        return Err(Failure::new(format!("missing command '{} COMMAND'", program.name)));
    } else {
        let at = words.len() - parsed.arguments.len();
        return verb(program, &words[at..]);
    }
    Ok(0)
}

/// `words` begins with what should be a verb or a group.
fn verb(mut program: Program, words: &[OsString]) -> Result<u8, Failure> {
    let word = words[0].to_string_lossy().into_owned();
    let called = format!("{} {word}", program.name);
    if let Some(verb) = find(top(&program), &word).or_else(|| find(hidden(&program), &word)) {
        return verb.invoke(program, &called, &words[1..]);
    }
    if let Some(group) = groups(&program).iter().find(|group| group.name == word) {
        return in_group(program, group, &called, &words[1..]);
    }
    if let "__complete" | "__completeNoDesc" = word.as_str() {
        let words: Vec<String> = words[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect();
        program.globals = typed_globals(&program, &words);
        return complete(&program, &words, word == "__complete");
    }
    if word == MANUAL.0 {
        return manual(&words[1..]);
    }
    if word == "help" {
        return help(&program, &words[1..]);
    }
    // What looks like a flag of a command that there is not is told first, as Podman does.
    if let Some(flag) = words[1..].iter().filter_map(|word| word.to_str()).find(|word| word.starts_with("--")) {
        let name = flag.split('=').next().unwrap_or(flag);
        if !surface::is_command(&word) && surface::option("(global)", name).is_none() {
            return Err(Failure::new(format!("unknown flag: {name}")).advice(format!("See '{} --help'", program.name)));
        }
    }
    let groups = groups(&program).iter().map(|group| group.name).filter(|name| !name.contains(' '));
    Err(unrecognized(&program.name, &program.name, &word, top(&program).iter().map(|entry| entry.0).chain(groups)))
}

/// The program's own flags in a line that is being typed: names are completed from the root that it speaks of.
fn typed_globals(program: &Program, words: &[String]) -> Globals {
    let before: Vec<OsString> =
        words.split_last().map_or(&[][..], |(_, before)| before).iter().map(Into::into).collect();
    let called = &program.name;
    let grammar =
        Grammar { path: "(global)", called, interspersed: false, flags: &[TOP_FLAGS], globals: program.globals() };
    let own = || program.globals.clone();
    // A line that makes no sense yet is completed as if it had none.
    grammar.read(own(), &before).map_or_else(|_| own(), |parsed| parsed.globals)
}

/// The verbs that need no group, by the name that the program was called by.
fn top(program: &Program) -> &'static [Entry] {
    if program.is_skopeo() { SKOPEO } else { TOP }
}

/// Those that help does not show.
fn hidden(program: &Program) -> &'static [Entry] {
    if program.is_skopeo() { &[] } else { HIDDEN }
}

fn groups(program: &Program) -> &'static [Group] {
    if program.is_skopeo() { &[] } else { GROUPS }
}

fn in_group(program: Program, group: &Group, called: &str, words: &[OsString]) -> Result<u8, Failure> {
    let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(verb) = find(group.verbs, &word).or_else(|| find(group.hidden, &word)) {
        return verb.invoke(program, &format!("{called} {word}"), &words[1..]);
    }
    if let Some(inner) = within(group).find(|inner| inner.1 == word) {
        return in_group(program, inner.0, &format!("{called} {word}"), &words[1..]);
    }
    match word.as_str() {
        "--help" | "-h" => {
            print(&group_help(group, called))?;
            Ok(0)
        }
        "" => {
            note(group_help(group, called).trim_end());
            Err(Failure::new(format!("missing command '{called} COMMAND'")))
        }
        _ => {
            let inner = within(group).map(|(_, name)| name);
            Err(unrecognized(&program.name, called, &word, group.verbs.iter().map(|entry| entry.0).chain(inner)))
        }
    }
}

/// The groups within a group, each with its last word.
pub fn within(group: &Group) -> impl Iterator<Item = (&'static Group, &'static str)> {
    GROUPS.iter().filter_map(|inner| Some((inner, inner.name.strip_prefix(group.name)?.strip_prefix(' ')?)))
}

fn help(program: &Program, words: &[OsString]) -> Result<u8, Failure> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let name = &program.name;
    let text = match words.as_slice() {
        [] => top_help(program),
        [word] if find(top(program), word).is_some() => {
            find(top(program), word).map(|verb| verb.help(&format!("{name} {word}"))).unwrap_or_default()
        }
        [word, rest @ ..] => {
            let called = format!("{name} {}", words.join(" "));
            match (groups(program).iter().find(|group| group.name == *word), rest) {
                (Some(group), []) => group_help(group, &called),
                (Some(group), [verb]) if find(group.verbs, verb).is_some() => {
                    find(group.verbs, verb).map(|verb| verb.help(&called)).unwrap_or_default()
                }
                _ => return Err(unrecognized(name, name, &words.join(" "), top(program).iter().map(|entry| entry.0))),
            }
        }
    };
    print(&text)?;
    Ok(0)
}

fn find(entries: &[Entry], word: &str) -> Option<&'static dyn AnyVerb> {
    entries.iter().find(|(name, _)| *name == word).map(|(_, verb)| *verb)
}

/// Podman's words for a command it does not know, and monopod's for one that only Podman has.
fn unrecognized<'a>(program: &str, called: &str, word: &str, verbs: impl Iterator<Item = &'a str>) -> Failure {
    let group = called.strip_prefix(program).unwrap_or("").trim_start();
    let path = if group.is_empty() { word.to_owned() } else { format!("{group} {word}") };
    if surface::is_command(&path) {
        return Failure::new(format!("{path:?} is not built into this version of monopod ({VERSION})"));
    }
    if word.starts_with('-') {
        return Failure::new(format!("unknown flag: {word}")).advice(format!("See '{called} --help'"));
    }
    let mut advice = String::new();
    let near: Vec<_> = verbs.filter(|verb| distance(verb, word) <= 2 || verb.starts_with(word)).collect();
    if !near.is_empty() {
        advice = format!("\nDid you mean this?\n\t{}\n\n", near.join("\n\t"));
    }
    Failure::new(format!("unrecognized command `{called} {word}`"))
        .advice(format!("{advice}Try '{called} --help' for more information"))
}

/// Levenshtein's distance between two words.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

/// Command lines that show what there is, without the program.
const EXAMPLES: [&str; 4] =
    ["run --rm oci-archive:image.tar", "run -d --name web -p 8080:80 image", "logs -f web", "exec -it web sh"];

fn top_help(program: &Program) -> String {
    let name = &program.name;
    let mut text =
        format!("Manage containers and images\n\nUsage:\n  {name} [options] [command]\n\nAvailable Commands:\n");
    let own: &[(&str, &str)] = if program.is_skopeo() { &[] } else { &[RUNTIME, MANUAL] };
    // Verbs of containers, then those of images and what is left, then the groups.
    let containers =
        groups(program).iter().find(|group| group.name == "container").map_or(&[][..], |group| group.verbs);
    let of_containers = |word: &str| matches!(word, "ps") || containers.iter().any(|(known, _)| *known == word);
    let (first, second): (Vec<_>, Vec<_>) =
        top(program).iter().map(|(word, verb)| (*word, verb.about())).partition(|(word, _)| of_containers(word));
    let mut second: Vec<_> = second.into_iter().chain(own.iter().copied()).collect();
    let groups = groups(program).iter().filter(|group| !group.name.contains(' '));
    let mut groups: Vec<_> = groups.map(|group| (group.name, group.about)).collect();
    second.sort_unstable();
    groups.sort_unstable();
    let all = [first.clone(), second.clone(), groups.clone()].concat();
    let width = all.iter().map(|(word, _)| word.len()).max().unwrap_or(0);
    for lines in [first, second, groups].into_iter().filter(|lines| !lines.is_empty()) {
        if !text.ends_with(":\n") {
            text.push('\n');
        }
        for (word, about) in lines {
            let _ = writeln!(text, "  {word:width$} {about}");
        }
    }
    text.push_str("\nOptions:\n");
    let mut flags: Vec<_> =
        program.globals()[0].iter().map(Flag::describe).chain(TOP_FLAGS.iter().map(Flag::describe)).collect();
    flags.push(Description { long: "help", aliases: &[], short: None, word: "", help: "Print this help" });
    flags.sort_by_key(|flag| flag.long);
    text.push_str(&options_help(&flags));
    if !program.is_skopeo() {
        text.push_str("\nExamples:\n");
        for example in EXAMPLES {
            let _ = writeln!(text, "  {name} {example}");
        }
    }
    text
}

fn group_help(group: &Group, called: &str) -> String {
    let mut text = format!("{}\n\nUsage:\n  {called} [command]\n\nAvailable Commands:\n", group.about);
    let inner = within(group).map(|(inner, word)| (word, inner.about));
    let mut lines: Vec<_> = group.verbs.iter().map(|(word, verb)| (*word, verb.about())).chain(inner).collect();
    lines.sort();
    commands_help(&mut text, &lines);
    text
}

fn commands_help(text: &mut String, lines: &[(&str, &str)]) {
    let width = lines.iter().map(|(word, _)| word.len()).max().unwrap_or(0);
    for (word, about) in lines {
        let _ = writeln!(text, "  {word:width$} {about}");
    }
}

#[cfg(test)]
mod tests;
