//! Manual pages, made from the table of verbs and flags: one for the program, and one for each command.

use crate::dispatch::within;
use crate::flag::{Description, Flag};
use crate::program::{GLOBALS, Globals};
use crate::verb::{AnyVerb, GROUPS, TOP};
use std::fmt::Write as _;

/// A page: the name of its file, and its text for man(7).
pub type Page = (String, String);

/// All pages.
///
/// `date` is what they say of when they were made, such as `2026-11-28`.
pub fn pages(version: &str, date: &str) -> Vec<Page> {
    let version = &Version { version, date };
    let mut pages = vec![("monopod.1".to_owned(), program(version))];
    for (word, verb) in TOP {
        pages.push((format!("monopod-{word}.1"), command(word, *verb, version)));
    }
    for group in GROUPS {
        let mut text = head(&page(group.name), group.about, version);
        section(&mut text, "SYNOPSIS");
        let _ = writeln!(text, ".B monopod {}\n.I command", group.name);
        section(&mut text, "COMMANDS");
        for (word, verb) in group.verbs {
            entry(&mut text, &format!("\\fB{}\\fR(1)", escape(&page(&format!("{} {word}", group.name)))), verb.about());
        }
        for (inner, _) in within(group) {
            entry(&mut text, &format!("\\fB{}\\fR(1)", escape(&page(inner.name))), inner.about);
        }
        pages.push((page(group.name) + ".1", text));
        for (word, verb) in group.verbs {
            let words = format!("{} {word}", group.name);
            pages.push((page(&words) + ".1", command(&words, *verb, version)));
        }
    }
    pages
}

/// What pages say of the program, and of themselves.
struct Version<'a> {
    version: &'a str,
    date: &'a str,
}

/// The name of the page of a command.
fn page(words: &str) -> String {
    format!("monopod-{}", words.replace(' ', "-"))
}

fn program(version: &Version<'_>) -> String {
    let mut text = head("monopod", "run containers, from one static file", version);
    section(&mut text, "SYNOPSIS");
    text.push_str(".B monopod\n[\\fIoptions\\fR] \\fIcommand\\fR\n");
    section(&mut text, "DESCRIPTION");
    text.push_str(
        "Runs containers from images, and keeps both. Its commands, flags, output and exit codes are Podman's. Called\n\
         \\fBpodman\\fR or \\fBdocker\\fR by a link it answers by that name; called \\fBrunc\\fR or \\fBcrun\\fR it is a runtime.\n",
    );
    section(&mut text, "OPTIONS");
    let globals: Vec<Description> = GLOBALS.iter().map(Flag::<Globals>::describe).collect();
    options(&mut text, &globals);
    section(&mut text, "COMMANDS");
    let groups = GROUPS.iter().map(|group| (group.name, group.about)).filter(|(name, _)| !name.contains(' '));
    let mut all: Vec<_> = TOP.iter().map(|(word, verb)| (*word, verb.about())).chain(groups).collect();
    all.sort_unstable();
    for (word, about) in all {
        entry(&mut text, &format!("\\fBmonopod-{}\\fR(1)", escape(word)), about);
    }
    section(&mut text, "EXIT STATUS");
    text.push_str("That of the container's command; 125 if monopod failed, 126 if the command cannot be run, 127 if there is none.\n");
    text
}

fn command(words: &str, verb: &dyn AnyVerb, version: &Version<'_>) -> String {
    let mut text = head(&page(words), verb.about(), version);
    section(&mut text, "SYNOPSIS");
    let flags = verb.flags();
    let options_word = if flags.is_empty() { "" } else { " [\\fIoptions\\fR]" };
    let _ = writeln!(text, "\\fBmonopod {}\\fR{options_word} {}", escape(words), escape(verb.usage()));
    if !flags.is_empty() {
        section(&mut text, "OPTIONS");
        options(&mut text, &flags);
    }
    if !verb.examples().is_empty() {
        section(&mut text, "EXAMPLES");
        text.push_str(".nf\n");
        for example in verb.examples() {
            let _ = writeln!(text, "{}", escape(&format!("$ monopod {words} {example}")));
        }
        text.push_str(".fi\n");
    }
    section(&mut text, "SEE ALSO");
    text.push_str("\\fBmonopod\\fR(1)\n");
    text
}

fn head(name: &str, about: &str, Version { version, date }: &Version<'_>) -> String {
    let title = name.to_uppercase();
    format!(
        ".TH \"{title}\" 1 \"{date}\" \"monopod {version}\" \"\"\n.SH NAME\n{} \\- {}\n",
        escape(name),
        escape(about)
    )
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, ".SH {title}");
}

fn options(text: &mut String, flags: &[Description]) {
    for flag in flags {
        let mut names: Vec<String> = flag.short.iter().map(|short| format!("\\fB\\-{short}\\fR")).collect();
        names.extend(
            std::iter::once(&flag.long)
                .chain(flag.aliases)
                .map(|long| format!("\\fB{}\\fR", escape(&format!("--{long}")))),
        );
        let word = if flag.word.is_empty() { String::new() } else { format!(" \\fI{}\\fR", escape(flag.word)) };
        entry(text, &format!("{}{word}", names.join(", ")), flag.help);
    }
}

fn entry(text: &mut String, term: &str, about: &str) {
    let _ = writeln!(text, ".TP\n{term}\n{}", escape(about));
}

/// Text that roff prints as it is: hyphens that can be copied, backslashes, and no line that it takes for a request.
fn escape(text: &str) -> String {
    let mut text = text.replace('\\', "\\e").replace('-', "\\-");
    // Roff reads no more than ASCII without being told (groff_char(7)).
    while let Some(other) = text.chars().find(|c| !c.is_ascii()) {
        text = text.replace(other, &format!("\\[u{:04X}]", u32::from(other)));
    }
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_each_command() {
        let pages = pages("1.2.3", "2026-11-28");
        let run = &pages.iter().find(|(name, _)| name == "monopod-run.1").unwrap().1;
        assert!(run.starts_with(".TH \"MONOPOD-RUN\" 1 \"2026-11-28\" \"monopod 1.2.3\""), "{run}");
        assert!(run.contains("\\fB\\-m\\fR, \\fB\\-\\-memory\\fR"), "{run}");
        assert!(pages.iter().any(|(name, _)| name == "monopod-container-exists.1"));
        for (name, text) in &pages {
            assert!(!name.contains(' ') && text.is_ascii(), "{name}");
            let requests = text.lines().filter(|line| line.starts_with('.'));
            for request in requests {
                assert!(
                    [".TH ", ".SH ", ".TP", ".nf", ".fi", ".B ", ".I "].iter().any(|known| request.starts_with(known)),
                    "{name}: {request}"
                );
            }
        }
    }
}
