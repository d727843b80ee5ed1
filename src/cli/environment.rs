//! Variables and labels that come from the caller's environment and from files.

use crate::failure::Failure;
use std::path::Path;

/// `KEY=VALUE` as it is; `KEY` with the caller's value, or left out if the caller has none; `KEY*` stands for all of the
/// caller's variables that begin so.
pub fn resolve(variables: &[String]) -> Vec<String> {
    resolve_from(variables, |name| std::env::var(name).ok(), host)
}

/// All of the caller's variables that are text.
pub fn host() -> Vec<String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The lines of a file: `KEY=VALUE`, or `KEY` to take the caller's value; empty lines and those that begin with `#` do
/// not count.
pub fn file(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("cannot read {path:?}: {e}")))?;
    let lines = lines(&text).map_err(|line| {
        Failure::new(format!("{path:?} line {line}: a name must stand before \"=\", without white space in it"))
    })?;
    Ok(resolve(&lines))
}

fn resolve_from(
    variables: &[String],
    lookup: impl Fn(&str) -> Option<String>,
    all: impl Fn() -> Vec<String>,
) -> Vec<String> {
    let mut resolved = Vec::new();
    for variable in variables {
        match variable.strip_suffix('*') {
            _ if variable.contains('=') => resolved.push(variable.clone()),
            Some(prefix) => resolved.extend(all().into_iter().filter(|v| v.starts_with(prefix))),
            None => resolved.extend(lookup(variable).map(|value| format!("{variable}={value}"))),
        }
    }
    resolved
}

/// The lines that count, or the number of the first that is wrong.
fn lines(text: &str) -> Result<Vec<String>, usize> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        match line {
            "" => {}
            _ if line.starts_with('#') => {}
            _ if line.starts_with('=') => return Err(number + 1),
            _ if line.split('=').next().is_some_and(|name| name.contains([' ', '\t'])) => return Err(number + 1),
            _ => found.push(line.to_owned()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_values() {
        let asked: Vec<String> = ["A=1", "HOME", "NONE", "LC_*", "B="].map(Into::into).into();
        let lookup = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let all = || vec!["LC_ALL=C".into(), "HOME=/root".into(), "LC_TIME=x=y".into()];
        assert_eq!(resolve_from(&asked, lookup, all), ["A=1", "HOME=/root", "LC_ALL=C", "LC_TIME=x=y", "B="]);
    }

    #[test]
    fn files() {
        assert_eq!(lines("# no\n\nA=1 2\n  B='x'\nC\r\n").unwrap(), ["A=1 2", "B='x'", "C"]);
        assert_eq!(lines("A=1\n=2\n"), Err(2));
        assert_eq!(lines("A=1\n\nA B=2\n"), Err(3));
    }
}
