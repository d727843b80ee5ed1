//! `tag` and `untag`: names of images.

use super::Verb;
use crate::failure::Failure;
use crate::program::{Program, plain};
use ops::image::{Tag, Untag};

/// `tag`.
pub const TAG: Verb<()> = Verb {
    path: "tag",
    usage: "IMAGE NAME [NAME...]",
    about: "Add an additional name to a local image",
    examples: &["0e3bbc2 fedora:latest", "httpd quay.io/me/httpd:v2"],
    interspersed: true,
    flags: &[],
    execute: |program: &Program, (), mut arguments| {
        if arguments.len() < 2 {
            return Err(Failure::new("tag takes an image and at least one name for it"));
        }
        let request = Tag { image: arguments.remove(0), names: arguments };
        program.engine()?.tag(&request).map_err(plain).map(|()| 0)
    },
};

/// `untag`.
pub const UNTAG: Verb<()> = Verb {
    path: "untag",
    usage: "IMAGE [NAME...]",
    about: "Remove names from a local image: those given, or all",
    examples: &["0e3bbc2", "imageName:latest otherImageName:latest"],
    interspersed: true,
    flags: &[],
    execute: |program: &Program, (), mut arguments| {
        if arguments.is_empty() {
            return Err(Failure::new("untag takes an image and, if not all are to go, its names"));
        }
        let request = Untag { image: arguments.remove(0), names: arguments };
        program.engine()?.untag(&request).map_err(plain).map(|()| 0)
    },
};
