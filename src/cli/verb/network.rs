//! `network`: all its verbs.

use super::Verb;
use super::many::each;
use crate::failure::Failure;
use crate::flag::{integer, list, short, switch, text, value};
use crate::format::{Column, Format, document, indented, table_of};
use crate::program::{Program, plain, print};
use ops::network::{Connect, Create, Update};
use ops::{Fault, Kind};
use serde_json::{Map, Value};

/// `network create`.
pub const CREATE: Verb<Create> = Verb {
    path: "network create",
    usage: "[NAME]",
    about: "Create a network",
    examples: &[
        "podman1",
        "--subnet 192.168.55.0/24 --gateway 192.168.55.3 --ip-range 192.168.55.128/25 lan",
        "--internal --ipv6 back",
    ],
    interspersed: true,
    flags: &[&[
        switch("disable-dns", "Do not answer for names of its containers", |r: &mut Create, on| r.disable_dns = on),
        list("dns", "Servers for names of others", |r, v| r.servers.push(v)),
        short('d', text("driver", "Driver: bridge, macvlan, ipvlan", |r, v| r.driver = v.into())),
        text("gateway", "The host's address in the subnet", |r, v| r.gateways.push(v.into())),
        switch("ignore", "A network of that name is no error", |r, on| r.ignore = on),
        text("interface-name", "Name of the bridge; of the host's device for macvlan and ipvlan", |r, v| {
            r.interface = v.into()
        }),
        switch("internal", "Leads nowhere but to its own containers", |r, on| r.internal = on),
        text("ip-range", "Part of the subnet that containers get addresses of (address/bits or first-last)", |r, v| {
            r.ranges.push(v.into())
        }),
        text("ipam-driver", "Where addresses come from: host-local, dhcp, none", |r, v| r.ipam_driver = v.into()),
        switch("ipv6", "With IPv6", |r, on| r.ipv6 = on),
        text("label", "Set a label (key=value)", |r, v| r.labels.push(v.into())),
        short(
            'o',
            text(
                "opt",
                "Options of the driver: mtu=, metric=, isolate=, vlan=, vrf=, mode=, parent=, bclim=, …",
                |r, v| r.options.push(v.into()),
            ),
        ),
        text("route", "Route of the containers (destination,gateway[,metric])", |r, v| r.routes.push(v.into())),
        text("subnet", "Subnet (address/bits)", |r, v| r.subnets.push(v.into())),
    ]],
    execute: |program, mut request, arguments| {
        match arguments.as_slice() {
            [] => {}
            [name] => request.name = Some(name.clone()),
            _ => return Err(Failure::new(format!("accepts at most 1 arg(s), received {}", arguments.len()))),
        }
        let name = program.engine()?.network_create(&request).map_err(plain)?;
        print(&format!("{name}\n"))?;
        Ok(0)
    },
};

/// What the flags of `network ls` and `network inspect` fill.
#[derive(Default)]
pub struct Shown {
    filters: Vec<String>,
    format: Option<String>,
    full: bool,
    no_heading: bool,
    quiet: bool,
}

const COLUMNS: &[Column] = &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Labels", "LABELS")];

/// `network ls`.
pub const LIST: Verb<Shown> = Verb {
    path: "network ls",
    usage: "",
    about: "List networks",
    examples: &["", "--format '{{.Name}} {{.Driver}}'"],
    interspersed: true,
    flags: &[&[
        short(
            'f',
            list("filter", "Show the networks that these conditions choose", |r: &mut Shown, v| r.filters.push(v)),
        ),
        text("format", "Print as JSON, or with a Go template", |r, v| r.format = Some(v.into())),
        switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
        short('n', switch("noheading", "Print no headings", |r, on| r.no_heading = on)),
        short('q', switch("quiet", "Print only names", |r, on| r.quiet = on)),
    ]],
    execute: |program, asked, _| {
        let networks = program.engine()?.network_list(&asked.filters).map_err(plain)?;
        let id = |n: &Value| {
            let id = n["id"].as_str().unwrap_or_default();
            if asked.full { id.to_owned() } else { id.chars().take(12).collect() }
        };
        let word = |n: &Value, key: &str| n[key].as_str().unwrap_or_default().to_owned();
        let text = match &asked.format {
            _ if asked.quiet => networks.iter().map(|n| word(n, "name") + "\n").collect(),
            Some(format) => match Format::parse("network ls", format)? {
                format @ Format::Json => format.print(&networks, COLUMNS, false)?,
                format => {
                    let rows: Vec<Value> = networks
                        .iter()
                        .map(|n| {
                            let mut row = fields(n);
                            row["ID"] = id(n).into();
                            let labels = n["labels"].as_object().cloned().unwrap_or_default();
                            let words: Vec<String> =
                                labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
                            row["Labels"] = words.join(",").into();
                            row
                        })
                        .collect();
                    format.print(&rows, COLUMNS, asked.no_heading)?
                }
            },
            None => {
                let rows: Vec<_> = networks.iter().map(|n| vec![id(n), word(n, "name"), word(n, "driver")]).collect();
                table_of(&["NETWORK ID", "NAME", "DRIVER"], &rows, asked.no_heading)
            }
        };
        print(&text)?;
        Ok(0)
    },
};

