//! `image scp`: images to and from other machines.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, text};
use crate::program::{plain, print};
use crate::progress::Progress;
use ops::image::SecureCopy;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    copy: SecureCopy,
    quiet: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    text("format", "How it is sent: oci-archive (default), docker-archive", |r: &mut Asked, v| {
        r.copy.format = Some(v.into())
    }),
    short('q', switch("quiet", "Print no progress", |r: &mut Asked, on| r.quiet = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "image scp",
    usage: "[HOST::]IMAGE [HOST::]",
    about: "Copy an image to, from or between machines with monopod, through ssh",
    examples: &["busybox me@server::", "me@server::busybox", "one::busybox two::"],
    interspersed: true,
    flags: &[FLAGS],
    execute: |program, asked, arguments| {
        let (source, destination) = match arguments.as_slice() {
            [source] => (source.clone(), None),
            [source, destination] => (source.clone(), Some(destination.clone())),
            other => return Err(Failure::new(format!("accepts between 1 and 2 arg(s), received {}", other.len()))),
        };
        let request = SecureCopy { source, destination, ..asked.copy };
        let progress = Progress::new(asked.quiet);
        let loaded = program.engine()?.secure_copy(&request, &|step| progress.tell(step)).map_err(plain)?;
        print(&super::load::lines(&loaded))?;
        Ok(0)
    },
};
