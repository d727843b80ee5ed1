//! A flag is data: a row of a table that says how it is spelled, what it takes, what it is for, and how it fills the
//! request. From the rows of one verb come its parser and its help.
//!
//! Values are read as Podman's command line reads them (Go's pflag): `--flag=value`, `--flag value`, `-f value`,
//! `-fvalue`, `-f=value`; switches take a value only after `=`; short switches can be grouped; the last one wins.
//!
//! Must not know: what any verb does.

use crate::dispatch::distance;
use crate::failure::Failure;
use crate::surface;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;

/// One row of a verb's table. `R` is what the verb's flags fill.
pub struct Flag<R> {
    /// Long name without dashes.
    pub long: &'static str,
    /// Other long names.
    pub aliases: &'static [&'static str],
    /// Short name.
    pub short: Option<char>,
    /// What it takes, and where that goes.
    pub take: Take<R>,
    /// One line for people.
    pub help: &'static str,
}

/// What a flag takes. The words are what help shows.
pub enum Take<R> {
    /// Nothing, or `=true` or `=false`.
    Switch(fn(&mut R, bool)),
    /// A value; called for each time the flag is given.
    Value(&'static str, fn(&mut R, &str) -> Result<(), String>),
    /// The same, where no text is wrong.
    Text(fn(&mut R, &str)),
    /// Values separated by commas; called for each of them.
    List(&'static str, fn(&mut R, String)),
}

/// A row with a switch.
pub const fn switch<R>(long: &'static str, help: &'static str, set: fn(&mut R, bool)) -> Flag<R> {
    Flag { long, aliases: &[], short: None, take: Take::Switch(set), help }
}

/// A row with a value that any text can be.
pub const fn value<R>(
    long: &'static str,
    word: &'static str,
    help: &'static str,
    set: fn(&mut R, &str) -> Result<(), String>,
) -> Flag<R> {
    Flag { long, aliases: &[], short: None, take: Take::Value(word, set), help }
}

/// A row with a text, none of which is wrong.
pub const fn text<R>(long: &'static str, help: &'static str, set: fn(&mut R, &str)) -> Flag<R> {
    Flag { long, aliases: &[], short: None, take: Take::Text(set), help }
}

/// A row with values separated by commas.
pub const fn list<R>(long: &'static str, help: &'static str, set: fn(&mut R, String)) -> Flag<R> {
    Flag { long, aliases: &[], short: None, take: Take::List("strings", set), help }
}

/// The same row with a short name.
pub const fn short<R>(short: char, flag: Flag<R>) -> Flag<R> {
    Flag { short: Some(short), ..flag }
}

/// The same row with other long names.
pub const fn aliases<R>(aliases: &'static [&'static str], flag: Flag<R>) -> Flag<R> {
    Flag { aliases, ..flag }
}

impl<R> Flag<R> {
    /// The row without what it does, for help and tests.
    pub fn describe(&self) -> Description {
        let word = match self.take {
            Take::Switch(_) => "",
            Take::Text(_) => "string",
            Take::Value(word, _) | Take::List(word, _) => word,
        };
        Description { long: self.long, aliases: self.aliases, short: self.short, word, help: self.help }
    }

    /// True if one of `words` may be this flag: others need not be known to read them.
    fn may_be_in(&self, words: &[OsString]) -> bool {
        words.iter().any(|word| match word.as_encoded_bytes() {
            [b'-', b'-', name @ ..] => {
                let end = name.iter().position(|byte| *byte == b'=').unwrap_or(name.len());
                let name = &name[..end];
                name == self.long.as_bytes() || self.aliases.iter().any(|alias| name == alias.as_bytes())
            }
            [b'-', letters @ ..] => self.short.is_some_and(|short| letters.contains(&(short as u8))),
            _ => false,
        })
    }

    fn argument(&self) -> Arg {
        let arg = Arg::new(self.long).long(self.long).aliases(self.aliases).action(ArgAction::Append);
        let arg = match self.take {
            Take::Switch(_) => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            Take::Value(..) | Take::Text(..) | Take::List(..) => arg.num_args(1).allow_hyphen_values(true),
        };
        match self.short {
            Some(short) => arg.short(short),
            None => arg,
        }
    }

    fn fill(&self, request: &mut R, matches: &ArgMatches) -> Result<(), Failure> {
        for text in matches.get_many::<String>(self.long).into_iter().flatten() {
            let invalid = |why: String| {
                let name = self.short.map_or(format!("--{}", self.long), |short| format!("-{short}, --{}", self.long));
                Failure::new(format!("invalid argument {text:?} for {name:?} flag: {why}"))
            };
            match self.take {
                Take::Switch(set) => set(request, boolean(text).map_err(invalid)?),
                Take::Value(_, set) => set(request, text).map_err(invalid)?,
                Take::Text(set) => set(request, text),
                Take::List(_, set) => text.split(',').for_each(|part| set(request, part.to_owned())),
            }
        }
        Ok(())
    }
}

/// A row of any verb's table.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Long name without dashes.
    pub long: &'static str,
    /// Other long names.
    pub aliases: &'static [&'static str],
    /// Short name.
    pub short: Option<char>,
    /// What kind of value; empty for a switch.
    pub word: &'static str,
    /// One line for people.
    pub help: &'static str,
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A whole number, for a row's function.
pub fn integer<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("parsing {text:?}: expected a whole number in range"))
}

