//! Volumes: made, listed, described, removed. Their rows are in [`table`], their directories in [`place`].
//!
//! ```text
//! ROOT/volumes/NAME/         flock(2) on it is the volume's lock
//!   _data/                   its files, or what is mounted there
//! ```
//!
//! A row comes before its directory and goes after it: whoever is killed in between leaves a volume without files, which
//! gets them when it is used, or one marked as being removed, which the next who meets it removes.

pub(crate) mod options;
pub(crate) mod place;
mod stream;
pub(crate) mod table;

use crate::Engine;
use ops::volume::{Create, List, Remove, Volume};
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use table::Row;

impl Engine {
    /// Makes a volume. One of that name is a conflict, unless that is to be ignored.
    pub fn create_volume(&self, asked: &Create) -> Result<String, Fault> {
        if asked.driver.as_deref().is_some_and(|driver| !matches!(driver, "" | "local")) {
            let driver = asked.driver.as_deref().unwrap_or_default();
            return Err(Fault::new(Kind::Unsupported, format!("volume driver {driver:?} is not supported"))
                .hint("volumes are local directories; plugins and image volumes are not built"));
        }
        let name = match &asked.name {
            Some(name) => checked(name)?.to_owned(),
            None => types::Id::from_random(crate::container::create::random()?).to_string(),
        };
        let row = Row {
            name: name.clone(),
            created: crate::container::now(),
            labels: pairs("label", &asked.labels)?,
            options: options::check(&asked.options)?,
            anonymous: false,
            needs_copy: true,
            needs_owner: true,
            uid: asked.uid,
            gid: asked.gid,
            removing: false,
        };
        self.host()?;
        self.finish_removal(&name)?;
        if !self.database()?.insert_volume(&row)? && !asked.ignore {
            return Err(Fault::new(
                Kind::Conflict,
                format!("volume with name {name} already exists: volume already exists"),
            ));
        }
        let row = self.volume_row(&name)?;
        self.make_volume_directory(&row)?;
        self.tell_of("volume", "create", "", &name);
        Ok(name)
    }

    /// True if there is a volume of exactly this name.
    pub fn volume_exists(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.database()?.volume(name)?.is_some_and(|row| !row.removing))
    }

    /// The volumes, in the order of their names.
    pub fn volumes(&self, asked: &List) -> Result<Vec<Volume>, Fault> {
        let filters = asked.filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut users = self.database()?.volume_users()?;
        let rows = self.database()?.volumes()?;
        let mut all = Vec::new();
        for row in rows.into_iter().filter(|row| !row.removing) {
            let used_by = users.remove(&row.name).unwrap_or_default();
            let volume = self.described_volume(row, used_by);
            if Filter::pass(&filters, &volume) {
                all.push(volume);
            }
        }
        Ok(all)
    }

    /// One volume, by its name or the beginning of one.
    pub fn volume(&self, name: &str) -> Result<Volume, Fault> {
        let row = self.volume_row(name)?;
        let users = self.database()?.users_of_volume(&row.name)?;
        Ok(self.described_volume(row, users.into_iter().map(|(_, id)| id).collect()))
    }

    fn described_volume(&self, row: Row, users: Vec<String>) -> Volume {
        let place = self.volume_data(&row.name);
        Volume {
            mountpoint: place.to_string_lossy().into_owned(),
            mounted: options::needs_mount(&row.options) && place::is_mount_point(&place),
            created: row.created,
            labels: row.labels.into_iter().collect(),
            options: row.options.into_iter().collect(),
            anonymous: row.anonymous,
            needs_copy: row.needs_copy,
            needs_owner: row.needs_owner,
            uid: row.uid,
            gid: row.gid,
            name: row.name,
            users,
        }
    }

    /// Removes a volume that no container uses; with `force` those that do go first. Returns its name.
    pub fn remove_volume(&self, asked: &Remove) -> Result<String, Fault> {
        self.host()?;
        let row = self.volume_row(&asked.name)?;
        let users = self.database()?.users_of_volume(&row.name)?;
        if asked.force {
            for (_, id) in users {
                let name = id.to_string();
                let request = ops::container::Remove {
                    name,
                    force: true,
                    timeout: asked.timeout,
                    ignore: true,
                    ..ops::container::Remove::default()
                };
                self.remove(&request)?;
            }
        }
        match self.database()?.claim_volume(&row.name)? {
            users if users.is_empty() => self.finish_removal(&row.name)?,
            users => {
                return Err(Fault::new(
                    Kind::Conflict,
                    format!(
                        "volume {} is being used by the following container(s): {}: volume is being used",
                        row.name,
                        users.join(", ")
                    ),
                ));
            }
        }
        self.tell_of("volume", "remove", "", &row.name);
        Ok(row.name)
    }

    /// Finishes the removal of a volume that is marked for it; any other is left alone.
    pub(crate) fn finish_removal(&self, name: &str) -> Result<(), Fault> {
        if self.database()?.volume(name)?.is_some_and(|row| row.removing) {
            self.remove_volume_directory(name)?;
            self.database()?.forget_volume(name)?;
        }
        Ok(())
    }

    /// Volumes of which it is known that somebody began to remove them.
    pub fn reload_volumes(&self) -> Result<(), Fault> {
        self.host()?;
        for row in self.database()?.volumes()?.into_iter().filter(|row| row.removing) {
            self.finish_removal(&row.name)?;
        }
        Ok(())
    }

    /// The row of the volume with this name, or whose name alone begins with it.
    pub(crate) fn volume_row(&self, name: &str) -> Result<Row, Fault> {
        let mut found = self.database()?.matching_volumes(name)?;
        match found.len() {
            0 => Err(no_such(name)),
            1 => Ok(found.remove(0)),
            _ => Err(Fault::new(
                Kind::Conflict,
                format!("more than one result for volume name {name:?}: volume already exists"),
            )),
        }
    }
}

