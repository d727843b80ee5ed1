//! Instructions of a Containerfile (`--change`) applied to the configuration of an image.
//!
//! Must not know: where the configuration comes from.

use ops::Fault;
use serde_json::{Map, Value, json};

/// Keys of Docker's `config` that say something of an image, in their three sorts: maps that grow, lists that grow, and what is replaced.
const MAPS: [&str; 3] = ["ExposedPorts", "Labels", "Volumes"];
const LISTS: [&str; 2] = ["Env", "OnBuild"];
const VALUES: [&str; 9] =
    ["ArgsEscaped", "Cmd", "Entrypoint", "Healthcheck", "Shell", "StopSignal", "StopTimeout", "User", "WorkingDir"];
/// Those that say something of one container, and nothing of an image.
const OF_CONTAINERS: [&str; 12] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "Image",
    "MacAddress",
    "NetworkDisabled",
    "OpenStdin",
    "StdinOnce",
    "Tty",
    "PublishService",
];

/// Puts a `config` as Docker's images have it (JSON) over the configuration's.
pub(crate) fn merge(configuration: &mut Map<String, Value>, text: &str) -> Result<(), Fault> {
    let bad = |why: String| Fault::invalid(format!("the configuration that is to be merged: {why}"));
    let Value::Object(given) = serde_json::from_str(text).map_err(|e| bad(e.to_string()))? else {
        return Err(bad("it is no object".into()));
    };
    let process = section(configuration, "config");
    for (key, value) in given {
        let empty = matches!(&value, Value::Null) || value.as_str() == Some("");
        match (key.as_str(), value) {
            _ if empty => {}
            (map, Value::Object(more)) if MAPS.contains(&map) => section(process, map).extend(more),
            ("Env", Value::Array(more)) => {
                for entry in strings(Some(&Value::Array(more))) {
                    let mut all = strings(process.get("Env"));
                    let name = entry.split('=').next().unwrap_or_default();
                    all.retain(|known| known.split('=').next() != Some(name));
                    all.push(entry);
                    process.insert("Env".into(), json!(all));
                }
            }
            ("OnBuild", Value::Array(more)) => {
                let all = [strings(process.get("OnBuild")), strings(Some(&Value::Array(more)))].concat();
                process.insert("OnBuild".into(), json!(all));
            }
            (value_key, value) if VALUES.contains(&value_key) => drop(process.insert(key, value)),
            (known, _) if MAPS.contains(&known) || LISTS.contains(&known) => {
                return Err(bad(format!("{known} is of another kind")));
            }
            (known, _) if OF_CONTAINERS.contains(&known) => {}
            (unknown, _) => return Err(bad(format!("{unknown:?} is not known"))),
        }
    }
    Ok(())
}

/// Applies `INSTRUCTION value` or `INSTRUCTION=value`.
pub(crate) fn apply(configuration: &mut Map<String, Value>, change: &str) -> Result<(), Fault> {
    let bad = |why: &str| Fault::invalid(format!("invalid change {change:?}: {why}"));
    let (word, value) = change.split_once([' ', '=']).ok_or_else(|| bad("expected INSTRUCTION VALUE"))?;
    let value = value.trim();
    let process = section(configuration, "config");
    // CMD and ENTRYPOINT: a list in JSON, or a line for the shell.
    let words = || match serde_json::from_str::<Vec<String>>(value) {
        Ok(words) => json!(words),
        Err(_) => json!(["/bin/sh", "-c", value]),
    };
    match word.trim().to_ascii_uppercase().as_str() {
        "CMD" => drop(process.insert("Cmd".into(), words())),
        "ENTRYPOINT" => drop(process.insert("Entrypoint".into(), words())),
        "ENV" => {
            let mut environment = strings(process.get("Env"));
            for (key, value) in pairs(value).ok_or_else(|| bad("expected KEY=VALUE or KEY VALUE"))? {
                let entry = format!("{key}={value}");
                match environment.iter().position(|e| e.split('=').next() == Some(&key)) {
                    Some(at) => environment[at] = entry,
                    None => environment.push(entry),
                }
            }
            process.insert("Env".into(), json!(environment));
        }
        "LABEL" => {
            let labels = section(process, "Labels");
            for (key, value) in pairs(value).ok_or_else(|| bad("expected KEY=VALUE"))? {
                labels.insert(key, json!(value));
            }
        }
        "EXPOSE" => {
            let ports = section(process, "ExposedPorts");
            for port in value.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                if number.parse::<u16>().is_err() || !matches!(protocol, "tcp" | "udp" | "sctp") {
                    return Err(bad("expected PORT[/tcp|udp|sctp]"));
                }
                ports.insert(format!("{number}/{protocol}"), json!({}));
            }
        }
        "VOLUME" => {
            let volumes = section(process, "Volumes");
            let paths = serde_json::from_str::<Vec<String>>(value)
                .unwrap_or_else(|_| value.split_whitespace().map(str::to_owned).collect());
            for path in paths {
                volumes.insert(path, json!({}));
            }
        }
        "ONBUILD" => {
            let mut steps = strings(process.get("OnBuild"));
            steps.push(value.to_owned());
            process.insert("OnBuild".into(), json!(steps));
        }
        "STOPSIGNAL" => {
            value.parse::<types::Signal>().map_err(|_| bad("no such signal"))?;
            process.insert("StopSignal".into(), json!(value));
        }
        "USER" => drop(process.insert("User".into(), json!(value))),
        "WORKDIR" => drop(process.insert("WorkingDir".into(), json!(value))),
        _ => {
            return Err(bad("no such instruction")
                .hint("use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR"));
        }
    }
    Ok(())
}

