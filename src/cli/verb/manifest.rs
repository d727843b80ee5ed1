//! `manifest`: lists of images for several platforms.

use super::Verb;
use super::many::each;
use super::registry_flags::{self, HasAccess};
use super::signing_flags::{self, HasSigning};
use crate::failure::Failure;
use crate::flag::{Flag, integer, list, short, switch, text, value};
use crate::program::{Program, plain, print};
use crate::progress::Progress;
use ops::image::{Access, Signing};
use ops::manifest::{Add, AddArtifact, Annotate, Create, Notes, Push};

impl HasAccess for Create {
    fn access(&mut self) -> &mut Access {
        &mut self.access
    }
}

/// What has notes about an image of a list.
trait HasNotes {
    /// Where they go.
    fn notes(&mut self) -> &mut Notes;
}

impl HasNotes for Annotate {
    fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }
}

const fn annotation<R: HasNotes>() -> Flag<R> {
    value("annotation", "KEY=VALUE", "Note this beside the image", |r: &mut R, v| {
        r.notes().annotations.push(v.into());
        Ok(())
    })
}

const fn arch<R: HasNotes>() -> Flag<R> {
    text("arch", "The image is for this architecture", |r: &mut R, v| r.notes().architecture = Some(v.into()))
}

const fn features<R: HasNotes>() -> Flag<R> {
    list("features", "The image needs these features of the processor", |r: &mut R, v| r.notes().features.push(v))
}

const fn os<R: HasNotes>() -> Flag<R> {
    text("os", "The image is for this operating system", |r: &mut R, v| r.notes().os = Some(v.into()))
}

const fn os_features<R: HasNotes>() -> Flag<R> {
    list("os-features", "The image needs these features of the operating system", |r: &mut R, v| {
        r.notes().os_features.push(v);
    })
}

const fn os_version<R: HasNotes>() -> Flag<R> {
    text("os-version", "The image needs this version of the operating system", |r: &mut R, v| {
        r.notes().os_version = Some(v.into());
    })
}

const fn variant<R: HasNotes>() -> Flag<R> {
    text("variant", "The image is for this variant of the architecture", |r: &mut R, v| {
        r.notes().variant = Some(v.into());
    })
}

/// `manifest create`.
pub const CREATE: Verb<Create> = Verb {
    path: "manifest create",
    usage: "LIST [IMAGE...]",
    about: "Create a list of images for several platforms",
    examples: &["mylist", "mylist docker://quay.io/me/app:amd64 docker://quay.io/me/app:arm64"],
    interspersed: true,
    flags: &[&[
        switch("all", "Of images that are for several platforms, add all", |r, on| r.all = on),
        short('a', switch("amend", "Add to the list if it exists", |r, on| r.amend = on)),
        value("annotation", "KEY=VALUE", "Note this in the list", |r: &mut Create, v| {
            r.annotations.push(v.into());
            Ok(())
        }),
        registry_flags::tls_verify(),
    ]],
    execute: |program, asked, mut arguments| {
        if arguments.is_empty() {
            return Err(Failure::new("requires at least 1 arg(s), only received 0"));
        }
        let request = Create { name: arguments.remove(0), images: arguments, ..asked };
        let id = program.engine()?.create_list(&request).map_err(plain)?;
        print(&format!("{}\n", id.hex())).map(|()| 0)
    },
};

/// What the flags of `manifest add` fill.
#[derive(Default)]
pub struct Adding {
    add: Add,
    /// The arguments are files.
    is_artifact: bool,
    artifact: AddArtifact,
}

impl HasAccess for Adding {
    fn access(&mut self) -> &mut Access {
        &mut self.add.access
    }
}

impl HasNotes for Adding {
    fn notes(&mut self) -> &mut Notes {
        &mut self.add.notes
    }
}

