//! Flags as runc and crun read them: rows of data, `--flag value` and `--flag=value`, with one dash too.
//!
//! Must not know: what a flag is for.

use super::Program;
use super::failure::Failure;
use std::fmt::Write as _;

/// A flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Its name.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called in help; empty for a switch.
    pub value: &'static str,
    /// One line for people.
    pub help: &'static str,
}

impl Flag {
    /// A flag that is there or not.
    pub const fn switch(long: &'static str, help: &'static str) -> Flag {
        Flag { long, short: None, value: "", help }
    }

    /// A flag with a value.
    pub const fn with(long: &'static str, value: &'static str, help: &'static str) -> Flag {
        Flag { long, short: None, value, help }
    }

    /// The same with a letter.
    pub const fn letter(self, letter: char) -> Flag {
        Flag { short: Some(letter), ..self }
    }
}

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Anywhere.
    Mixed,
    /// Before the first argument: what follows belongs to another program.
    InOrder,
    /// Nowhere: all words are arguments.
    Unread,
}

/// A command.
pub(crate) struct Verb {
    /// Its name.
    pub name: &'static str,
    /// What follows the options in a usage line.
    pub usage: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// How many arguments it takes at least and at most.
    pub arguments: (usize, usize),
    /// Where its flags may stand.
    pub reading: Reading,
    /// It makes a process of a container.
    pub makes: bool,
    /// Does it; returns the exit code.
    pub execute: fn(&Program, &Words) -> Result<u8, Failure>,
}

impl Verb {
    /// Refuses too few or too many arguments.
    pub fn check(&self, words: &Words, program: &str) -> Result<(), Failure> {
        let (least, most) = self.arguments;
        if (least..=most).contains(&words.arguments.len()) {
            return Ok(());
        }
        Err(Failure::Arguments { usage: format!("{program} {} [options] {}", self.name, self.usage) })
    }

    /// Its help.
    pub fn help(&self, program: &str) -> String {
        let mut text = format!("{}\n\nUsage:\n  {program} {} [options] {}\n", self.about, self.name, self.usage);
        text.push_str("\nOptions:\n");
        text.push_str(&options(self.flags));
        text
    }
}

/// The lines of help for `flags`.
pub(crate) fn options(flags: &[Flag]) -> String {
    let name = |flag: &Flag| {
        let letter = flag.short.map_or("    ".into(), |short| format!("-{short}, "));
        format!("  {letter}--{}{}{}", flag.long, if flag.value.is_empty() { "" } else { " " }, flag.value)
    };
    let width = flags.iter().map(|flag| name(flag).len()).max().unwrap_or(0);
    flags.iter().fold(String::new(), |mut text, flag| {
        let _ = writeln!(text, "{:width$}   {}", name(flag), flag.help);
        text
    })
}

/// A command line's words, told apart.
#[derive(Debug, Default)]
pub(crate) struct Words {
    values: Vec<(&'static str, String)>,
    /// What is no flag.
    pub arguments: Vec<String>,
}

impl Words {
    /// As if `--help` had been given.
    pub fn asking_for_help() -> Words {
        Words { values: vec![("help", "true".into())], arguments: Vec::new() }
    }

    /// The last value of a flag.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.values.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// All values of a flag, in order.
    pub fn all(&self, long: &str) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn has(&self, long: &str) -> bool {
        self.value(long).is_some_and(|value| value == "true")
    }

    /// A flag's value as a number.
    pub fn number<N: std::str::FromStr>(&self, long: &'static str) -> Result<Option<N>, Failure> {
        let invalid = |value: &str| Failure::Value { flag: long, value: value.into(), expected: "a number" };
        self.value(long).map(|value| value.trim().parse().map_err(|_| invalid(value))).transpose()
    }

    /// Whether help is asked for.
    pub fn asks_for_help(&self) -> bool {
        self.has("help") || self.has("usage")
    }

