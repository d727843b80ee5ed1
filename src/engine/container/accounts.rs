//! /etc/passwd and /etc/group of a container, with lines for who is known inside though the image does not know them: a user
//! by number, the caller of `--userns keep-id`, users of the host. What is added is added to the container's own files; where
//! those cannot be written to, to copies that are bound over them.

use super::config::{Account, Accounts, Config};
use super::volumes::View;
use ops::Fault;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::beneath::Root;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Adds the lines. Returns the copies below `directory` that must be bound, with their places inside.
pub(super) fn write(config: &Config, view: &View<'_>, directory: &Path) -> Result<Vec<(PathBuf, String)>, Fault> {
    if !may_be_needed(config) {
        return Ok(Vec::new());
    }
    let text = |path: &'static str| {
        runtime::user::text(view.root()?.as_fd(), path).map_err(|e| Fault::invalid(crate::fault::sentence(&e)))
    };
    // An image without these files does not want them.
    let (Some(passwd), group) = (text(PASSWD)?, text(GROUP)?) else { return Ok(Vec::new()) };
    let (users, groups) = lines(config, &passwd, group.as_deref().unwrap_or_default());
    let mut bound = Vec::new();
    for (path, name, old, more) in [(PASSWD, "passwd", Some(passwd), users), (GROUP, "group", group, groups)] {
        let Some(old) = old.filter(|_| !more.is_empty() && !is_mounted(config, path)) else { continue };
        let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
        if config.read_only {
            let copy = directory.join(name);
            std::fs::write(&copy, format!("{old}{gap}{more}"))
                .map_err(|e| Fault::internal(format!("cannot write {copy:?}: {e}")))?;
            bound.push((copy, path.to_owned()));
        } else {
            append(view, path, &format!("{gap}{more}"))?;
        }
    }
    Ok(bound)
}

/// Only a number can be unknown; names are looked up when the container is made.
fn may_be_needed(config: &Config) -> bool {
    let Accounts { none, passwd_entry, group_entry, caller, host_users } = &config.accounts;
    let numbers = config.user.split(':').any(|part| part.parse::<u32>().is_ok_and(|id| id != 0));
    !none && (numbers || passwd_entry.is_some() || group_entry.is_some() || caller.is_some() || !host_users.is_empty())
}

fn is_mounted(config: &Config, path: &str) -> bool {
    config.mounts.iter().any(|m| m.destination == path || m.destination == "/etc")
}

/// What has to be added to both files.
fn lines(config: &Config, passwd: &str, group: &str) -> (String, String) {
    let accounts = &config.accounts;
    let (mut users, mut groups) = (String::new(), String::new());
    let knows = |text: &str, more: &str, at: usize, value: &str| {
        text.lines().chain(more.lines()).any(|line| line.split(':').nth(at) == Some(value))
    };
    let home = |account: &Account| match account.home.as_str() {
        home if home.starts_with('/') && config.mounts.iter().any(|m| home.starts_with(m.destination.as_str())) => {
            home.to_owned()
        }
        _ => config.working_directory.clone(),
    };
    for account in accounts.host_users.iter().chain(&accounts.caller) {
        if knows(passwd, &users, 0, &account.name) || knows(passwd, &users, 2, &account.uid.to_string()) {
            continue;
        }
        let is_user = accounts.caller.as_ref() == Some(account);
        let home = if is_user { home(account) } else { account.home.clone() };
        let entry = accounts.passwd_entry.as_deref().filter(|_| is_user);
        users.push_str(&user_line(entry, &account.name, account.uid, account.gid, &account.full_name, &home));
        if is_user && !account.group.is_empty() && !knows(group, &groups, 2, &account.gid.to_string()) {
            let entry = accounts.group_entry.as_deref();
            groups.push_str(&group_line(entry, &account.group, account.gid, &account.name));
        }
    }
    let (user, own_group) = config.user.split_once(':').unwrap_or((&config.user, ""));
    let uid = user.parse::<u32>().ok().filter(|_| !knows(passwd, &users, 2, user) && !knows(passwd, "", 0, user));
    if let Some(uid) = uid {
        let gid = runtime::user::find(&format!("{uid}:{own_group}"), &[], passwd, group).map_or(0, |who| who.gid);
        let (entry, name) = (accounts.passwd_entry.as_deref(), uid.to_string());
        users.push_str(&user_line(entry, &name, uid, gid, "container user", &config.working_directory));
    }
    let gid = own_group.parse::<u32>().ok();
    if let Some(gid) = gid.filter(|_| !knows(group, &groups, 2, own_group) && !knows(group, "", 0, own_group)) {
        groups.push_str(&group_line(
            accounts.group_entry.as_deref(),
            own_group,
            gid,
            if uid.is_some() { user } else { "" },
        ));
    }
    (users, groups)
}

