//! `--mount`: `type=…,source=…,destination=…` and the options of each type, in Podman's notation.

use super::mounts::{Context, anonymous, bound, destination, ramfs, source, tmpfs};
use crate::container::config::{Mount, MountKind};
use ops::{Fault, Kind};

/// One `--mount` as its fields.
struct Fields<'a> {
    text: &'a str,
    kind: &'a str,
    source: Option<&'a str>,
    destination: Option<&'a str>,
    rest: Vec<(&'a str, Option<&'a str>)>,
}

/// The mounts that `text` asks for: one, or with `type=glob` one for each file that matches.
pub fn parse(text: &str, context: Context<'_>) -> Result<Vec<Mount>, Fault> {
    let fields = fields(text);
    Ok(vec![match fields.kind {
        "bind" => bind(&fields, context)?,
        "volume" => volume(&fields, context)?,
        "glob" => return glob(&fields, context),
        "image" => image(&fields, context)?,
        "devpts" => devpts(&fields)?,
        "tmpfs" => memory(&fields)?,
        "ramfs" => {
            fields.no_source()?;
            ramfs(fields.destination()?, &strings(&memory_options(&fields)?))?
        }
        "artifact" => {
            return Err(Fault::new(
                Kind::Unsupported,
                format!("mounts of type {:?} are not supported: this version of monopod has no artifacts", fields.kind),
            )
            .hint("use bind, volume, tmpfs, ramfs, image, devpts or glob"));
        }
        other => return Err(Fault::invalid(format!("invalid filesystem type {other:?}"))),
    }])
}

/// The pattern of a `type=glob` mount, which somebody must look up before.
pub fn pattern(text: &str) -> Option<&str> {
    let fields = fields(text);
    fields.source.filter(|_| fields.kind == "glob")
}

/// The image of a `type=image` mount, which somebody must look up before.
pub fn image_name(text: &str) -> Option<&str> {
    let fields = fields(text);
    fields.source.filter(|_| fields.kind == "image")
}

fn fields(text: &str) -> Fields<'_> {
    let mut fields = Fields { text, kind: "volume", source: None, destination: None, rest: Vec::new() };
    for part in text.split(',') {
        let (key, value) = part.split_once('=').map_or((part, None), |(k, v)| (k, Some(v)));
        match (key, value) {
            ("type", Some(value)) => fields.kind = value,
            ("source" | "src", Some(value)) => fields.source = Some(value),
            ("destination" | "dst" | "target", Some(value)) => fields.destination = Some(value),
            _ => fields.rest.push((key, value)),
        }
    }
    fields
}

impl Fields<'_> {
    fn destination(&self) -> Result<String, Fault> {
        let text = self
            .destination
            .ok_or_else(|| Fault::invalid(format!("invalid mount {:?}: must set volume destination", self.text)))?;
        destination(text)
    }

    fn switch(&self, value: Option<&str>) -> Result<bool, Fault> {
        match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Fault::invalid(format!("invalid mount {:?}: {other:?} is not a boolean", self.text))),
        }
    }

    fn no_source(&self) -> Result<(), Fault> {
        match self.source {
            None => Ok(()),
            Some(_) => Err(Fault::invalid(format!(
                "invalid mount {:?}: \"source\" option not supported for {:?} mount types",
                self.text, self.kind
            ))),
        }
    }

    /// Options as `-v` has them.
    fn options(&self) -> Result<Vec<String>, Fault> {
        let mut options = Vec::new();
        for (key, value) in &self.rest {
            let on = || self.switch(*value);
            match *key {
                "ro" | "readonly" => options.push(if on()? { "ro" } else { "rw" }.into()),
                "rw" => options.push(if on()? { "rw" } else { "ro" }.into()),
                "U" | "chown" => {
                    if on()? {
                        options.push("U".into());
                    }
                }
                "bind-propagation" => options.push(value.unwrap_or_default().into()),
                "bind-nonrecursive" => options.push(if on()? { "bind" } else { "rbind" }.into()),
                "no-dereference" => {
                    if on()? {
                        options.push("no-dereference".into());
                    }
                }
                "relabel" => options.push(if *value == Some("private") { "Z" } else { "z" }.into()),
                "subpath" | "volume-subpath" => options.push(format!("subpath={}", value.unwrap_or_default())),
                "volume-nocopy" => {
                    if on()? {
                        options.push("nocopy".into());
                    }
                }
                // Of Docker for macOS: what it asks for is so on Linux in any case.
                "consistency" => {}
                _ => options.push(value.map_or_else(|| (*key).to_owned(), |v| format!("{key}={v}"))),
            }
        }
        Ok(options)
    }
}