/// `manifest add`.
pub const ADD: Verb<Adding> = Verb {
    path: "manifest add",
    usage: "LIST IMAGE | LIST FILE...",
    about: "Add an image to a list, or an artifact that is made of files",
    examples: &[
        "mylist:v1 docker://fedora",
        "--all mylist docker://busybox",
        "--artifact --artifact-type application/spdx+json mylist sbom.json",
    ],
    interspersed: true,
    flags: &[&[
        switch("all", "Of an image that is for several platforms, add all", |r: &mut Adding, on| r.add.all = on),
        annotation(),
        arch(),
        switch("artifact", "Add an artifact that is made of these files", |r, on| r.is_artifact = on),
        text("artifact-config", "The artifact's configuration is in this file", |r, v| {
            r.artifact.configuration = Some(v.into());
        }),
        text("artifact-config-type", "Media type of the artifact's configuration", |r, v| {
            r.artifact.configuration_kind = Some(v.into());
        }),
        switch("artifact-exclude-titles", "The artifact's files have no names", |r, on| r.artifact.untitled = on),
        text("artifact-layer-type", "Media type of the artifact's files", |r, v| r.artifact.file_kind = Some(v.into())),
        text("artifact-subject", "The artifact is about this image", |r, v| r.artifact.subject = Some(v.into())),
        text("artifact-type", "Type of the artifact", |r, v| r.artifact.kind = Some(v.into())),
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        registry_flags::creds(),
        features(),
        os(),
        os_version(),
        registry_flags::tls_verify(),
        variant(),
    ]],
    execute: |program, asked, arguments| {
        let Adding { add, is_artifact, artifact } = asked;
        if !is_artifact {
            if artifact != AddArtifact::default() {
                return Err(Failure::new("--artifact-... can be used together with --artifact alone"));
            }
            let [list, image] = two(arguments)?;
            let id = program.engine()?.add_to_list(&Add { list, image, ..add }).map_err(plain)?;
            return print(&format!("{}\n", id.hex())).map(|()| 0);
        }
        if add.all {
            return Err(Failure::new("--all is about images, and cannot be used together with --artifact"));
        }
        let mut arguments = arguments.into_iter();
        let (Some(list), files) = (arguments.next(), arguments.map(Into::into).collect::<Vec<_>>()) else {
            return Err(Failure::new("requires at least 2 arg(s), only received 0"));
        };
        let request = AddArtifact { list, files, notes: add.notes, access: add.access, ..artifact };
        let id = program.engine()?.add_artifact_to_list(&request).map_err(plain)?;
        print(&format!("{}\n", id.hex())).map(|()| 0)
    },
};

/// What the flags of `manifest annotate` fill.
#[derive(Default)]
pub struct Annotation {
    annotate: Annotate,
    index: bool,
}

impl HasNotes for Annotation {
    fn notes(&mut self) -> &mut Notes {
        &mut self.annotate.notes
    }
}

/// `manifest annotate`.
pub const ANNOTATE: Verb<Annotation> = Verb {
    path: "manifest annotate",
    usage: "LIST IMAGE",
    about: "Change what a list notes of one of its images",
    examples: &["--annotation left=right mylist:v1 sha256:15352d97", "--index --annotation left=right mylist:v1"],
    interspersed: true,
    flags: &[&[
        annotation(),
        arch(),
        features(),
        switch("index", "Note annotations in the list itself", |r, on| r.index = on),
        os(),
        os_features(),
        os_version(),
        text("subject", "The list refers to this image", |r, v| r.annotate.subject = Some(v.into())),
        variant(),
    ]],
    execute: |program, asked, arguments| {
        let notes = &asked.annotate.notes;
        let of_image = Notes { annotations: Vec::new(), ..notes.clone() } != Notes::default();
        let (list, image) = match arguments.as_slice() {
            [list] if asked.index => (list.clone(), None),
            [list, image] if !asked.index => (list.clone(), Some(image.clone())),
            _ if asked.index => return Err(Failure::new("--index takes the name of the list alone")),
            other => return Err(Failure::new(format!("accepts 2 arg(s), received {}", other.len()))),
        };
        match (asked.index, &asked.annotate.subject) {
            (true, _) if of_image => {
                return Err(Failure::new("--index can be used with --annotation and --subject alone"));
            }
            (false, Some(_)) => return Err(Failure::new("--subject is of the list itself: use it with --index")),
            _ => {}
        }
        let request = Annotate { list, image, ..asked.annotate };
        let id = program.engine()?.annotate_list(&request).map_err(plain)?;
        print(&format!("{}\n", id.hex())).map(|()| 0)
    },
};

/// What the flags of `manifest inspect` fill.
#[derive(Default)]
pub struct Inspected(Access);

impl HasAccess for Inspected {
    fn access(&mut self) -> &mut Access {
        &mut self.0
    }
}

/// `manifest inspect`.
pub const INSPECT: Verb<Inspected> = Verb {
    path: "manifest inspect",
    usage: "LIST",
    about: "Print a list, or the manifest that a registry has",
    examples: &["mylist:v1", "docker://quay.io/podman/hello"],
    interspersed: true,
    flags: &[&[registry_flags::auth_file(), registry_flags::tls_verify()]],
    execute: |program, Inspected(access), arguments| {
        let [name] = one(arguments)?;
        let bytes = program.engine()?.inspect_list(&name, &access).map_err(plain)?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| Failure::new(format!("the manifest of {name}: {e}")))?;
        print(&format!("{}\n", crate::format::indented(&value, b"    "))).map(|()| 0)
    },
};

/// What the flags of `manifest push` fill.
#[derive(Default)]
pub struct Pushing {
    push: Push,
    digest_file: Option<String>,
    quiet: bool,
}

impl HasSigning for Pushing {
    fn signing(&mut self) -> &mut Signing {
        &mut self.push.signing
    }
}

impl HasAccess for Pushing {
    fn access(&mut self) -> &mut Access {
        &mut self.push.access
    }
}