fn user_line(entry: Option<&str>, name: &str, uid: u32, gid: u32, full_name: &str, home: &str) -> String {
    match entry {
        Some(entry) => {
            let filled = entry
                .replace("$USERNAME", name)
                .replace("$UID", &uid.to_string())
                .replace("$GID", &gid.to_string())
                .replace("$NAME", full_name)
                .replace("$HOME", home);
            format!("{filled}\n")
        }
        None => format!("{name}:*:{uid}:{gid}:{full_name}:{home}:/bin/sh\n"),
    }
}

fn group_line(entry: Option<&str>, name: &str, gid: u32, members: &str) -> String {
    let mut line = match entry {
        Some(entry) => {
            entry.replace("$GROUPNAME", name).replace("$GID", &gid.to_string()).replace("$USERLIST", members)
        }
        None => format!("{name}:x:{gid}:{members}"),
    };
    let _ = line.write_char('\n');
    line
}

fn append(view: &View<'_>, path: &str, text: &str) -> Result<(), Fault> {
    let fail = |e: Errno| Fault::internal(format!("cannot add the container's user to its {path}: {e}"));
    let root = Root::new(view.root()?.try_clone().map_err(Fault::internal)?);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = root.resolve(path.as_bytes(), flags).map_err(fail)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file).map_err(fail)?.st_mode) != FileType::RegularFile {
        return Err(fail(Errno::INVAL));
    }
    std::fs::File::from(file).write_all(text.as_bytes()).map_err(|e| fail(sys::process::errno(e)))
}

/// Accounts of the host, from its passwd(5) and group(5), by name.
pub(crate) fn of_host(passwd: &str, group: &str, wanted: impl Fn(&str, u32) -> bool) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, full_name, home, ..] = fields.as_slice() else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse::<u32>().ok()?);
        let group = group.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
        });
        wanted(name, uid).then(|| Account {
            name: (*name).to_owned(),
            uid,
            gid,
            full_name: (*full_name).to_owned(),
            home: (*home).to_owned(),
            group: group.unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::resolve::tests::{decide, host, image};
    use ops::container::Create;

    const IMAGE: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:7:7::/app:/bin/sh\n";

    fn added(change: impl FnOnce(&mut Create, &mut Accounts)) -> (String, String) {
        let (mut asked, mut accounts) = (Create::default(), Accounts::default());
        change(&mut asked, &mut accounts);
        let mut config = decide(&asked, &image(), &host()).unwrap();
        config.accounts = Accounts { caller: accounts.caller, host_users: accounts.host_users, ..config.accounts };
        lines(&config, IMAGE, "root:x:0:\n")
    }

    #[test]
    fn who_is_unknown_gets_a_line() {
        let none = (String::new(), String::new());
        for user in ["app", "7", "root:0", "0"] {
            assert_eq!(added(|a, _| a.user = Some(user.into())), none, "{user}");
        }
        let (users, groups) = added(|a, _| a.user = Some("1234:55".into()));
        assert_eq!(users, "1234:*:1234:55:container user:/srv:/bin/sh\n");
        assert_eq!(groups, "55:x:55:1234\n");
        let (users, groups) = added(|a, _| {
            a.user = Some("1234".into());
            a.passwd_entry = Some("me:*:$UID:$GID:$NAME:/me:$HOME".into());
        });
        assert_eq!((users.as_str(), groups.as_str()), ("me:*:1234:0:container user:/me:/srv\n", ""));
    }

    #[test]
    fn people_of_the_host() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1001:Ann B,,,:/home/ann:/bin/zsh\n";
        let ann = of_host(passwd, "staff:x:1001:\n", |name, _| name == "ann").unwrap();
        assert_eq!((ann.full_name.as_str(), ann.group.as_str()), ("Ann B,,,", "staff"));
        assert_eq!(of_host(passwd, "", |_, uid| uid == 5), None);
        let (users, groups) = added(|a, accounts| {
            a.user = Some("1000:1001".into());
            a.group_entry = Some("$GROUPNAME:x:$GID:$USERLIST,x".into());
            accounts.caller = Some(ann.clone());
        });
        assert_eq!(users, "ann:*:1000:1001:Ann B,,,:/srv:/bin/sh\n");
        assert_eq!(groups, "staff:x:1001:ann,x\n");
        let (users, groups) = added(|a, accounts| {
            a.user = Some("app".into());
            accounts.host_users = vec![ann.clone(), Account { name: "root".into(), ..Account::default() }];
        });
        assert_eq!((users.as_str(), groups.as_str()), ("ann:*:1000:1001:Ann B,,,:/home/ann:/bin/sh\n", ""));
        let (users, _) = added(|a, accounts| {
            a.volumes = vec!["/home:/home".into()];
            a.user = Some("1000:1001".into());
            accounts.caller = Some(ann.clone());
        });
        assert_eq!(users, "ann:*:1000:1001:Ann B,,,:/home/ann:/bin/sh\n");
    }
}
