//! The driver `shell`: commands of the user's keep the secrets. Each is run by `/bin/sh -c` with the secret's id in
//! `SECRET_ID`; `store` gets the bytes on its standard input, `lookup` prints them.
//!
//! Must not know: where secrets are listed.

use super::LIMIT;
use ops::secret::Secret;
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

const COMMANDS: [&str; 4] = ["delete", "list", "lookup", "store"];

/// All four must be there, and nothing else.
pub fn check(options: &BTreeMap<String, String>) -> Result<(), Fault> {
    let missing = COMMANDS.iter().find(|name| options.get(**name).is_none_or(String::is_empty));
    let unknown = options.keys().find(|name| !COMMANDS.contains(&name.as_str()));
    match (missing, unknown) {
        (Some(name), _) => Err(Fault::invalid(format!("secret driver shell: missing config value {name:?}"))
            .hint("give --driver-opts delete=…, list=…, lookup=… and store=…")),
        (_, Some(name)) => Err(Fault::invalid(format!("secret driver shell: invalid shell driver option {name:?}"))),
        _ => Ok(()),
    }
}

/// Hands the bytes over.
pub fn store(secret: &Secret, data: &[u8]) -> Result<(), Fault> {
    run("store", secret, Some(data)).map(drop)
}

/// Asks for the bytes.
pub fn lookup(secret: &Secret) -> Result<Vec<u8>, Fault> {
    let data = run("lookup", secret, None)?;
    match data.len() < LIMIT {
        true => Ok(data),
        false => Err(failed("lookup", secret, "it printed 512000 bytes or more")),
    }
}

/// Has it forgotten.
pub fn delete(secret: &Secret) -> Result<(), Fault> {
    run("delete", secret, None).map(drop)
}

fn failed(name: &str, secret: &Secret, why: impl std::fmt::Display) -> Fault {
    Fault::new(Kind::Internal, format!("the {name} command of secret {:?} failed: {why}", secret.name))
}

fn run(name: &str, secret: &Secret, input: Option<&[u8]>) -> Result<Vec<u8>, Fault> {
    let fail = |why: &dyn std::fmt::Display| failed(name, secret, why);
    let command = secret.driver_options.get(name).map(String::as_str).unwrap_or_default();
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("SECRET_ID", &secret.id)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| fail(&e))?;
    // One that reads nothing may have kept what it needs: its exit code says.
    if let (Some(mut pipe), Some(data)) = (child.stdin.take(), input)
        && let Err(e) = pipe.write_all(data)
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = child.kill();
        let _ = child.wait();
        return Err(fail(&e));
    }
    let output = child.wait_with_output().map_err(|e| fail(&e))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(fail(&output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let options = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), "true".to_owned())).collect();
        assert!(check(&options(&COMMANDS)).is_ok());
        assert!(check(&options(&COMMANDS[1..])).unwrap_err().message.contains("\"delete\""));
        assert!(check(&options(&["delete", "list", "lookup", "store", "x"])).is_err());
        let secret = |lookup: &str| Secret {
            id: "0123".into(),
            name: "s".into(),
            driver: "shell".into(),
            driver_options: [("lookup".to_owned(), lookup.to_owned())].into(),
            labels: BTreeMap::new(),
            created: 0,
            updated: 0,
        };
        assert_eq!(super::lookup(&secret("printf %s \"$SECRET_ID\"")).unwrap(), b"0123");
        assert!(super::lookup(&secret("exit 3")).unwrap_err().message.contains("3"));
    }
}
