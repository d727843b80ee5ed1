//! Which namespaces are new, shared or joined.

use super::idmap;
use crate::container::config::{Namespace, Namespaces};
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};
use std::path::PathBuf;
use types::{Id, IdMap, IdRange};
use usernet::options::Options;

/// Decides all of them but `network`, which was decided already.
pub fn namespaces(asked: &Create, network: Namespace, facts: &Facts) -> Result<Namespaces, Fault> {
    let (user, user_joined) = user(asked, facts)?;
    let user_mode = mode(asked);
    Ok(Namespaces {
        network,
        pid: one("pid", asked.pid.as_deref(), facts)?,
        ipc: match asked.ipc.as_deref() {
            // `shareable` lets others join; `none` is without /dev/shm.
            Some("shareable" | "none") => Namespace::Private,
            Some(text) if text.starts_with("container:") && facts.closed_ipc => {
                return Err(Fault::new(
                    Kind::Conflict,
                    format!(
                        "joining IPC of {text} is not allowed: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
                    ),
                ));
            }
            other => one("ipc", other, facts)?,
        },
        no_shared_memory: asked.ipc.as_deref() == Some("none"),
        closed_ipc: asked.ipc.as_deref() == Some("private"),
        uts: one("uts", asked.uts.as_deref(), facts)?,
        // Version 1 hierarchies have no private view that programs expect; Podman shares the host's there.
        cgroup: match asked.cgroupns.as_deref() {
            None | Some("") if facts.controllers.version != 2 => Namespace::Host,
            other => one("cgroupns", other, facts)?,
        },
        user,
        user_mode,
        user_joined,
    })
}

