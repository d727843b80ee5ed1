//! `port`: the published ports of containers.

use super::Verb;
use super::many::{ALIVE, Choice};
use crate::failure::Failure;
use crate::flag::{short, switch};
use crate::program::{plain, print};
use std::fmt::Write as _;
use types::port::{Published, expose};

/// The verb.
pub const VERB: Verb<Choice> = Verb {
    path: "port",
    usage: "CONTAINER [PORT[/PROTOCOL]]",
    about: "List the published ports of a container",
    examples: &["web", "web 80", "--all"],
    interspersed: true,
    flags: &[&[
        short('a', switch("all", "Of all containers that run", |r: &mut Choice, on| r.all = on)),
        short('l', switch("latest", "Of the container made last", |r, on| r.latest = on)),
    ]],
    execute: |program, choice, mut arguments| {
        let engine = program.engine()?;
        let named = !choice.all && !choice.latest;
        if arguments.is_empty() && named {
            return Err(Failure::new("you must supply a running container name or id"));
        }
        let wanted = match arguments.len() {
            0 => None,
            1 if named => None,
            _ if choice.all => return Err(Failure::new("no arguments are needed with --all")),
            _ => arguments.pop(),
        };
        let wanted = wanted.map(|text| expose(&text)).transpose()?;
        let names = choice.names(&engine, arguments, ALIVE)?;
        for name in &names {
            let ports = engine.ports(name).map_err(plain)?;
            let mut text = String::new();
            for (host, container, protocol) in ports.iter().flat_map(singles) {
                match wanted {
                    Some((port, _, p)) if (port, p) != (container, protocol) => {}
                    Some(_) => drop(writeln!(text, "{host}")),
                    None if choice.all => drop(writeln!(text, "{name:.12}\t{container}/{protocol} -> {host}")),
                    None => drop(writeln!(text, "{container}/{protocol} -> {host}")),
                }
            }
            if let (Some((port, _, protocol)), true) = (wanted, text.is_empty()) {
                return Err(Failure::new(format!("failed to find published port \"{port}/{protocol}\"")));
            }
            print(&text)?;
        }
        Ok(0)
    },
};

/// Each port of a range: where it is on the host, the container's, the protocol.
fn singles(port: &Published) -> impl Iterator<Item = (String, u16, types::port::Protocol)> {
    let (host_ip, first, container, protocol) = (port.host_ip, port.host, port.container, port.protocol);
    (0..port.count).map(move |n| {
        let ip = match host_ip {
            None => "0.0.0.0".to_owned(),
            Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            Some(ip) => ip.to_string(),
        };
        (format!("{ip}:{}", first.saturating_add(n)), container.saturating_add(n), protocol)
    })
}
