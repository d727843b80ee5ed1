//! Verbs of Podman's that say why they are not done here.

use super::Verb;
use crate::failure::Failure;

/// `container runlabel`.
pub const RUNLABEL: Verb<()> = Verb {
    path: "container runlabel",
    usage: "LABEL IMAGE [ARG...]",
    about: "Not done here: run the command that a label of an image names",
    examples: &[],
    interspersed: true,
    flags: &[],
    execute: |_, (), _| {
        Err(Failure::new(
            "runlabel is not done here: a label of an image is a command line that a stranger wrote, and it would run on the \
             host; read it with inspect --format '{{.Config.Labels}}' and run what you trust",
        ))
    },
};

/// `container checkpoint`.
pub const CHECKPOINT: Verb<()> = Verb {
    path: "container checkpoint",
    usage: "CONTAINER [CONTAINER...]",
    about: "Not done here: write the state of running processes to a file",
    examples: &[],
    interspersed: true,
    flags: &[],
    execute: |_, (), _| {
        Err(Failure::new(
            "checkpoint is not built into this version of monopod: the program that could do it, CRIU, is not asked; commit \
             keeps a container's files, and pause stops its processes where they are",
        ))
    },
};

/// `container restore`.
pub const RESTORE: Verb<()> = Verb {
    path: "container restore",
    usage: "CONTAINER [CONTAINER...]",
    about: "Not done here: go on from the written state of processes",
    examples: &[],
    interspersed: true,
    flags: &[],
    execute: |_, (), _| {
        Err(Failure::new(
            "restore is not built into this version of monopod: it writes no checkpoints, and reads none of others",
        ))
    },
};
