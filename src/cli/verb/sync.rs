//! `sync`: Skopeo's verb for many images at once.

use super::Verb;
use super::copy::{Asked, SHARED};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{note, plain};
use crate::progress::Progress;
use ops::image::{Copy, CopyMany};

const FLAGS: &[Flag<Asked>] = &[
    value("append-suffix", "string", "What the names at the destination end with", |r, v| {
        r.sync.suffix = v.into();
        Ok(())
    }),
    short(
        'd',
        value("dest", "string", "What the destination is: docker or dir", |r, v| {
            r.sync.to = v.into();
            Ok(())
        }),
    ),
    switch("dry-run", "Say what would be copied, and copy nothing", |r, on| r.sync.dry_run = on),
    switch("keep-going", "Go on with the next image when one fails", |r, on| r.sync.keep_going = on),
    switch("scoped", "Names at the destination contain the whole name of the source", |r, on| r.sync.scoped = on),
    short(
        's',
        value("src", "string", "What the source is: docker, dir or yaml", |r, v| {
            r.sync.from = v.into();
            Ok(())
        }),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "skopeo sync",
    usage: "--src KIND --dest KIND SOURCE DESTINATION",
    about: "Copy many images from one place to another",
    examples: &[
        "--src docker --dest dir quay.io/podman/hello /media/usb",
        "-s dir -d docker /media/usb localhost:5000",
    ],
    interspersed: true,
    flags: &[SHARED, FLAGS],
    execute: |program, asked, arguments| {
        let [source, destination] = <[String; 2]>::try_from(arguments)
            .map_err(|other| Failure::new(format!("accepts 2 arg(s), received {}", other.len())))?;
        for (flag, given) in [("src", &asked.sync.from), ("dest", &asked.sync.to)] {
            if given.is_empty() {
                return Err(Failure::new(format!("a transport is needed: --{flag}")));
            }
        }
        let mut copy = Copy { source, destination, ..asked.copy };
        let before = program.globals.skopeo.clone();
        (copy.from.any_signature, copy.from.signature_policy) = (before.any_signature, before.policy);
        copy.platform = super::copy::platform(before.os, before.architecture, before.variant);
        let request = CopyMany { copy, ..asked.sync };
        let progress = Progress::new(false);
        let done = program.engine()?.sync_images(&request, &|step| progress.tell(step)).map_err(plain)?;
        for image in done.iter().filter(|_| request.dry_run) {
            note(&format!("Would have copied image from={} to={}", image.source, image.destination));
        }
        note(&match request.dry_run {
            true => format!("Would have synced {} images", done.len()),
            false => format!("Synced {} images", done.len()),
        });
        Ok(0)
    },
};
