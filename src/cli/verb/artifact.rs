//! `artifact`: files that are kept, sent and brought under names of images.

use super::Verb;
use super::many::each;
use super::registry_flags::{self, HasAccess};
use super::signing_flags::{self, HasSigning};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, text};
use crate::format::{Column, Format, document, indented, table_of};
use crate::program::{Program, plain, print};
use crate::progress::Progress;
use ops::Kind;
use ops::artifact::{Add, Artifact, Extract, Pull, Push};
use ops::image::{Access, Signing};
use serde_json::{Value, json};

impl HasAccess for Add {
    fn access(&mut self) -> &mut Access {
        &mut self.access
    }
}

/// `artifact add`.
pub const ADD: Verb<Add> = Verb {
    path: "artifact add",
    usage: "NAME PATH [PATH...]",
    about: "Make an artifact of files",
    examples: &["quay.io/me/model:1 weights.bin", "--append quay.io/me/model:1 card.md"],
    interspersed: true,
    flags: &[&[
        text("annotation", "Note this beside the files (key=value)", |r: &mut Add, v| r.annotations.push(v.into())),
        short('a', switch("append", "Add the files to an artifact that exists", |r: &mut Add, on| r.append = on)),
        text("file-type", "Media type of the files", |r, v| r.file_kind = Some(v.into())),
        switch("replace", "Replace an artifact of that name", |r, on| r.replace = on),
        text("subject", "The image that it is about, which it is listed with in registries", |r, v| {
            r.subject = Some(v.into());
        }),
        registry_flags::tls_verify(),
        text("type", "Type of the artifact", |r, v| r.kind = Some(v.into())),
    ]],
    execute: |program, asked, mut arguments| {
        if arguments.len() < 2 {
            return Err(Failure::new(format!("requires at least 2 arg(s), only received {}", arguments.len())));
        }
        let name = arguments.remove(0);
        let files = arguments.into_iter().map(Into::into).collect();
        let digest = program.engine()?.add_artifact(&Add { name, files, ..asked }).map_err(plain)?;
        print(&format!("{}\n", digest.hex())).map(|()| 0)
    },
};

/// What the flags of `artifact pull` fill.
#[derive(Default)]
pub struct Pulling {
    access: Access,
    quiet: bool,
}

impl HasAccess for Pulling {
    fn access(&mut self) -> &mut Access {
        &mut self.access
    }
}

/// `artifact pull`.
pub const PULL: Verb<Pulling> = Verb {
    path: "artifact pull",
    usage: "ARTIFACT",
    about: "Pull an artifact from a registry",
    examples: &["quay.io/me/model:1"],
    interspersed: true,
    flags: &[&[
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        registry_flags::creds(),
        registry_flags::decryption_key(),
        short('q', switch("quiet", "Print only the digest", |r: &mut Pulling, on| r.quiet = on)),
        registry_flags::retry(),
        registry_flags::retry_delay(),
        registry_flags::signature_policy(),
        registry_flags::tls_verify(),
    ]],
    execute: |program, asked, arguments| {
        let source = one(arguments)?;
        let progress = Progress::new(asked.quiet);
        let request = Pull { source, access: asked.access };
        let digest = program.engine()?.pull_artifact(&request, &|step| progress.tell(step)).map_err(plain)?;
        print(&format!("{}\n", digest.hex())).map(|()| 0)
    },
};

/// What the flags of `artifact push` fill.
#[derive(Default)]
pub struct Pushing {
    push: Push,
    digest_file: Option<String>,
    quiet: bool,
}

impl HasAccess for Pushing {
    fn access(&mut self) -> &mut Access {
        &mut self.push.access
    }
}

impl HasSigning for Pushing {
    fn signing(&mut self) -> &mut Signing {
        &mut self.push.signing
    }
}

/// `artifact push`.
pub const PUSH: Verb<Pushing> = Verb {
    path: "artifact push",
    usage: "ARTIFACT [DESTINATION]",
    about: "Push an artifact to a registry",
    examples: &["quay.io/me/model:1", "quay.io/me/model:1 oci-archive:model.tar"],
    interspersed: true,
    flags: &[&[
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        registry_flags::creds(),
        text("digestfile", "Write the manifest's digest to this file", |r: &mut Pushing, v| {
            r.digest_file = Some(v.into())
        }),
        short('q', switch("quiet", "Print no progress", |r: &mut Pushing, on| r.quiet = on)),
        registry_flags::retry(),
        registry_flags::retry_delay(),
        signing_flags::by(),
        signing_flags::by_sigstore(),
        signing_flags::by_sigstore_parameters(),
        signing_flags::by_sequoia(),
        signing_flags::passphrase(),
        registry_flags::tls_verify(),
    ]],
    execute: |program, asked, arguments| {
        let (name, destination) = match arguments.as_slice() {
            [name] => (name.clone(), None),
            [name, destination] => (name.clone(), Some(destination.clone())),
            other => return Err(Failure::new(format!("accepts between 1 and 2 arg(s), received {}", other.len()))),
        };
        let progress = Progress::new(asked.quiet);
        let request = Push { name, destination, ..asked.push };
        let digest = program.engine()?.push_artifact(&request, &|step| progress.tell(step)).map_err(plain)?;
        if let Some(path) = asked.digest_file {
            std::fs::write(&path, digest.to_string())
                .map_err(|e| Failure::new(format!("cannot write the digest to {path:?}: {e}")))?;
        }
        Ok(0)
    },
};

/// What the flags of `artifact ls` fill.
#[derive(Default)]
pub struct Listed {
    format: Option<String>,
    no_heading: bool,
    whole: bool,
}