/// The namespace that one of these flags asks for.
pub fn one(flag: &str, asked: Option<&str>, facts: &Facts) -> Result<Namespace, Fault> {
    match asked {
        None | Some("" | "private") => Ok(Namespace::Private),
        Some("host") => Ok(Namespace::Host),
        Some(text) => match text.split_once(':') {
            Some(("container", name)) => facts.container(name).map(Namespace::Container),
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
    match mode {
        // As Podman has it.
        "pasta" if !facts.rootless => {
            return Err(Fault::invalid("pasta networking is only supported for rootless mode")
                .hint("root's containers have networks of their own: leave --network out, or use slirp4netns"));
        }
        "" | "private" if !facts.rootless => return Ok(None),
        _ => {}
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

/// How the user namespace was asked for; maps alone ask for a private one.
fn mode(asked: &Create) -> String {
    match asked.userns.as_deref() {
        None | Some("") if has_maps(asked) => "private".to_owned(),
        mode => mode.unwrap_or_default().to_owned(),
    }
}

fn has_maps(asked: &Create) -> bool {
    !asked.uid_maps.is_empty()
        || !asked.gid_maps.is_empty()
        || asked.sub_uid_name.is_some()
        || asked.sub_gid_name.is_some()
}

/// The maps of the user namespace, and whose it is if it is there already.
fn user(asked: &Create, facts: &Facts) -> Result<(Option<IdMap>, Option<Namespace>), Fault> {
    let mode = mode(asked);
    let (word, rest) = mode.split_once(':').unwrap_or((&mode, ""));
    if has_maps(asked) && mode != "private" {
        return Err(Fault::invalid(format!(
            "--userns={mode} and --uidmap, --gidmap, --subuidname or --subgidname cannot be set together"
        )));
    }
    let map = match word {
        "" | "host" => return Ok((None, None)),
        "auto" => super::automatic::map(&mode, asked.user.as_deref(), facts)?,
        "keep-id" if !facts.rootless => {
            return Err(Fault::invalid("keep-id is only supported in rootless mode"));
        }
        "keep-id" => {
            let (uid, gid, size) = keep_id(&mode, facts)?;
            let [uids, gids] = [&facts.id_map.uids, &facts.id_map.gids].map(|all| count(all).min(size));
            IdMap { uids: kept(uid, uids), gids: kept(gid, gids) }
        }
        "nomap" if !facts.rootless => return Err(Fault::invalid("nomap is only supported in rootless mode")),
        "nomap" if facts.single_id => return Err(single("nomap")),
        "nomap" => {
            let all = |ranges: &[IdRange]| vec![IdRange { container: 0, host: 1, size: count(ranges) - 1 }];
            IdMap { uids: all(&facts.id_map.uids), gids: all(&facts.id_map.gids) }
        }
        "private" => private(asked, facts)?,
        "container" | "ns" if !rest.is_empty() => {
            let joined = facts
                .joined_user
                .as_ref()
                .ok_or_else(|| Fault::new(Kind::NotFound, format!("--userns {mode}: there is no such namespace")))?;
            let space = match &joined.container {
                Some(id) => Namespace::Container(id.clone()),
                None => Namespace::Path(PathBuf::from(rest)),
            };
            // One that shares the engine's brings no other.
            return Ok((joined.map.clone(), joined.map.is_some().then_some(space)));
        }
        _ => {
            return Err(Fault::invalid(format!("unrecognized namespace mode {mode:?} passed"))
                .hint("use host, auto, keep-id, nomap, private, container:NAME or ns:PATH"));
        }
    };
    Ok((Some(map), None))
}

/// The maps of `--uidmap`, `--gidmap`, `--subuidname` and `--subgidname`. Where only one kind is said, it holds for the other.
fn private(asked: &Create, facts: &Facts) -> Result<IdMap, Fault> {
    if !has_maps(asked) {
        return Err(Fault::invalid("must provide at least one UID or GID mapping to configure a user namespace")
            .hint("use --uidmap and --gidmap, or --userns auto"));
    }
    let named = asked.sub_uid_name.is_some() || asked.sub_gid_name.is_some();
    if named && !(asked.uid_maps.is_empty() && asked.gid_maps.is_empty()) {
        return Err(Fault::invalid("--uidmap and --gidmap cannot be used with --subuidname and --subgidname"));
    }
    if named {
        let inside = |ranges: &[IdRange], engine: &[IdRange], what: &str| -> Result<Vec<IdRange>, Fault> {
            let mut found = Vec::new();
            for range in ranges {
                let mapped = match engine.is_empty() {
                    true => Some(vec![*range]),
                    false => idmap::within(range.container, range.host, range.size, engine),
                };
                found.extend(mapped.ok_or_else(|| {
                    Fault::invalid(format!("the ids that {what} names are not those of the user who asks"))
                        .hint("run as root, or use --uidmap and --gidmap")
                })?);
            }
            Ok(found)
        };
        return Ok(IdMap {
            uids: inside(&facts.sub_uids, &facts.id_map.uids, "--subuidname")?,
            gids: inside(&facts.sub_gids, &facts.id_map.gids, "--subgidname")?,
        });
    }
    let usual = |engine: &[IdRange]| {
        let size = if engine.is_empty() { u32::MAX } else { count(engine) };
        vec![IdRange { container: 0, host: 0, size }]
    };
    let (uids, gids) = (&facts.id_map.uids, &facts.id_map.gids);
    let users = |texts: &[String]| idmap::parse(texts, 'u', uids, &usual(uids));
    let groups = |texts: &[String]| idmap::parse(texts, 'g', gids, &usual(gids));
    let (map, of_groups) = users(&asked.uid_maps)?;
    let (more, of_users) = groups(&asked.gid_maps)?;
    let map = if asked.uid_maps.is_empty() { users(&of_users)?.0 } else { map };
    let more = if asked.gid_maps.is_empty() { groups(&of_groups)?.0 } else { more };
    for (flag, ranges, engine) in [("--uidmap", &map, uids), ("--gidmap", &more, gids)] {
        let all = u64::from(count(engine));
        if !engine.is_empty() && ranges.iter().any(|r| u64::from(r.host) + u64::from(r.size) > all) {
            return Err(Fault::invalid(format!("{flag}: only {all} ids are there, from 0 on"))
                .hint("give the user more in /etc/subuid and /etc/subgid"));
        }
        if ranges.is_empty() {
            return Err(Fault::invalid(format!("{flag}: no id is mapped")));
        }
    }
    Ok(IdMap { uids: map, gids: more })
}

/// The refusal of what one id cannot do.
pub(super) fn single(mode: &str) -> Fault {
    Fault::new(Kind::Unsupported, format!("--userns {mode} needs more than one id"))
        .hint(
            "install newuidmap and newgidmap, and give the user ranges in /etc/subuid and /etc/subgid; a store that was made with one \
             id keeps to it: choose another with --root, or begin anew with \"system reset\"",
        )
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