/// `network inspect`.
pub const INSPECT: Verb<Shown> = Verb {
    path: "network inspect",
    usage: "NETWORK [NETWORK...]",
    about: "Display the definition of networks",
    examples: &["podman", "--format '{{.Subnets}}' lan"],
    interspersed: true,
    flags: &[&[short('f', text("format", "Print with a Go template", |r: &mut Shown, v| r.format = Some(v.into())))]],
    execute: |program, asked, names| {
        need(&names)?;
        let engine = program.engine()?;
        let (mut found, mut messages) = (Vec::new(), Vec::new());
        for name in &names {
            match engine.network_inspect(name) {
                Ok(network) => found.push(network),
                Err(fault) => messages.push(fault.to_string()),
            }
        }
        match asked.format.as_deref() {
            Some(template) if template.trim() != "json" => {
                for network in &found {
                    print(&document("network inspect", template, &fields(network))?)?;
                }
            }
            _ => print(&format!("{}\n", indented(&found, b"     ")))?,
        }
        if messages.is_empty() { Ok(0) } else { Err(Failure { code: 125, messages, advice: String::new() }) }
    },
};

/// The document under the names that Go templates have for its parts: `dns_enabled` is `DNSEnabled`.
fn fields(network: &Value) -> Value {
    match network {
        Value::Object(map) => {
            let mut all: Map<String, Value> = map.iter().map(|(k, v)| (go_name(k), fields_below(k, v))).collect();
            for (name, empty) in [("Labels", Value::Object(Map::new())), ("Subnets", Value::Array(Vec::new()))] {
                all.entry(name).or_insert(empty);
            }
            Value::Object(all)
        }
        other => other.clone(),
    }
}

fn fields_below(key: &str, value: &Value) -> Value {
    let renamed = |map: &Map<String, Value>| map.iter().map(|(k, v)| (go_name(k), fields_below(k, v))).collect();
    match (key, value) {
        ("subnets" | "routes", Value::Array(list)) => list.iter().map(|v| fields_below("lease_range", v)).collect(),
        ("lease_range", Value::Object(map)) => Value::Object(renamed(map)),
        _ => value.clone(),
    }
}

fn go_name(key: &str) -> String {
    key.split('_')
        .map(|word| match word {
            "id" | "dns" | "ip" | "ipam" => word.to_uppercase(),
            "ipv6" => "IPv6".into(),
            _ => word[..1].to_uppercase() + &word[1..],
        })
        .collect()
}

fn need(names: &[String]) -> Result<(), Failure> {
    if names.is_empty() { Err(Failure::new("requires at least 1 arg(s), only received 0")) } else { Ok(()) }
}

/// `network exists`.
pub const EXISTS: Verb<()> = Verb {
    path: "network exists",
    usage: "NETWORK",
    about: "Check if a network exists: exit code 0 or 1",
    examples: &["lan"],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| match names.as_slice() {
        [name] => Ok(u8::from(!program.engine()?.network_exists(name).map_err(plain)?)),
        _ => Err(Failure::new(format!("accepts 1 arg(s), received {}", names.len()))),
    },
};

/// What the flags of `network rm` fill.
#[derive(Default)]
pub struct Removal {
    force: bool,
    timeout: Option<u32>,
}

/// `network rm`.
pub const REMOVE: Verb<Removal> = Verb {
    path: "network rm",
    usage: "NETWORK [NETWORK...]",
    about: "Remove networks",
    examples: &["lan", "-f lan"],
    interspersed: true,
    flags: &[&[
        short('f', switch("force", "Remove the containers in it too", |r: &mut Removal, on| r.force = on)),
        short(
            't',
            value("time", "uint", "Seconds between the stop signal and SIGKILL", |r, v| {
                r.timeout = Some(integer(v)?);
                Ok(())
            }),
        ),
    ]],
    execute: |program, asked, names| {
        need(&names)?;
        let engine = program.engine()?;
        each(&names, |name| match engine.network_remove(name, asked.force, asked.timeout) {
            Ok(()) => print(&format!("{name}\n")),
            Err(fault) if asked.force && fault.kind == Kind::NotFound => Ok(()),
            Err(fault) => Err(removal_failure(fault)),
        })
    },
};

/// podman-network-rm(1), "Exit Status": 1 if there is no such network, 2 if it is in use.
fn removal_failure(fault: Fault) -> Failure {
    let code = match fault.kind {
        Kind::NotFound => 1,
        Kind::Conflict => 2,
        _ => 125,
    };
    Failure::from(fault).code(code)
}

