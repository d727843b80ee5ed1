//! Who is known inside beside those of the image: `--passwd`, `--passwd-entry`, `--group-entry`, `--hostuser`, and whose
//! groups the program has.

use crate::container::config::Accounts;
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};

/// The word of `--group-add` for the caller's groups.
pub const KEEP: &str = "keep-groups";

/// True if the caller's groups stay.
pub fn keeps_groups(asked: &Create) -> Result<bool, Fault> {
    let keeps = asked.additional_groups.iter().any(|group| group == KEEP);
    if keeps && asked.additional_groups.len() > 1 {
        return Err(Fault::invalid(
            "the '--group-add keep-groups' option is not allowed with any other --group-add options",
        ));
    }
    Ok(keeps)
}

/// What is added to the files. `mode` is how the user namespace was asked for: with `keep-id` the caller is known inside.
pub fn accounts(asked: &Create, mode: &str, facts: &Facts) -> Result<Accounts, Fault> {
    let entry = |flag: &str, entry: &Option<String>| match entry {
        Some(text) if text.contains(['\n', '\0']) => {
            Err(Fault::invalid(format!("invalid value for {flag}: it must be one line")))
        }
        entry => Ok(entry.clone().filter(|text| !text.is_empty())),
    };
    let host_users = asked
        .host_users
        .iter()
        .map(|name| {
            let there = facts.accounts.get(name).cloned();
            there.ok_or_else(|| {
                Fault::new(Kind::NotFound, format!("unable to find user {name:?} on the host: unknown user"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Accounts {
        none: !asked.passwd.unwrap_or(true),
        passwd_entry: entry("--passwd-entry", &asked.passwd_entry)?,
        group_entry: entry("--group-entry", &asked.group_entry)?,
        caller: (mode.split(':').next() == Some("keep-id")).then(|| facts.accounts.get("").cloned()).flatten(),
        host_users,
    })
}