    /// The first argument, a container.
    pub fn container(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }
}

/// What every command takes: help, by runc's letter and by crun's.
static ALWAYS: [Flag; 3] = [
    Flag::switch("help", "Print this help").letter('h'),
    Flag::switch("help", "Print this help").letter('?'),
    Flag::switch("usage", "Print this help"),
];

/// Reads `words`.
pub(crate) fn read(
    flags: &'static [Flag],
    words: &[String],
    reading: Reading,
    program: &str,
) -> Result<Words, Failure> {
    let mut read = Words::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if reading == Reading::Unread {
            match word.as_str() {
                "--help" | "-h" => read.values.push((ALWAYS[0].long, "true".into())),
                _ => read.arguments.push(word.clone()),
            }
            continue;
        }
        if word == "--" {
            read.arguments.extend(rest.cloned());
            break;
        }
        let Some(text) = word.strip_prefix('-').filter(|text| !text.is_empty()) else {
            read.arguments.push(word.clone());
            if reading == Reading::InOrder {
                read.arguments.extend(rest.cloned());
                break;
            }
            continue;
        };
        let unknown = || Failure::NoFlag { program: program.into(), flag: word.clone() };
        let text = text.strip_prefix('-').unwrap_or(text);
        let (name, mut value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let by_name = |name: &str| flags.iter().chain(&ALWAYS).find(|flag| flag.long == name);
        let by_letter = |letter: char| flags.iter().chain(&ALWAYS).find(|flag| flag.short == Some(letter));
        let mut letters = name.chars();
        let flag = match (by_name(name), word.starts_with("--"), letters.next()) {
            (Some(flag), _, _) => flag,
            (None, false, Some(letter)) => {
                let mut flag = by_letter(letter).ok_or_else(unknown)?;
                // `-it`, or a value that hangs on its letter: `-u1000`.
                while flag.value.is_empty() && !letters.as_str().is_empty() {
                    read.values.push((flag.long, "true".into()));
                    flag = letters.next().and_then(by_letter).ok_or_else(unknown)?;
                }
                if !letters.as_str().is_empty() {
                    let tail = &text[text.len() - letters.as_str().len() - value.as_ref().map_or(0, |v| v.len() + 1)..];
                    value = Some(tail.to_owned());
                }
                flag
            }
            _ => return Err(unknown()),
        };
        let value = match (value, flag.value.is_empty()) {
            (Some(value), true) => match value.as_str() {
                "true" | "1" | "t" | "T" => "true".to_owned(),
                "false" | "0" | "f" | "F" => "false".to_owned(),
                _ => return Err(Failure::Value { flag: flag.long, value, expected: "true or false" }),
            },
            (Some(value), false) => value,
            (None, true) => "true".into(),
            (None, false) => {
                rest.next().cloned().ok_or(Failure::Missing { program: program.into(), flag: flag.long })?
            }
        };
        read.values.push((flag.long, value));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch("detach", "").letter('d'),
        Flag::switch("tty", "").letter('t'),
        Flag::with("user", "UID", "").letter('u'),
        Flag::with("env", "K=V", "").letter('e'),
    ];

    fn words(line: &str, reading: Reading) -> Result<Words, Failure> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        read(FLAGS, &words, reading, "x")
    }

    #[test]
    fn all_spellings() {
        for line in
            ["--user 5 -d a b", "-u 5 --detach a b", "-u5 -dt a b", "a --user=5 -d b", "-user 5 -detach=true a b"]
        {
            let words = words(line, Reading::Mixed).unwrap();
            assert_eq!(words.value("user"), Some("5"), "{line}");
            assert!(words.has("detach"), "{line}");
            assert_eq!(words.arguments, ["a", "b"], "{line}");
        }
        let read = words("-e A=1 -eB=2 --env=C=3 --tty=false", Reading::Mixed).unwrap();
        assert_eq!(read.all("env").collect::<Vec<_>>(), ["A=1", "B=2", "C=3"]);
        assert!(!read.has("tty"));
    }

    #[test]
    fn a_program_s_own_flags_are_left_alone() {
        let read = words("-d id sh -u x --env", Reading::InOrder).unwrap();
        assert_eq!(read.arguments, ["id", "sh", "-u", "x", "--env"]);
        assert!(read.has("detach") && read.value("user").is_none());
        assert_eq!(words("-- -d", Reading::InOrder).unwrap().arguments, ["-d"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--nope", "-x", "-dx", "--user", "--detach=maybe", "---tty"] {
            assert!(words(line, Reading::Mixed).is_err(), "{line}");
        }
    }
}