const COLUMNS: &[Column] = &[("Repository", "REPOSITORY"), ("Tag", "TAG"), ("Digest", "DIGEST"), ("Size", "SIZE")];

/// `artifact ls`.
pub const LIST: Verb<Listed> = Verb {
    path: "artifact ls",
    usage: "",
    about: "List artifacts",
    examples: &["", "--format '{{.Repository}}:{{.Tag}}'"],
    interspersed: true,
    flags: &[&[
        text("format", "Print as JSON, or with a Go template", |r: &mut Listed, v| r.format = Some(v.into())),
        switch("no-trunc", "Print whole digests", |r, on| r.whole = on),
        short('n', switch("noheading", "Print no headings", |r: &mut Listed, on| r.no_heading = on)),
    ]],
    execute: listed,
};

fn listed(program: &Program, asked: Listed, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("artifact ls takes no arguments"));
    }
    let format = asked.format.as_deref().map(|text| Format::parse("artifact ls", text)).transpose()?;
    let row = |artifact: &Artifact| {
        let (repository, tag) = artifact.name.rsplit_once(':').unwrap_or((&artifact.name, ""));
        let digest = if asked.whole { artifact.digest.hex() } else { artifact.digest.short() };
        [repository.to_owned(), tag.to_owned(), digest, types::size::human(artifact.size, 4)]
    };
    let rows: Vec<_> = program.engine()?.artifacts().map_err(plain)?.iter().map(row).collect();
    let text = match format {
        Some(format) => {
            let value =
                |row: &[String; 4]| COLUMNS.iter().zip(row).map(|((key, _), v)| (key.to_string(), json!(v))).collect();
            format.print(&rows.iter().map(value).collect::<Vec<Value>>(), COLUMNS, asked.no_heading)?
        }
        None => {
            let cells: Vec<_> = rows.iter().map(|row| row.to_vec()).collect();
            table_of(&COLUMNS.iter().map(|(_, title)| *title).collect::<Vec<_>>(), &cells, asked.no_heading)
        }
    };
    print(&text)?;
    Ok(0)
}

/// What the flags of `artifact inspect` fill.
#[derive(Default)]
pub struct Inspected {
    format: Option<String>,
}

/// `artifact inspect`.
pub const INSPECT: Verb<Inspected> = Verb {
    path: "artifact inspect",
    usage: "ARTIFACT",
    about: "Display what is known of an artifact",
    examples: &["quay.io/me/model:1"],
    interspersed: true,
    flags: &[&[short(
        'f',
        text("format", "Print with a Go template", |r: &mut Inspected, v| r.format = Some(v.into())),
    )]],
    execute: |program, asked, arguments| {
        let found = program.engine()?.artifact(&one(arguments)?).map_err(plain)?;
        let value = json!({"Manifest": found.manifest, "Name": found.name, "Digest": found.digest});
        print(&match asked.format.as_deref() {
            Some(template) if template.trim() != "json" => document("artifact inspect", template, &value)?,
            _ => format!("{}\n", indented(&value, b"     ")),
        })?;
        Ok(0)
    },
};

/// What the flags of `artifact rm` fill.
#[derive(Default)]
pub struct Removed {
    all: bool,
    ignore: bool,
}

/// `artifact rm`.
pub const REMOVE: Verb<Removed> = Verb {
    path: "artifact rm",
    usage: "ARTIFACT [ARTIFACT...]",
    about: "Remove artifacts",
    examples: &["quay.io/me/model:1", "--all"],
    interspersed: true,
    flags: &[&[
        short('a', switch("all", "Remove all artifacts", |r: &mut Removed, on| r.all = on)),
        short('i', switch("ignore", "One that does not exist is no error", |r: &mut Removed, on| r.ignore = on)),
    ]],
    execute: |program, asked, mut names| {
        if asked.all != names.is_empty() {
            return Err(Failure::new(match asked.all {
                true => "no arguments are needed with --all",
                false => "requires at least 1 arg(s), only received 0",
            }));
        }
        let engine = program.engine()?;
        if asked.all {
            names = engine.artifacts().map_err(plain)?.into_iter().map(|artifact| artifact.name).collect();
        }
        each(&names, |name| match engine.remove_artifact(name) {
            Ok(digest) => print(&format!("{}\n", digest.hex())),
            Err(fault) if fault.kind == Kind::NotFound && asked.ignore => Ok(()),
            Err(fault) => Err(plain(fault)),
        })
    },
};

const EXTRACT_FLAGS: &[Flag<Extract>] = &[
    text("digest", "Only the file of this digest", |r: &mut Extract, v| r.digest = Some(v.into())),
    text("title", "Only the file of this name", |r: &mut Extract, v| r.title = Some(v.into())),
];

/// `artifact extract`.
pub const EXTRACT: Verb<Extract> = Verb {
    path: "artifact extract",
    usage: "ARTIFACT PATH",
    about: "Write the files of an artifact to a directory, or one of them to a file",
    examples: &["quay.io/me/model:1 /srv/model", "--title card.md quay.io/me/model:1 card.md"],
    interspersed: true,
    flags: &[EXTRACT_FLAGS],
    execute: |program, asked, arguments| {
        let [name, to] = arguments.as_slice() else {
            return Err(Failure::new(format!("accepts 2 arg(s), received {}", arguments.len())));
        };
        let request = Extract { name: name.clone(), to: to.into(), ..asked };
        program.engine()?.extract_artifact(&request).map_err(plain)?;
        Ok(0)
    },
};

fn one(arguments: Vec<String>) -> Result<String, Failure> {
    match <[String; 1]>::try_from(arguments) {
        Ok([name]) => Ok(name),
        Err(other) => Err(Failure::new(format!("accepts 1 arg(s), received {}", other.len()))),
    }
}
