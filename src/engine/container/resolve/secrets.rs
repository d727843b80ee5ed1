//! `--secret`: `NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]`.

use super::mounts::destination;
use crate::container::config::{SecretPlace, SecretUse};
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};

/// The name in the value of the flag.
pub fn name(text: &str) -> &str {
    let mut words = text.split(',');
    let first = words.clone().next().unwrap_or_default();
    words.find_map(|word| word.strip_prefix("source=")).unwrap_or(first)
}

/// What the container is handed, and how.
pub fn secrets(asked: &Create, facts: &Facts) -> Result<Vec<SecretUse>, Fault> {
    asked.secrets.iter().map(|text| one(text, facts)).collect()
}

fn one(text: &str, facts: &Facts) -> Result<SecretUse, Fault> {
    let invalid = |why: &str| Fault::invalid(format!("could not parse secret {text:?}: {why}"));
    let name = name(text);
    let (mut environment, mut target, mut owner, mut mode) = (false, None, (None, None), None);
    for (at, word) in text.split(',').enumerate() {
        let Some((key, value)) = word.split_once('=') else {
            match at {
                0 => continue,
                _ => return Err(invalid(&format!("invalid option {word:?}"))),
            }
        };
        let id = || value.parse::<u32>().map_err(|_| invalid(&format!("{key} must be a number")));
        match key {
            "source" => {}
            "type" => match value {
                "mount" => environment = false,
                "env" => environment = true,
                _ => return Err(invalid(&format!("type {value:?} is invalid, use mount or env"))),
            },
            "target" => target = Some(value),
            "uid" => owner.0 = Some(id()?),
            "gid" => owner.1 = Some(id()?),
            "mode" => {
                let bits = u32::from_str_radix(value, 8).ok().filter(|bits| *bits <= 0o777);
                mode = Some(bits.ok_or_else(|| invalid("mode must be an octal number up to 0777"))?);
            }
            _ => return Err(invalid(&format!("invalid option {word:?}"))),
        }
    }
    if environment && (owner != (None, None) || mode.is_some()) {
        return Err(invalid("uid, gid and mode cannot be set with type=env"));
    }
    let id = facts
        .secrets
        .get(name)
        .ok_or_else(|| Fault::new(Kind::NotFound, format!("no secret with name or id {name:?}: no such secret")))?;
    let place = if environment {
        let variable = target.unwrap_or(name);
        if variable.is_empty() || variable.contains(['=', '\0']) {
            return Err(invalid("target is no name of a variable"));
        }
        SecretPlace::Variable(variable.to_owned())
    } else {
        let path = match target {
            Some(path) if path.starts_with('/') => destination(path)?,
            other => destination(&format!("/run/secrets/{}", other.unwrap_or(name)))?,
        };
        SecretPlace::File { path, uid: owner.0.unwrap_or(0), gid: owner.1.unwrap_or(0), mode: mode.unwrap_or(0o444) }
    };
    Ok(SecretUse { name: name.to_owned(), id: id.clone(), place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<SecretPlace, String> {
        let facts = Facts { secrets: [("s".to_owned(), "id".to_owned())].into(), ..Facts::default() };
        one(text, &facts).map(|s| s.place).map_err(|fault| fault.to_string())
    }

    #[test]
    fn forms() {
        let file = |path: &str, uid, gid, mode| Ok(SecretPlace::File { path: path.into(), uid, gid, mode });
        assert_eq!(of("s"), file("/run/secrets/s", 0, 0, 0o444));
        assert_eq!(of("s,target=a/b,uid=1,gid=2,mode=0640"), file("/run/secrets/a/b", 1, 2, 0o640));
        assert_eq!(of("source=s,type=mount,target=/etc/key"), file("/etc/key", 0, 0, 0o444));
        assert_eq!(of("s,type=env"), Ok(SecretPlace::Variable("s".into())));
        assert_eq!(of("type=env,source=s,target=KEY"), Ok(SecretPlace::Variable("KEY".into())));
        for (text, word) in [
            ("other", "no such secret"),
            ("s,type=x", "mount or env"),
            ("s,mode=8", "octal"),
            ("s,uid=x", "number"),
            ("s,what", "what"),
            ("s,type=env,uid=1", "type=env"),
            ("s,target=../../etc/passwd", ".."),
            ("s,type=env,target=A=B", "variable"),
        ] {
            assert!(of(text).unwrap_err().contains(word), "{text}");
        }
    }
}