/// The fault of a name that names no volume.
pub(crate) fn no_such(name: &str) -> Fault {
    Fault::new(Kind::NotFound, format!("no volume with name {name:?} found: no such volume"))
}

/// A name that a volume may have.
pub(crate) fn checked(name: &str) -> Result<&str, Fault> {
    if types::id::is_name(name) && name.len() <= 250 {
        return Ok(name);
    }
    Err(Fault::invalid(format!(
        "running volume create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: {name:?}"
    )))
}

pub(crate) fn pairs(what: &str, entries: &[String]) -> Result<BTreeMap<String, String>, Fault> {
    entries
        .iter()
        .map(|entry| match entry.split_once('=').unwrap_or((entry, "")) {
            ("", _) => Err(Fault::invalid(format!("invalid {what} {entry:?}: the key is empty"))),
            (key, value) => Ok((key.to_owned(), value.to_owned())),
        })
        .collect()
}

/// One condition. Those of one key are alternatives, but for labels, which must all hold.
#[derive(Debug, PartialEq)]
enum Filter {
    Name(types::Pattern),
    Driver(String),
    Scope(String),
    Label(String, Option<String>, bool),
    Option(String, Option<String>),
    Until(i64),
    Since(i64),
    Dangling(bool),
    Anonymous(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, Fault> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Fault::invalid(format!("invalid filter {text:?}: expected KEY=VALUE")))?;
        let pair = |value: &str| match value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        };
        let switch = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(Fault::invalid(format!(
                "{value:?} is not a valid value for the {key:?} filter - must be true or false"
            ))),
        };
        let moment = || {
            crate::moment::parse(value, crate::container::now(), &jiff::tz::TimeZone::system())
                .map_err(|e| Fault::invalid(format!("invalid value {value:?} for filter {key}: {e}")))
        };
        Ok(match key {
            "name" => Filter::Name(types::Pattern::parse(value)?),
            "driver" => Filter::Driver(value.to_owned()),
            "scope" => Filter::Scope(value.to_owned()),
            "label" | "label!" => {
                let (name, wanted) = pair(value);
                Filter::Label(name, wanted, key == "label")
            }
            "opt" => {
                let (name, wanted) = pair(value);
                Filter::Option(name, wanted)
            }
            "until" => Filter::Until(moment()?),
            "since" | "after" => Filter::Since(moment()?),
            "dangling" => Filter::Dangling(switch()?),
            "anonymous" => Filter::Anonymous(switch()?),
            _ => {
                return Err(Fault::invalid(format!("{key:?} is an invalid volume filter"))
                    .hint("use name, driver, scope, label, opt, until, since, dangling or anonymous"));
            }
        })
    }

    fn pass(filters: &[Filter], volume: &Volume) -> bool {
        filters.iter().all(|filter| {
            let same = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
            match filter {
                Filter::Label(..) => filter.holds(volume),
                _ => filters.iter().filter(same).any(|other| other.holds(volume)),
            }
        })
    }

    fn holds(&self, volume: &Volume) -> bool {
        let has = |pairs: &[(String, String)], key: &str, value: &Option<String>| {
            pairs.iter().any(|(k, v)| k == key && value.as_ref().is_none_or(|wanted| wanted == v))
        };
        match self {
            Filter::Name(name) => name.is_in(&volume.name),
            Filter::Driver(driver) => driver == "local",
            Filter::Scope(scope) => scope == "local",
            Filter::Label(key, value, wanted) => has(&volume.labels, key, value) == *wanted,
            Filter::Option(key, value) => has(&volume.options, key, value),
            Filter::Until(time) => volume.created < *time,
            Filter::Since(time) => volume.created > *time,
            Filter::Dangling(wanted) => volume.users.is_empty() == *wanted,
            Filter::Anonymous(wanted) => volume.anonymous == *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let volume = Volume {
            name: "data".into(),
            mountpoint: String::new(),
            created: 0,
            labels: vec![("a".into(), "1".into()), ("b".into(), String::new())],
            options: vec![("type".into(), "tmpfs".into())],
            anonymous: false,
            needs_copy: true,
            needs_owner: true,
            uid: None,
            gid: None,
            users: Vec::new(),
            mounted: false,
        };
        for (texts, passes) in [
            (&["name=dat"][..], true),
            (&["name=x", "name=data"], true),
            (&["name=^ata"], false),
            (&["label=a", "label=b"], true),
            (&["label=a", "label=c"], false),
            (&["label=a=2"], false),
            (&["label!=c"], true),
            (&["label!=a"], false),
            (&["dangling=true"], true),
            (&["dangling=false"], false),
            (&["opt=type=tmpfs", "driver=local"], true),
            (&["anonymous=true"], false),
        ] {
            let filters: Vec<Filter> = texts.iter().map(|t| Filter::parse(t).unwrap()).collect();
            assert_eq!(Filter::pass(&filters, &volume), passes, "{texts:?}");
        }
        assert!(Filter::parse("colour=red").unwrap_err().message.contains("invalid volume filter"));
        assert!(Filter::parse("dangling=maybe").is_err());
    }

    #[test]
    fn names() {
        assert!(checked("a.b-c_1").is_ok());
        for bad in ["", ".", "../x", "a/b", "-a", &"x".repeat(251)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
