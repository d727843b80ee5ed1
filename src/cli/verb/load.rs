//! `load`: all images of an archive.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain, print};
use crate::progress::Progress;
use ops::image::{Load, Loaded};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    load: Load,
    quiet: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short(
        'i',
        value("input", "string", "Read from this file, directory or http(s) address, not standard input", |r, v| {
            r.load.input = Some(v.into());
            Ok(())
        }),
    ),
    value("signature-policy", "path", "File that says which images are accepted", |r, v| {
        r.load.signature_policy = Some(v.into());
        Ok(())
    }),
    switch("no-blobs", super::registry_flags::NO_BLOBS, |r, on| r.load.no_blobs = Some(on)),
    short('q', switch("quiet", "Print nothing but the names", |r, on| r.quiet = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "load",
    usage: "",
    about: "Load images from a tar archive or an OCI directory",
    examples: &["-i image.tar", "< image.tar.gz"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new(format!("`{} load` takes no arguments", program.name)));
    }
    match &asked.load.input {
        Some(path) if path.starts_with("http:") || path.starts_with("https:") => {}
        Some(path) => {
            std::fs::metadata(path).map_err(|e| Failure::new(format!("stat {}: {}", path.display(), reason(&e))))?;
        }
        None if sys::terminal::is_terminal(rustix::stdio::stdin()) => {
            return Err(Failure::new("cannot read from terminal, use command-line redirection or the --input flag"));
        }
        None => {}
    }
    let progress = Progress::new(asked.quiet);
    let loaded = program.engine()?.load(&asked.load, &|step| progress.tell(step)).map_err(plain)?;
    print(&lines(&loaded))?;
    Ok(0)
}

/// The kernel's words without the number that Rust adds.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// What is said of images that were loaded.
pub fn lines(loaded: &[Loaded]) -> String {
    let mut text = String::new();
    for image in loaded {
        if image.names.is_empty() {
            text.push_str(&format!("Loaded image: {}\n", image.id));
        }
        for name in &image.names {
            text.push_str(&format!("Loaded image: {name}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Digest;

    #[test]
    fn a_line_for_each_name() {
        let id = Digest::of(b"");
        let loaded = [Loaded { id, names: vec!["a:1".into(), "b:2".into()] }, Loaded { id, names: Vec::new() }];
        assert_eq!(lines(&loaded), format!("Loaded image: a:1\nLoaded image: b:2\nLoaded image: {id}\n"));
    }
}