/// `manifest push`.
pub const PUSH: Verb<Pushing> = Verb {
    path: "manifest push",
    usage: "LIST [DESTINATION]",
    about: "Push a list with its images to a registry, an archive or a directory",
    examples: &["mylist:v1 quay.io/me/image:v1", "--rm mylist oci-archive:image.tar"],
    interspersed: true,
    flags: &[&[
        list("add-compression", "Add each image in this compression, too: gzip, zstd, zstd:chunked", |r, v| {
            r.push.more_compressions.push(v);
        }),
        switch("all", "Push the images of the list, too (default true)", |r, on| r.push.all = Some(on)),
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        text("compression-format", "Compress layers by gzip, zstd or zstd:chunked", |r, v| {
            r.push.compression.format = Some(v.into());
        }),
        value("compression-level", "int", "Level of compression", |r, v| {
            r.push.compression.level = Some(integer(v)?);
            Ok(())
        }),
        registry_flags::creds(),
        text("digestfile", "Write the list's digest to this file", |r, v| r.digest_file = Some(v.into())),
        switch("force-compression", "Compress anew what is compressed in another way", |r, on| {
            r.push.compression.force = Some(on);
        }),
        short(
            'f',
            text("format", "Form of the manifests: oci or v2s2 (default: the one they have)", |r, v| {
                r.push.format = Some(v.into());
            }),
        ),
        short('q', switch("quiet", "Print no progress", |r, on| r.quiet = on)),
        signing_flags::remove(),
        signing_flags::by(),
        signing_flags::by_sigstore(),
        signing_flags::by_sigstore_parameters(),
        signing_flags::by_sequoia(),
        signing_flags::passphrase(),
        switch("rm", "Remove the list when it is pushed", |r, on| r.push.remove = on),
        registry_flags::tls_verify(),
    ]],
    execute: |program, asked, arguments| {
        let (list, destination) = match arguments.as_slice() {
            [list] => (list.clone(), None),
            [list, destination] => (list.clone(), Some(destination.clone())),
            other => return Err(Failure::new(format!("accepts between 1 and 2 arg(s), received {}", other.len()))),
        };
        let progress = Progress::new(asked.quiet);
        let request = Push { list, destination, ..asked.push };
        let pushed = program.engine()?.push_list(&request, &|step| progress.tell(step)).map_err(plain)?;
        if let Some(path) = asked.digest_file {
            std::fs::write(&path, pushed.digest.to_string())
                .map_err(|e| Failure::new(format!("cannot write the digest to {path:?}: {e}")))?;
        }
        Ok(0)
    },
};

/// `manifest remove`.
pub const REMOVE: Verb<()> = Verb {
    path: "manifest remove",
    usage: "LIST DIGEST",
    about: "Take an image out of a list",
    examples: &["mylist:v1 sha256:15352d97781ffdf357bf3459c037be3efac4133dc9070c2dce7eca7c05c3e736"],
    interspersed: true,
    flags: &[],
    execute: |program, (), arguments| {
        let [list, image] = two(arguments)?;
        let id = program.engine()?.remove_from_list(&list, &image).map_err(plain)?;
        print(&format!("{}\n", id.hex())).map(|()| 0)
    },
};

/// What the flags of `manifest rm` fill.
#[derive(Default)]
pub struct Removing {
    ignore: bool,
}

/// `manifest rm`.
pub const RM: Verb<Removing> = Verb {
    path: "manifest rm",
    usage: "LIST [LIST...]",
    about: "Remove lists; the images in them stay",
    examples: &["mylist:v1"],
    interspersed: true,
    flags: &[&[short('i', switch("ignore", "A list that does not exist is no error", |r, on| r.ignore = on))]],
    execute: |program, asked, names| {
        if names.is_empty() {
            return Err(Failure::new("requires at least 1 arg(s), only received 0"));
        }
        let engine = program.engine()?;
        each(&names, |name| match engine.remove_list(name, asked.ignore).map_err(plain)? {
            Some(list) => print(&format!("Untagged: {}\nDeleted: {}\n", list.name, list.id.hex())),
            None => Ok(()),
        })
    },
};

/// `manifest exists`.
pub const EXISTS: Verb<()> = Verb {
    path: "manifest exists",
    usage: "LIST",
    about: "Check if a list exists: exit code 0 or 1",
    examples: &["mylist"],
    interspersed: true,
    flags: &[],
    execute: |program: &Program, (), arguments| {
        let [name] = one(arguments)?;
        let exists = program.engine()?.list_exists(&name).map_err(plain)?;
        Ok(u8::from(!exists))
    },
};

fn one(arguments: Vec<String>) -> Result<[String; 1], Failure> {
    arguments.try_into().map_err(|other: Vec<_>| Failure::new(format!("accepts 1 arg(s), received {}", other.len())))
}

fn two(arguments: Vec<String>) -> Result<[String; 2], Failure> {
    arguments.try_into().map_err(|other: Vec<_>| Failure::new(format!("accepts 2 arg(s), received {}", other.len())))
}