/// The object called `key`, made if it is none.
pub(crate) fn section<'m>(of: &'m mut Map<String, Value>, key: &str) -> &'m mut Map<String, Value> {
    let value = of.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// A list; nothing is an empty one.
pub(crate) fn list(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The texts of a list.
pub(crate) fn strings(value: Option<&Value>) -> Vec<String> {
    list(value).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// `KEY=VALUE KEY="VAL UE" …`, or `KEY VALUE`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    if !text.split_whitespace().next()?.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        let word = words.last_mut()?;
        match (c, quote) {
            ('\\', Some('"') | None) => word.extend(characters.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(String::new());
                }
            }
            (c, None) => word.push(c),
        }
    }
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<Value, Fault> {
        let mut configuration = Map::new();
        configuration.insert("config".into(), json!({"Env": ["A=1", "B=2"], "Volumes": null}));
        for change in changes {
            apply(&mut configuration, change)?;
        }
        Ok(configuration["config"].clone())
    }

    #[test]
    fn instructions_change_the_configuration() {
        let config = changed(&[
            "CMD=/bin/date",
            "ENTRYPOINT [\"/bin/sh\", \"-e\"]",
            "ENV A=9 C=\"x y\"",
            "ENV D some words",
            "LABEL blue=image red='a b'",
            "EXPOSE 80 53/udp",
            "VOLUME /v /w",
            "VOLUME [\"/x y\"]",
            "ONBUILD RUN true",
            "STOPSIGNAL SIGINT",
            "USER bob",
            "workdir /tmp",
        ])
        .unwrap();
        assert_eq!(
            config,
            json!({
                "Cmd": ["/bin/sh", "-c", "/bin/date"], "Entrypoint": ["/bin/sh", "-e"],
                "Env": ["A=9", "B=2", "C=x y", "D=some words"], "Labels": {"blue": "image", "red": "a b"},
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/v": {}, "/w": {}, "/x y": {}},
                "OnBuild": ["RUN true"], "StopSignal": "SIGINT", "User": "bob", "WorkingDir": "/tmp"
            })
        );
    }

    #[test]
    fn configurations_are_merged() {
        let mut configuration = Map::new();
        configuration.insert(
            "config".into(),
            json!({"Env": ["A=1", "B=2"], "Labels": {"x": "1"}, "Cmd": ["sh"], "User": "bob"}),
        );
        let text = r#"{"Env": ["B=3", "C=4"], "Labels": {"y": "2"}, "Cmd": ["ls"], "User": "", "WorkingDir": "/w", "Hostname": "h", "OnBuild": ["RUN x"]}"#;
        merge(&mut configuration, text).unwrap();
        let wanted = json!({"Env": ["A=1", "B=3", "C=4"], "Labels": {"x": "1", "y": "2"}, "Cmd": ["ls"], "User": "bob",
            "WorkingDir": "/w", "OnBuild": ["RUN x"]});
        assert_eq!(configuration["config"], wanted);
        for wrong in ["[]", "{", r#"{"Labels": 1}"#, r#"{"Nonsense": 1}"#] {
            assert!(merge(&mut configuration, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bad_instructions_are_told() {
        for change in ["CMD", "RUN true", "EXPOSE http", "STOPSIGNAL SIGNO", "ENV A", "LABEL blue"] {
            assert!(changed(&[change]).is_err(), "{change}");
        }
    }
}
