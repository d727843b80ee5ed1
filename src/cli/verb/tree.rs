//! `image tree`: the layers of an image, and the images that they are the top of.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, switch};
use crate::program::{Program, plain, print};
use ops::image::Tree;
use std::fmt::Write as _;
use types::Digest;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    what_requires: bool,
}

const FLAGS: &[Flag<Asked>] =
    &[switch("whatrequires", "Show the images that are built on this one", |r, on| r.what_requires = on)];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "image tree",
    usage: "IMAGE",
    about: "Print layer hierarchy of an image in a tree format",
    examples: &["docker.io/library/wordpress", "--whatrequires alpine"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [name] = arguments.as_slice() else {
        return Err(Failure::new(format!("accepts 1 arg(s), received {}", arguments.len())));
    };
    let tree = program.engine()?.image_tree(name).map_err(plain)?;
    print(&text(&tree, asked.what_requires)).map(|()| 0)
}

/// Four digits and no space.
fn size(bytes: u64) -> String {
    types::size::human(bytes, 4).replace(' ', "")
}

fn text(tree: &Tree, what_requires: bool) -> String {
    let names = |names: &[String]| format!("[{}]", names.join(" "));
    let mut text =
        format!("Image ID: {}\nTags:     {}\nSize:     {}\n", tree.id.short(), names(&tree.names), size(tree.size));
    let branches: Vec<(Digest, u64, &[String])> = match what_requires {
        true => tree.children.iter().map(|image| (image.id, image.size, image.names.as_slice())).collect(),
        false => tree.layers.iter().map(|layer| (layer.diff_id, layer.size, layer.top_of.as_slice())).collect(),
    };
    text.push_str(match (tree.layers.is_empty(), what_requires) {
        (true, _) => "No Image Layers\n",
        (false, true) => "Images\n",
        (false, false) => "Image Layers\n",
    });
    for (at, (id, bytes, top_of)) in branches.iter().enumerate() {
        let branch = if at + 1 == branches.len() { "└──" } else { "├──" };
        let _ = write!(text, "{branch} ID: {} Size: {}", id.short(), size(*bytes));
        if !top_of.is_empty() {
            let _ = write!(text, " Top Layer of: {}", names(top_of));
        }
        text.push('\n');
    }
    text
}
