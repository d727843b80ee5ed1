//! `inspect`, `container inspect`, `image inspect` and `exists`.

use super::Verb;
use super::many::latest;
use super::registry_flags::{self, HasAccess};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::{document, indented};
use crate::program::{Program, plain, print, print_bytes};
use engine::Engine;
use ops::image::{Access, Examine, Examined};
use ops::{Fault, Kind};
use serde_json::Value;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    format: Option<String>,
    latest: bool,
    size: bool,
    kind: Option<String>,
    examine: Examine,
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
}

impl HasAccess for Asked {
    fn access(&mut self) -> &mut Access {
        &mut self.examine.access
    }
}

/// What counts for images that are not in the store.
const ELSEWHERE: &[Flag<Asked>] = &[
    registry_flags::auth_file(),
    registry_flags::cert_dir(),
    registry_flags::creds(),
    registry_flags::tls_verify(),
    switch("config", "Of docker://IMAGE and the like: print the configuration", |r, on| r.examine.configuration = on),
    short('n', switch("no-tags", "Of docker://IMAGE: without the list of tags", |r, on| r.examine.no_tags = on)),
    value("override-arch", "string", "Of docker://IMAGE and the like: for this architecture", |r, v| {
        r.architecture = Some(v.into());
        Ok(())
    }),
    value("override-os", "string", "Of docker://IMAGE and the like: for this operating system", |r, v| {
        r.os = Some(v.into());
        Ok(())
    }),
    value("override-variant", "string", "Of docker://IMAGE and the like: for this variant", |r, v| {
        r.variant = Some(v.into());
        Ok(())
    }),
    switch("referrers", "Of docker://IMAGE: list the signatures and artifacts that refer to it", |r, on| {
        r.examine.referrers = on;
    }),
    value("referrer-type", "string", "Of those, only artifacts of this type", |r, v| {
        r.examine.referrers = true;
        r.examine.referrer_kind = Some(v.into());
        Ok(())
    }),
    switch("raw", "Of docker://IMAGE and the like: print the manifest, or the configuration, as it is", |r, on| {
        r.examine.raw = on;
    }),
];

const FORMAT: Flag<Asked> = short(
    'f',
    value("format", "string", "Print with a Go template", |r: &mut Asked, v| {
        r.format = Some(v.into());
        Ok(())
    }),
);
const LATEST: Flag<Asked> =
    short('l', switch("latest", "Act on the container made last", |r: &mut Asked, on| r.latest = on));

const SIZE: Flag<Asked> =
    short('s', switch("size", "Tell the room that the container's files take", |r: &mut Asked, on| r.size = on));

const FLAGS: &[Flag<Asked>] = &[
    FORMAT,
    LATEST,
    SIZE,
    short(
        't',
        value("type", "string", "What the names are: container, image, network, volume, all", |r, v| {
            match v {
                "container" | "image" | "network" | "volume" | "all" => r.kind = Some(v.into()),
                _ => return Err(format!("{v:?} is not one of container, image, network, volume, all")),
            }
            Ok(())
        }),
    ),
];

/// `inspect`.
pub const VERB: Verb<Asked> = Verb {
    path: "inspect",
    usage: "CONTAINER|IMAGE [CONTAINER|IMAGE...]",
    about: "Display the configuration of a container or an image",
    examples: &["fedora", "--type container --format '{{.State.Status}}' web", "--raw docker://quay.io/podman/hello"],
    interspersed: true,
    flags: &[FLAGS, ELSEWHERE],
    execute: |program, asked, names| {
        let kind = asked.kind.clone().unwrap_or_else(|| "all".into());
        inspect(program, &asked, names, &kind)
    },
};

/// `container inspect`.
pub const CONTAINER: Verb<Asked> = Verb {
    path: "container inspect",
    usage: "CONTAINER [CONTAINER...]",
    about: "Display the configuration of a container",
    examples: &["myctr", "--format '{{.State.Pid}}' myctr"],
    interspersed: true,
    flags: &[&[FORMAT, LATEST, SIZE]],
    execute: |program, asked, names| inspect(program, &asked, names, "container"),
};

/// `image inspect`.
pub const IMAGE: Verb<Asked> = Verb {
    path: "image inspect",
    usage: "IMAGE [IMAGE...]",
    about: "Display the configuration of an image",
    examples: &["busybox", "--format '{{.Id}}' busybox"],
    interspersed: true,
    flags: &[&[FORMAT]],
    execute: |program, asked, names| inspect(program, &asked, names, "image"),
};

