//! Lists: indexes that are put together here, each with a name of its own and with where the images in it came from.
//!
//! Must not know: what an index says.

use crate::{Error, Result, Store, database};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::collections::BTreeMap;
use types::{Digest, Reference};

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its name, complete ([`Reference::normalised`]).
    pub name: String,
    /// What it is called beside its name, for as long as it lives.
    pub id: Digest,
    /// The index.
    pub index: Vec<u8>,
    /// Where the images of the index are, by their manifests: an image of the store if nothing is said.
    pub sources: BTreeMap<Digest, String>,
}

impl Store {
    /// All lists, by their names.
    pub fn lists(&self) -> Result<Vec<List>> {
        let connection = self.connection();
        let fail = self.failed("look up lists in");
        let mut statement =
            connection.prepare("SELECT name, id, bytes, sources FROM lists ORDER BY name").map_err(&fail)?;
        let lists = statement.query_map([], read).map_err(&fail)?;
        lists.collect::<rusqlite::Result<_>>().map_err(&fail)
    }

    /// The list that `name` means: a name, also a short one, or an id.
    pub fn find_list(&self, name: &str) -> Result<Option<List>> {
        find(&self.connection(), name).map_err(self.failed("look up a list in"))
    }

    /// Adds a list. False if there is one of this name, which stays as it is.
    pub fn create_list(&self, list: &List) -> Result<bool> {
        let connection = self.connection();
        let added = connection
            .execute(
                "INSERT OR IGNORE INTO lists VALUES (?1, ?2, ?3, ?4)",
                params![list.name, list.id.as_bytes(), list.index, sources(list)],
            )
            .map_err(self.failed("create a list in"))?;
        Ok(added == 1)
    }

    /// Changes a list, while nobody else does.
    pub fn change_list<E: From<Error>>(
        &self,
        name: &str,
        change: impl FnOnce(&mut List) -> std::result::Result<(), E>,
    ) -> std::result::Result<List, E> {
        let connection = self.connection();
        let fail = |source| database::error(self.root(), "change a list in", source);
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(fail)?;
        let found = find(&transaction, name).map_err(fail)?;
        let mut list = found.ok_or_else(|| Error::NoSuchImage { name: name.to_owned() })?;
        change(&mut list)?;
        transaction
            .execute(
                "UPDATE lists SET bytes = ?2, sources = ?3 WHERE name = ?1",
                params![list.name, list.index, sources(&list)],
            )
            .map_err(fail)?;
        transaction.commit().map_err(fail)?;
        Ok(list)
    }

    /// Removes a list; the images stay. None if there is no such list.
    pub fn remove_list(&self, name: &str) -> Result<Option<List>> {
        let connection = self.connection();
        let fail = self.failed("remove a list from");
        let found = find(&connection, name).map_err(&fail)?;
        if let Some(list) = &found {
            connection.execute("DELETE FROM lists WHERE name = ?1", [&list.name]).map_err(&fail)?;
        }
        Ok(found)
    }
}

fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<List>> {
    let mut names = Vec::new();
    if let Ok(reference) = name.parse::<Reference>() {
        let library = if reference.path.contains('/') { "docker.io" } else { "docker.io/library" };
        names.extend(["localhost", library].map(|domain| reference.normalised(domain).to_string()));
    }
    let mut statement = connection.prepare("SELECT name, id, bytes, sources FROM lists WHERE name = ?1")?;
    for name in &names {
        if let Some(found) = statement.query_row([name], read).optional()? {
            return Ok(Some(found));
        }
    }
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = (12..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return Ok(None);
    }
    let query = "SELECT name, id, bytes, sources FROM lists WHERE substr(lower(hex(id)), 1, length(?1)) = ?1 LIMIT 1";
    connection.query_row(query, [digits], read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<List> {
    let sources: String = row.get(3)?;
    Ok(List {
        name: row.get(0)?,
        id: Digest::from_bytes(row.get(1)?),
        index: row.get(2)?,
        sources: serde_json::from_str::<BTreeMap<String, String>>(&sources)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(digest, source)| Some((digest.parse().ok()?, source)))
            .collect(),
    })
}

fn sources(list: &List) -> String {
    let sources: BTreeMap<String, &String> = list.sources.iter().map(|(d, source)| (d.to_string(), source)).collect();
    serde_json::to_string(&sources).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::tests::Scratch;

    #[test]
    fn lists_are_found_changed_and_removed() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path(), Options::default()).unwrap();
        let list = List {
            name: "localhost/a:latest".into(),
            id: Digest::of(b"a"),
            index: b"{}".to_vec(),
            sources: BTreeMap::from([(Digest::of(b"m"), "docker://x/y".into())]),
        };
        assert!(store.create_list(&list).unwrap());
        assert!(!store.create_list(&List { id: Digest::of(b"b"), ..list.clone() }).unwrap());
        for name in ["a", "localhost/a", "a:latest", &list.id.to_string(), &list.id.short()] {
            assert_eq!(store.find_list(name).unwrap().as_ref(), Some(&list), "{name}");
        }
        for name in ["b", "a:1", "", "UPPER", "abc"] {
            assert_eq!(store.find_list(name).unwrap(), None, "{name}");
        }
        let changed = store.change_list::<Error>("a", |list| {
            list.index = b"[]".to_vec();
            Ok(())
        });
        assert_eq!(store.lists().unwrap(), [changed.unwrap()]);
        let failed = store.change_list("a", |list| {
            list.index.clear();
            Err(Error::NoSuchImage { name: "x".into() })
        });
        assert!(failed.is_err());
        assert_eq!(store.find_list("a").unwrap().unwrap().index, b"[]", "what fails changes nothing");
        assert!(store.change_list::<Error>("b", |_| Ok(())).is_err());
        assert!(store.remove_list("a").unwrap().is_some() && store.remove_list("a").unwrap().is_none());
    }
}