fn bind(fields: &Fields<'_>, context: Context<'_>) -> Result<Mount, Fault> {
    let from = fields
        .source
        .ok_or_else(|| Fault::invalid(format!("invalid mount {:?}: must set source for bind mounts", fields.text)))?;
    if !from.starts_with('/') {
        return Err(Fault::invalid(format!(
            "invalid mount {:?}: source {from:?} must be an absolute path",
            fields.text
        )));
    }
    let options = fields.options()?;
    bound(source(from)?, fields.destination()?, &strings(&options), context)
}

fn volume(fields: &Fields<'_>, context: Context<'_>) -> Result<Mount, Fault> {
    let to = fields.destination()?;
    let kind = match fields.source {
        Some(name) => MountKind::Volume { name: crate::volume::checked(name)?.to_owned(), anonymous: false },
        None => anonymous(to.clone(), context.id).kind,
    };
    bound(kind, to, &strings(&fields.options()?), context)
}

/// A mount for each file that matches: in the directory `destination`, or where it is on the host.
fn glob(fields: &Fields<'_>, context: Context<'_>) -> Result<Vec<Mount>, Fault> {
    let pattern = fields
        .source
        .ok_or_else(|| Fault::invalid(format!("invalid mount {:?}: must set source for glob mounts", fields.text)))?;
    let found = context.facts.globs.get(pattern).map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        return Err(Fault::new(Kind::NotFound, format!("no file paths matching glob {pattern:?}")));
    }
    let options = fields.options()?;
    found
        .iter()
        .map(|path| {
            let to = match fields.destination {
                Some(directory) => format!("{directory}/{}", path.rsplit('/').next().unwrap_or_default()),
                None => path.clone(),
            };
            bound(source(path)?, destination(&to)?, &strings(&options), context)
        })
        .collect()
}

fn image(fields: &Fields<'_>, context: Context<'_>) -> Result<Mount, Fault> {
    let name = fields
        .source
        .ok_or_else(|| Fault::invalid(format!("invalid mount {:?}: must set source for image mounts", fields.text)))?;
    let to = fields.destination()?;
    let mut writable = false;
    for (key, value) in &fields.rest {
        match *key {
            "rw" | "readwrite" => writable = fields.switch(*value)?,
            "ro" | "readonly" => writable = !fields.switch(*value)?,
            // An overlay's part could only be shown by a second mount, which the runtime specification has no word for.
            "subpath" if !matches!(value, None | Some("" | "/")) => {
                return Err(Fault::new(Kind::Unsupported, "a part of an image (subpath) cannot be mounted")
                    .hint("mount the whole"));
            }
            "subpath" => {}
            other => {
                return Err(Fault::invalid(format!("invalid mount option {other:?} of an image")).hint("use rw=true"));
            }
        }
    }
    let id =
        context.facts.images.get(name).ok_or_else(|| Fault::new(Kind::NotFound, format!("{name}: image not known")))?;
    let kind = MountKind::Image { name: name.to_owned(), id: id.clone() };
    let options = vec![if writable { "rw" } else { "ro" }.to_owned()];
    Ok(Mount::new(kind, to, options))
}

fn devpts(fields: &Fields<'_>) -> Result<Mount, Fault> {
    fields.no_source()?;
    let mut options: Vec<String> = ["newinstance", "ptmxmode=0666", "nosuid", "noexec"].map(String::from).to_vec();
    for (key, value) in &fields.rest {
        let number = value.unwrap_or_default();
        match *key {
            "uid" | "gid" | "max" if number.parse::<u32>().is_ok() => options.push(format!("{key}={number}")),
            "mode" if u32::from_str_radix(number, 8).is_ok() => options.push(format!("mode={number}")),
            other => {
                return Err(Fault::invalid(format!("invalid mount option {other:?} of devpts"))
                    .hint("use uid=, gid=, mode= or max="));
            }
        }
    }
    Ok(Mount::new(MountKind::Devpts, fields.destination()?, options))
}

fn memory(fields: &Fields<'_>) -> Result<Mount, Fault> {
    fields.no_source()?;
    let options = memory_options(fields)?;
    tmpfs(fields.destination.ok_or_else(|| fields.destination().unwrap_err())?, &strings(&options))
}

fn memory_options(fields: &Fields<'_>) -> Result<Vec<String>, Fault> {
    let mut options: Vec<String> = Vec::new();
    for (key, value) in &fields.rest {
        match *key {
            "ro" | "readonly" => options.push(if fields.switch(*value)? { "ro" } else { "rw" }.into()),
            "rw" => options.push(if fields.switch(*value)? { "rw" } else { "ro" }.into()),
            "tmpfs-size" => options.push(format!("size={}", value.unwrap_or_default())),
            "tmpfs-mode" => options.push(format!("mode={}", value.unwrap_or_default())),
            key => options.push(value.map_or_else(|| key.to_owned(), |v| format!("{key}={v}"))),
        }
    }
    Ok(options)
}

fn strings(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}
