//! `top`: the processes of a container.

use super::Verb;
use super::many::latest;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch};
use crate::format::table_of;
use crate::program::{Program, plain, print};
use ops::container::Top;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    latest: bool,
}

const FLAGS: &[Flag<Asked>] = &[short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on))];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "top",
    usage: "CONTAINER [COLUMN...]",
    about: "Display the running processes of a container",
    examples: &["web", "web pid seccomp args %C", "web -eo user,pid,comm"],
    interspersed: false,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, mut arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    let name = match asked.latest {
        true => latest(&engine)?.id.to_string(),
        false if arguments.is_empty() => return Err(Failure::new("top needs the name of a container")),
        false => arguments.remove(0),
    };
    let mut columns = Vec::new();
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            None => columns.push(word),
            // ps(1)'s way to name columns; all processes of the container are always shown.
            Some(letters) if letters.ends_with('o') && letters.chars().all(|c| "aeAxo".contains(c)) => {
                columns.extend(words.next());
            }
            Some(_) => {
                return Err(Failure::new(format!(
                    "option {word:?} of ps(1) is not supported: name columns, or use -eo COLUMN,..."
                )));
            }
        }
    }
    let processes = engine.top(&Top { name, columns }).map_err(plain)?;
    let titles: Vec<&str> = processes.titles.iter().map(String::as_str).collect();
    print(&table_of(&titles, &processes.rows, false)).map(|()| 0)
}
