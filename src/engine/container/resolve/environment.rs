//! The variables of a container's program.

use super::PATH;
use crate::container::facts::Facts;
use ops::Fault;
use ops::container::Create;

/// In rising order of weight: our defaults, the caller's proxies, the image, what is made of the image's, what was asked. An
/// image's entry counts only as `KEY=VALUE`. `container=podman` because that is the word that systemd and scripts know
/// (container_other would tell them nothing), `HOSTNAME` as shells expect it: it is no default that could be unset.
pub fn environment(asked: &Create, image: &[String], hostname: &str, facts: &Facts) -> Result<Vec<String>, Fault> {
    let mut all = Vec::with_capacity(image.len() + asked.environment.len() + 4);
    set(&mut all, PATH.to_owned());
    set(&mut all, "container=podman".to_owned());
    if asked.terminal {
        set(&mut all, "TERM=xterm".to_owned());
    }
    for entry in &asked.default_environment {
        match entry.find('=') {
            Some(0) | None => return Err(invalid(entry)),
            Some(_) => set(&mut all, entry.clone()),
        }
    }
    set(&mut all, format!("HOSTNAME={hostname}"));
    if asked.http_proxy.unwrap_or(true) {
        facts.proxies.iter().for_each(|entry| set(&mut all, entry.clone()));
    }
    for entry in image.iter().filter(|e| e.find('=').is_some_and(|at| at > 0)) {
        set(&mut all, entry.clone());
    }
    for entry in &asked.environment_merge {
        let (key, value) = entry.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| invalid(entry))?;
        let value = expand(value, |name| value_of(&all, name).unwrap_or_default().to_owned());
        set(&mut all, format!("{key}={value}"));
    }
    if asked.unset_all_environment {
        all.retain(|entry| entry.starts_with("HOSTNAME="));
    }
    change(&mut all, &asked.unset_environment, &asked.environment)?;
    Ok(all)
}

/// Takes away the variables whose names are in `unset`, and sets those of `entries`.
pub fn change(all: &mut Vec<String>, unset: &[String], entries: &[String]) -> Result<(), Fault> {
    for name in unset {
        all.retain(|entry| entry.strip_prefix(name.as_str()).is_none_or(|rest| !rest.starts_with('=')));
    }
    for entry in entries {
        match entry.find('=') {
            Some(0) | None => return Err(invalid(entry)),
            Some(_) => set(all, entry.clone()),
        }
    }
    if let Some(entry) = all.iter().find(|e| e.contains('\0')) {
        return Err(Fault::invalid(format!("invalid environment variable {entry:?}: it holds a zero byte")));
    }
    Ok(())
}

fn invalid(entry: &str) -> Fault {
    Fault::invalid(format!("invalid environment variable {entry:?}: expected KEY=VALUE"))
}

fn set(all: &mut Vec<String>, entry: String) {
    let key = entry.split('=').next().unwrap_or_default().len();
    match all.iter().position(|e| e.len() > key && e.as_bytes()[key] == b'=' && e[..key] == entry[..key]) {
        Some(at) => all[at] = entry,
        None => all.push(entry),
    }
}

fn value_of<'a>(all: &'a [String], name: &str) -> Option<&'a str> {
    all.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// `$NAME` and `${NAME}`, as Go's `os.Expand` reads them; a dollar sign before anything else stays.
fn expand(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((name, behind)) = braced {
            expanded.push_str(&value(name));
            rest = behind;
            continue;
        }
        let length = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        match length {
            0 => expanded.push('$'),
            _ => expanded.push_str(&value(&after[..length])),
        }
        rest = &after[length..];
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut Create)) -> Vec<String> {
        let mut asked = Create::default();
        change(&mut asked);
        let facts = Facts { proxies: vec!["no_proxy=x".into()], ..Facts::default() };
        environment(&asked, &["A=1".into(), "B=2".into(), "PATH=/bin".into()], "h", &facts).unwrap()
    }

    #[test]
    fn unset_and_merged() {
        let usual = ["PATH=/bin", "container=podman", "HOSTNAME=h", "no_proxy=x", "A=1", "B=2"];
        assert_eq!(of(|_| {}), usual);
        assert_eq!(of(|a| a.http_proxy = Some(false)), [&usual[..3], &usual[4..]].concat());
        assert_eq!(of(|a| a.unset_environment = vec!["A".into(), "PAT".into()]), [&usual[..4], &usual[5..]].concat());
        assert_eq!(of(|a| a.unset_all_environment = true), ["HOSTNAME=h"]);
        let both = of(|a| {
            a.unset_all_environment = true;
            a.environment = vec!["A=mine".into()];
        });
        assert_eq!(both, ["HOSTNAME=h", "A=mine"]);
        let merged = of(|a| a.environment_merge = vec!["A=${A}-$B-$NONE-more$".into(), "C=$$A{".into()]);
        assert_eq!(merged[4..], ["A=1-2--more$", "B=2", "C=$1-2--more${"]);
        let broken = Create { environment_merge: vec!["=x".into()], ..Create::default() };
        assert!(environment(&broken, &[], "h", &Facts::default()).is_err());
    }
}