/// `skopeo inspect`.
pub const ELSEWHERE_ALONE: Verb<Asked> = Verb {
    path: "skopeo inspect",
    usage: "TRANSPORT:IMAGE",
    about: "Display what is known of an image where it is",
    examples: &["docker://quay.io/podman/hello", "--raw oci-archive:image.tar"],
    interspersed: true,
    flags: &[
        ELSEWHERE,
        &[
            FORMAT,
            registry_flags::daemon_host(),
            registry_flags::no_creds(),
            registry_flags::password(),
            registry_flags::retry_times(),
            registry_flags::username(),
        ],
    ],
    execute: |program, mut asked, names| {
        let before = program.globals.skopeo.clone();
        asked.os = asked.os.or(before.os);
        asked.architecture = asked.architecture.or(before.architecture);
        asked.variant = asked.variant.or(before.variant);
        (asked.examine.access.any_signature, asked.examine.access.signature_policy) =
            (before.any_signature, before.policy);
        elsewhere(&program.engine()?, &asked, &only(names)?)
    },
};

/// `container exists`.
pub const CONTAINER_EXISTS: Verb<Asked> = Verb {
    path: "container exists",
    usage: "CONTAINER",
    about: "Check if a container exists: exit code 0 or 1",
    examples: &["myctr"],
    interspersed: true,
    // Nobody else keeps containers in this store.
    flags: &[&[switch("external", "Also containers of other programs: there are none", |_, _| {})]],
    execute: |program, _, names| {
        let exists = program.engine()?.exists(&only(names)?).map_err(plain)?;
        Ok(u8::from(!exists))
    },
};

/// `image exists`.
pub const IMAGE_EXISTS: Verb<()> = Verb {
    path: "image exists",
    usage: "IMAGE",
    about: "Check if an image exists: exit code 0 or 1",
    examples: &["busybox"],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| {
        let exists = program.engine()?.image_exists(&only(names)?).map_err(plain)?;
        Ok(u8::from(!exists))
    },
};

fn only(names: Vec<String>) -> Result<String, Failure> {
    let received = names.len();
    let [name] =
        <[String; 1]>::try_from(names).map_err(|_| Failure::new(format!("accepts 1 arg(s), received {received}")))?;
    Ok(name)
}

fn inspect(program: &Program, asked: &Asked, mut names: Vec<String>, kind: &str) -> Result<u8, Failure> {
    if asked.size && !matches!(kind, "container" | "all") {
        return Err(Failure::new(format!("size is not supported for type {kind:?}")));
    }
    if asked.latest && (!names.is_empty() || !matches!(kind, "container" | "all")) {
        return Err(Failure::new("--latest and arguments cannot be used together"));
    }
    let engine = program.engine()?;
    if asked.latest {
        names.push(latest(&engine)?.id.to_string());
    }
    if names.is_empty() {
        return Err(Failure::new("no names or ids specified"));
    }
    let mut found = Vec::new();
    let mut messages = Vec::new();
    if let [name] = names.as_slice()
        && engine.has_transport(name)
    {
        return elsewhere(&engine, asked, name);
    }
    for name in &names {
        match look_up(&engine, name, kind, asked.size) {
            Ok(value) => found.push(value),
            Err(fault) => messages.push(fault.to_string()),
        }
    }
    match asked.format.as_deref() {
        Some(template) if template.trim() != "json" => {
            for value in &found {
                print(&document("inspect", template, value)?)?;
            }
        }
        _ => print(&format!("{}\n", indented(&found, b"     ")))?,
    }
    if messages.is_empty() { Ok(0) } else { Err(Failure { code: 125, messages, advice: String::new() }) }
}

/// An image that is not in the store.
fn elsewhere(engine: &Engine, asked: &Asked, name: &str) -> Result<u8, Failure> {
    let platform = super::copy::platform(asked.os.clone(), asked.architecture.clone(), asked.variant.clone());
    let request = Examine { source: name.into(), platform, ..asked.examine.clone() };
    match engine.examine_image(&request).map_err(plain)? {
        Examined::Raw(bytes) => print_bytes(&bytes)?,
        Examined::Described(value) => match asked.format.as_deref() {
            Some(template) if template.trim() != "json" => print(&document("inspect", template, &value)?)?,
            _ => print(&format!("{}\n", indented(&value, b"    ")))?,
        },
    }
    Ok(0)
}

/// A container of the name, or else an image, a network or a volume of it.
fn look_up(engine: &Engine, name: &str, kind: &str, size: bool) -> Result<Value, Fault> {
    type Look = fn(&Engine, &str, bool) -> Result<Value, Fault>;
    let ways: [(&str, Look); 4] = [
        ("container", |engine, name, size| engine.inspect_with(name, size)),
        ("image", |engine, name, _| engine.inspect_image(name)),
        ("network", |engine, name, _| engine.network_inspect(name)),
        ("volume", |engine, name, _| engine.volume(name).map(|volume| super::volume::object(&volume))),
    ];
    for (_, look) in ways.iter().filter(|(word, _)| kind == "all" || kind == *word) {
        match look(engine, name, size) {
            Err(fault) if fault.kind == Kind::NotFound => {}
            other => return other,
        }
    }
    Err(Fault::new(
        Kind::NotFound,
        match kind {
            "container" => format!("no such container {name:?}"),
            "image" => format!("{name}: image not known"),
            "network" => format!("network inspect: {name}: network not found"),
            "volume" => format!("no such volume {name:?}"),
            _ => format!("no such object: {name:?}"),
        },
    ))
}
