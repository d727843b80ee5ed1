//! Which namespaces are new, shared or joined.

use crate::container::config::{Namespace, Namespaces};
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};
use std::path::PathBuf;
use types::{Id, IdMap, IdRange};
use usernet::options::Options;

/// Decides all of them but `network`, which was decided already.
pub fn namespaces(asked: &Create, network: Namespace, facts: &Facts) -> Result<Namespaces, Fault> {
    let (user, user_mode) = user(asked, facts)?;
    Ok(Namespaces {
        network,
        pid: one("pid", asked.pid.as_deref(), facts)?,
        ipc: match asked.ipc.as_deref() {
            // `shareable` lets others join; `none` is without /dev/shm, which nobody can tell from an unused one.
            Some("shareable") => Namespace::Private,
            // /dev/shm of the other container would have to come with it.
            Some(text) if text.starts_with("container:") || text.starts_with("ns:") => {
                return Err(Fault::new(Kind::Unsupported, format!("--ipc {text} is not supported yet"))
                    .hint("use private, shareable or host"));
            }
            other => one("ipc", other, facts)?,
        },
        uts: one("uts", asked.uts.as_deref(), facts)?,
        // Version 1 hierarchies have no private view that programs expect; Podman shares the host's there.
        cgroup: match asked.cgroupns.as_deref() {
            None | Some("") if facts.controllers.version != 2 => Namespace::Host,
            other => one("cgroupns", other, facts)?,
        },
        user,
        user_mode,
    })
}

/// The namespace that one of these flags asks for.
pub fn one(flag: &str, asked: Option<&str>, facts: &Facts) -> Result<Namespace, Fault> {
    match asked {
        None | Some("" | "private") => Ok(Namespace::Private),
        Some("host") => Ok(Namespace::Host),
        Some(text) => match text.split_once(':') {
            Some(("container", name)) => match facts.containers.get(name) {
                Some(id) => Ok(Namespace::Container(id.clone())),
                None => Err(Fault::new(
                    Kind::NotFound,
                    format!("no container with name or ID {name:?} found: no such container"),
                )),
            },
            Some(("ns", path)) if path.starts_with('/') => Ok(Namespace::Path(PathBuf::from(path))),
            _ => Err(Fault::invalid(format!("invalid value {text:?} for --{flag}: unrecognized namespace mode"))
                .hint("use private, host, container:NAME or ns:PATH")),
        },
    }
}

/// The private network that `--network` asks for, if it asks for one: behind the user's router, in the ways of pasta or of
/// slirp4netns.
pub fn private_network(asked: Option<&str>, facts: &Facts) -> Result<Option<Options>, Fault> {
    let asked = asked.unwrap_or_default();
    let (mode, text) = asked.split_once(':').unwrap_or((asked, ""));
    let options = match mode {
        "" | "private" | "pasta" => usernet::options::pasta(text),
        "slirp4netns" => usernet::options::slirp4netns(text),
        _ => return Ok(None),
    };
    if !facts.rootless {
        return match mode {
            "pasta" | "slirp4netns" => {
                Err(Fault::invalid(format!("{mode} networking is only supported for rootless mode"))
                    .hint("root's containers have networks of their own: leave --network out"))
            }
            _ => Ok(None),
        };
    }
    options.map(Some).map_err(|refused| Fault::invalid(refused.text).hint(refused.hint))
}

/// The host name: what was asked; the host's where the network or the UTS namespace is the host's; the short id.
pub fn hostname(asked: &Create, namespaces: &Namespaces, facts: &Facts, id: &Id) -> Result<String, Fault> {
    match &asked.hostname {
        Some(name) if !name.is_empty() => {
            // The kernel takes any bytes, and so does Podman; files that hold lines do not.
            if name.len() > 64 || name.chars().any(char::is_control) {
                return Err(Fault::invalid(format!(
                    "invalid hostname {name:?}: expected at most 64 bytes, and no control characters"
                )));
            }
            if namespaces.uts != Namespace::Private {
                return Err(Fault::invalid("cannot set hostname when running in the host UTS namespace"));
            }
            Ok(name.clone())
        }
        _ => Ok(match (&namespaces.uts, &namespaces.network) {
            (Namespace::Host, _) | (Namespace::Private, Namespace::Host) => facts.host_name.clone(),
            (Namespace::Private, _) => id.short().to_owned(),
            _ => String::new(),
        }),
    }
}