/// What the flags of `network prune` fill.
#[derive(Default)]
pub struct Pruning {
    filters: Vec<String>,
    force: bool,
}

/// `network prune`.
pub const PRUNE: Verb<Pruning> = Verb {
    path: "network prune",
    usage: "",
    about: "Remove networks that no container is in",
    examples: &["--force"],
    interspersed: true,
    flags: &[&[
        list("filter", "Only those that these conditions choose", |r: &mut Pruning, v| r.filters.push(v)),
        short('f', switch("force", "Do not ask", |r, on| r.force = on)),
    ]],
    execute: |program, asked, _| {
        let question = "WARNING! This will remove all networks not used by at least one container.";
        if !super::prune::confirmed(question, asked.force)? {
            return Ok(0);
        }
        for name in program.engine()?.network_prune(&asked.filters).map_err(plain)? {
            print(&format!("{name}\n"))?;
        }
        Ok(0)
    },
};

/// `network connect`.
pub const CONNECT: Verb<Connect> = Verb {
    path: "network connect",
    usage: "NETWORK CONTAINER",
    about: "Put a container into one network more",
    examples: &["lan web", "--ip 10.89.1.13 --alias www lan web"],
    interspersed: true,
    flags: &[&[
        list("alias", "Names of the container there", |r: &mut Connect, v| r.aliases.push(v)),
        text("ip", "Address there", |r, v| r.addresses.push(v.into())),
        text("ip6", "IPv6 address there", |r, v| r.addresses.push(v.into())),
        text("mac-address", "Hardware address there", |r, v| r.mac = Some(v.into())),
    ]],
    execute: |program, request, names| {
        let [network, container] = names.as_slice() else {
            return Err(Failure::new(format!("accepts 2 arg(s), received {}", names.len())));
        };
        let request = Connect { network: network.clone(), container: container.clone(), ..request };
        program.engine()?.network_connect(&request).map_err(plain)?;
        Ok(0)
    },
};

/// `network disconnect`.
pub const DISCONNECT: Verb<Pruning> = Verb {
    path: "network disconnect",
    usage: "NETWORK CONTAINER",
    about: "Take a container out of a network",
    examples: &["lan web"],
    interspersed: true,
    flags: &[&[short(
        'f',
        switch("force", "A container that is not there is no error", |r: &mut Pruning, on| r.force = on),
    )]],
    execute: |program, asked, names| {
        let [network, container] = names.as_slice() else {
            return Err(Failure::new(format!("accepts 2 arg(s), received {}", names.len())));
        };
        match program.engine()?.network_disconnect(network, container) {
            Err(fault) if asked.force && fault.kind == Kind::NotFound => Ok(0),
            other => other.map(|()| 0).map_err(plain),
        }
    },
};

/// What the flags of `network reload` fill.
#[derive(Default)]
pub struct Reload {
    all: bool,
    latest: bool,
}

/// `network reload`.
pub const RELOAD: Verb<Reload> = Verb {
    path: "network reload",
    usage: "[CONTAINER...]",
    about: "Make bridges, rules and ports anew that somebody else took away",
    examples: &["web", "--all"],
    interspersed: true,
    flags: &[&[
        short('a', switch("all", "Of all containers", |r: &mut Reload, on| r.all = on)),
        short('l', switch("latest", "Of the container made last", |r, on| r.latest = on)),
    ]],
    execute: |program, asked, names| {
        let engine = program.engine()?;
        let choice = super::many::Choice { all: asked.all, latest: asked.latest, ..Default::default() };
        let names = choice.names(&engine, names, super::many::ALIVE)?;
        let ids = names.iter().map(|n| engine.find(n)).collect::<Result<Vec<_>, _>>().map_err(plain)?;
        // What is made anew is that of all: rules and ports are one table.
        engine.network_reload().map_err(plain)?;
        ids.iter().try_for_each(|id| print(&format!("{id}\n")))?;
        Ok(0)
    },
};

/// `network update`.
pub const UPDATE: Verb<Update> = Verb {
    path: "network update",
    usage: "NETWORK",
    about: "Change the servers that names of others are asked of",
    examples: &["--dns-add 1.1.1.1 lan"],
    interspersed: true,
    flags: &[&[
        list("dns-add", "Servers to add", |r: &mut Update, v| r.add.push(v)),
        list("dns-drop", "Servers to drop", |r, v| r.drop.push(v)),
    ]],
    execute: |program: &Program, request, names| {
        let [network] = names.as_slice() else {
            return Err(Failure::new(format!("accepts 1 arg(s), received {}", names.len())));
        };
        program.engine()?.network_update(&Update { network: network.clone(), ..request }).map_err(plain)?;
        Ok(0)
    },
};