/// What was read from the words after a verb.
pub struct Parsed<R, G> {
    /// Filled by the verb's flags.
    pub request: R,
    /// Filled by the program's.
    pub globals: G,
    /// What is not a flag.
    pub arguments: Vec<String>,
    /// `--help` is among the flags.
    pub help: bool,
}

/// How the words after a verb are read.
pub struct Grammar<'a, R: 'static, G: 'static> {
    /// The canonical name of the command, under which [`surface`] knows it.
    pub path: &'a str,
    /// The command as the user called it, with the program: `podman container run`.
    pub called: &'a str,
    /// Flags may follow the first argument.
    pub interspersed: bool,
    /// The verb's flags.
    pub flags: &'a [&'a [Flag<R>]],
    /// The program's flags that every verb takes too.
    pub globals: &'a [&'a [Flag<G>]],
}

impl<R: Default, G> Grammar<'_, R, G> {
    /// Reads `words`; `globals` is what the flags before the verb filled.
    pub fn read(&self, globals: G, words: &[OsString]) -> Result<Parsed<R, G>, Failure> {
        let flags = || self.flags.iter().copied().flatten().filter(|flag| flag.may_be_in(words));
        let globals_here = || self.globals().filter(|flag| flag.may_be_in(words));
        let has_h = flags().any(|f| f.short == Some('h'));
        let switch = |arg: Arg| arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        let help = switch(Arg::new("help").long("help").action(ArgAction::Append));
        let command = Command::new("verb")
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .disable_colored_help(true)
            .args(flags().map(Flag::argument))
            .args(globals_here().map(Flag::argument))
            .arg(if has_h { help } else { help.short('h') })
            .arg(Arg::new("").num_args(0..).action(ArgAction::Append).trailing_var_arg(!self.interspersed));
        let see = |failure: Failure| failure.advice(format!("See '{} --help'", self.called));
        let matches = command.try_get_matches_from(words).map_err(|e| see(self.explain(&e, words)))?;
        let mut parsed = Parsed { request: R::default(), globals, arguments: Vec::new(), help: false };
        for flag in flags() {
            flag.fill(&mut parsed.request, &matches).map_err(see)?;
        }
        for flag in globals_here() {
            flag.fill(&mut parsed.globals, &matches).map_err(see)?;
        }
        parsed.help = matches.get_many::<String>("help").into_iter().flatten().any(|text| text != "false");
        parsed.arguments = matches.get_many::<String>("").into_iter().flatten().cloned().collect();
        Ok(parsed)
    }

    /// The program's flags that are not the verb's, too.
    fn globals(&self) -> impl Iterator<Item = &Flag<G>> {
        let own = |long: &str| self.flags.iter().copied().flatten().any(|flag| flag.long == long);
        self.globals.iter().copied().flatten().filter(move |flag| !own(flag.long))
    }

    /// Podman's words for what clap found wrong.
    fn explain(&self, error: &clap::Error, words: &[OsString]) -> Failure {
        match error.kind() {
            ErrorKind::UnknownArgument => match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(text)) => self.unknown(text.split('=').next().unwrap_or(text), words),
                _ => Failure::new("unknown flag"),
            },
            ErrorKind::InvalidUtf8 => {
                let word = words.iter().find(|w| w.to_str().is_none()).cloned().unwrap_or_default();
                Failure::new(format!("argument {word:?} is not valid UTF-8"))
            }
            // The one other mistake a command without constraints can meet: the value of the last word is missing.
            _ => {
                let last = words.last().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
                match last.chars().last() {
                    Some(short) if !last.starts_with("--") => {
                        Failure::new(format!("flag needs an argument: {short:?} in {last}"))
                    }
                    _ => Failure::new(format!("flag needs an argument: {}", last.trim_end_matches('='))),
                }
            }
        }
    }

    fn unknown(&self, flag: &str, words: &[OsString]) -> Failure {
        if let Some(long) = surface::option(self.path, flag) {
            let name = if flag == long { long.to_owned() } else { format!("{long} ({flag})") };
            return Failure::new(format!("{name} is not supported by monopod {} yet", env!("CARGO_PKG_VERSION")));
        }
        match flag.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
            Some(short) => {
                let is_group = |w: &&str| w.starts_with('-') && !w.starts_with("--") && w.contains(short);
                let word = words.iter().filter_map(|w| w.to_str()).find(is_group).unwrap_or(flag);
                Failure::new(format!("unknown shorthand flag: '{short}' in {word}"))
            }
            None => {
                let near = |known: &&str| {
                    let name = flag.trim_start_matches('-');
                    distance(known, name) <= if name.len() < 5 { 1 } else { 2 }
                };
                let names = self.flags.iter().copied().flatten().map(|flag| flag.long);
                let mut close: Vec<&str> =
                    names.chain(self.globals.iter().copied().flatten().map(|flag| flag.long)).filter(near).collect();
                close.sort_by_key(|known| distance(known, flag.trim_start_matches('-')));
                match close.first() {
                    Some(known) => Failure::new(format!("unknown flag: {flag}: did you mean --{known}?")),
                    None => Failure::new(format!("unknown flag: {flag}")),
                }
            }
        }
    }
}