/// The user that a mode of the user namespace implies where none was named.
pub fn user_of(mode: &str, facts: &Facts) -> Result<String, Fault> {
    if mode.split(':').next() != Some("keep-id") {
        return Ok(String::new());
    }
    let (uid, gid, _) = keep_id(mode, facts)?;
    Ok(format!("{uid}:{gid}"))
}

fn user(asked: &Create, facts: &Facts) -> Result<(Option<IdMap>, String), Fault> {
    let Some(text) = asked.userns.as_deref().filter(|t| !t.is_empty() && *t != "host") else {
        return Ok((None, asked.userns.clone().unwrap_or_default()));
    };
    let map = match text.split(':').next().unwrap_or_default() {
        "auto" => super::automatic::map(text, asked.user.as_deref(), facts)?,
        "keep-id" if !facts.rootless => {
            return Err(Fault::invalid("keep-id is only supported in rootless mode"));
        }
        "keep-id" => {
            let (uid, gid, size) = keep_id(text, facts)?;
            let [uids, gids] = [&facts.id_map.uids, &facts.id_map.gids].map(|all| count(all).min(size));
            IdMap { uids: kept(uid, uids), gids: kept(gid, gids) }
        }
        "nomap" if !facts.rootless => return Err(Fault::invalid("nomap is only supported in rootless mode")),
        "nomap" if facts.single_id => return Err(single("nomap")),
        "nomap" => {
            let all = |ranges: &[IdRange]| vec![IdRange { container: 0, host: 1, size: count(ranges) - 1 }];
            IdMap { uids: all(&facts.id_map.uids), gids: all(&facts.id_map.gids) }
        }
        "container" | "ns" | "private" => {
            return Err(Fault::new(Kind::Unsupported, format!("--userns {text} is not supported yet"))
                .hint("use host, auto, keep-id or nomap"));
        }
        _ => {
            return Err(Fault::invalid(format!("unrecognized namespace mode {text:?} passed"))
                .hint("use host, auto, keep-id or nomap"));
        }
    };
    Ok((Some(map), text.to_owned()))
}

/// The refusal of what one id cannot do.
pub(super) fn single(mode: &str) -> Fault {
    Fault::new(Kind::Unsupported, format!("--userns {mode} needs more than one id"))
        .hint("install newuidmap and newgidmap, and give the user ranges in /etc/subuid and /etc/subgid")
}

fn count(ranges: &[IdRange]) -> u32 {
    ranges.iter().map(|r| r.size).sum()
}

/// The caller (0 in the engine's namespace) is seen as `id`; the others keep their order around it.
fn kept(id: u32, ids: u32) -> Vec<IdRange> {
    let below = id.min(ids - 1);
    let ranges = [
        IdRange { container: 0, host: 1, size: below },
        IdRange { container: id, host: 0, size: 1 },
        IdRange { container: id + 1, host: below + 1, size: ids - 1 - below },
    ];
    ranges.into_iter().filter(|r| r.size > 0).collect()
}

/// Who the caller is inside, and how many ids there are at most.
fn keep_id(text: &str, facts: &Facts) -> Result<(u32, u32, u32), Fault> {
    let (mut uid, mut gid, mut size) = (facts.uid, facts.gid, u32::MAX);
    for (key, value) in options(text)? {
        let number = || {
            value.parse::<u32>().ok().filter(|n| *n < u32::MAX - 1).ok_or_else(|| {
                Fault::invalid(format!("invalid value {value:?} for {key} of --userns keep-id: expected a number"))
            })
        };
        match key {
            "uid" => uid = number()?,
            "gid" => gid = number()?,
            "size" => size = number()?.max(1),
            _ => {
                return Err(Fault::invalid(format!("unknown option specified: {key:?}"))
                    .hint("keep-id takes uid=, gid= and size="));
            }
        }
    }
    Ok((uid, gid, size))
}

/// `KEY=VALUE,…` after the mode.
pub(super) fn options(text: &str) -> Result<Vec<(&str, &str)>, Fault> {
    match text.split_once(':') {
        None => Ok(Vec::new()),
        Some((_, options)) => options
            .split(',')
            .map(|o| {
                o.split_once('=')
                    .ok_or_else(|| Fault::invalid(format!("invalid option {o:?} of --userns: expected KEY=VALUE")))
            })
            .collect(),
    }
}
