//! `rmi`: removes images and names of images.

use super::Verb;
use super::many::each;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch};
use crate::program::{Program, plain, print};
use ops::Kind;
use ops::image::{List, Remove};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    all: bool,
    force: bool,
    ignore: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Remove all images", |r, on| r.all = on)),
    short(
        'f',
        switch("force", "Remove images with all names and with the containers made of them", |r, on| r.force = on),
    ),
    short('i', switch("ignore", "An image that does not exist is no error", |r, on| r.ignore = on)),
    // Images know no parents, so that none goes with the last child.
    switch("no-prune", "Keep images without a name that this one was built on, as is always done", |_, _| {}),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "rmi",
    usage: "IMAGE [IMAGE...]",
    about: "Remove one or more images from local storage",
    examples: &["imageID", "--force --all"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    match (asked.all, arguments.is_empty()) {
        (true, false) => {
            return Err(Failure::new("when using the --all switch, you may not pass any images names or IDs"));
        }
        (false, true) => return Err(Failure::new("image name or ID must be specified")),
        _ => {}
    }
    let engine = program.engine()?;
    let mut names = arguments;
    if asked.all {
        for image in engine.images(&List::default()).map_err(plain)?.into_iter().filter(|image| !image.read_only) {
            // Each name is taken away by itself: the last takes the image along.
            let id = image.id.hex();
            names.extend(if image.names.is_empty() || asked.force { vec![id] } else { image.names });
        }
    }
    each(&names, |name| {
        let request =
            Remove { name: name.to_owned(), force: asked.force, ignore: asked.ignore || asked.all || asked.force };
        let removed = engine.remove_image(&request).map_err(|fault| {
            // podman-rmi(1), "Exit Status": 1 if there is no such image, 2 if it is in use.
            let code = match fault.kind {
                Kind::NotFound => 1,
                Kind::Conflict => 2,
                _ => 125,
            };
            Failure::from(fault).code(code)
        })?;
        let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}\n"));
        let deleted = removed.deleted.iter().map(|id| format!("Deleted: {}\n", id.hex()));
        print(&untagged.chain(deleted).collect::<String>())
    })
}
