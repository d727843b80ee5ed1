//! The rows of volumes, and which container uses which.
//!
//! ```text
//! volumes(name, created, labels, options, anonymous, needs_copy, uid, gid, removing)   labels and options are JSON; needs_copy is 1, or 2 once used
//! volume_users(container, volume)                                                      `container` is containers.seq
//! ```

use crate::container::config::{Config, MountKind};
use crate::database::Database;
use ops::{Fault, Kind};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, HashMap};
use types::Id;

/// Makes the tables.
pub const STEP: &str = "
    CREATE TABLE volumes (name TEXT PRIMARY KEY, created INTEGER NOT NULL, labels TEXT NOT NULL, options TEXT NOT NULL,
        anonymous INTEGER NOT NULL, needs_copy INTEGER NOT NULL DEFAULT 1, uid INTEGER, gid INTEGER,
        removing INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE volume_users (container INTEGER NOT NULL, volume TEXT NOT NULL, PRIMARY KEY (container, volume)) WITHOUT ROWID;
    CREATE INDEX volume_users_by_volume ON volume_users (volume);
";

/// One volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What is mounted in it, see [`super::options`].
    pub options: BTreeMap<String, String>,
    /// Made for one container.
    pub anonymous: bool,
    /// Nothing has come into it yet: what the image of the next container has there is to.
    pub needs_copy: bool,
    /// No container has used it yet: it takes its owner of the next one.
    pub needs_owner: bool,
    /// Owner that was asked for.
    pub uid: Option<u32>,
    /// Group that was asked for.
    pub gid: Option<u32>,
    /// Somebody began to remove it.
    pub removing: bool,
}

const COLUMNS: &str = "name, created, labels, options, anonymous, needs_copy, uid, gid, removing";

impl Database {
    /// Adds a volume; false if there is one of that name.
    pub fn insert_volume(&self, row: &Row) -> Result<bool, Fault> {
        let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).map_err(Fault::internal);
        let values = params![
            row.name,
            row.created,
            json(&row.labels)?,
            json(&row.options)?,
            row.anonymous,
            needs(row.needs_copy, row.needs_owner),
            row.uid,
            row.gid
        ];
        let query = "INSERT OR IGNORE INTO volumes (name, created, labels, options, anonymous, needs_copy, uid, gid) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.lock().execute(query, values).map(|rows| rows == 1).map_err(self.fail("write"))
    }

    /// The volume of exactly this name.
    pub fn volume(&self, name: &str) -> Result<Option<Row>, Fault> {
        self.lock()
            .query_row(&format!("SELECT {COLUMNS} FROM volumes WHERE name = ?"), [name], read)
            .optional()
            .map_err(self.fail("read"))
    }

    /// The volume of this name, or at most two whose names begin with it.
    pub fn matching_volumes(&self, name: &str) -> Result<Vec<Row>, Fault> {
        if let Some(row) = self.volume(name)? {
            return Ok(if row.removing { Vec::new() } else { vec![row] });
        }
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let query = format!(
            "SELECT {COLUMNS} FROM volumes WHERE substr(name, 1, length(?1)) = ?1 AND NOT removing ORDER BY name LIMIT 2"
        );
        let connection = self.lock();
        let mut query = connection.prepare(&query).map_err(self.fail("read"))?;
        let rows = query.query_map([name], read).and_then(|rows| rows.collect());
        rows.map_err(self.fail("read"))
    }

    /// All of them, those that are being removed too, in the order of their names.
    pub fn volumes(&self) -> Result<Vec<Row>, Fault> {
        let connection = self.lock();
        let mut query =
            connection.prepare(&format!("SELECT {COLUMNS} FROM volumes ORDER BY name")).map_err(self.fail("read"))?;
        let rows = query.query_map([], read).and_then(|rows| rows.collect());
        rows.map_err(self.fail("read"))
    }

    /// Ids of the containers that use each volume.
    pub fn volume_users(&self) -> Result<HashMap<String, Vec<String>>, Fault> {
        let connection = self.lock();
        let query = "SELECT volume, id FROM volume_users JOIN containers ON seq = container ORDER BY seq";
        let mut query = connection.prepare(query).map_err(self.fail("read"))?;
        let rows: Vec<(String, String)> = query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(|rows| rows.collect())
            .map_err(self.fail("read"))?;
        let mut users: HashMap<String, Vec<String>> = HashMap::new();
        for (volume, id) in rows {
            users.entry(volume).or_default().push(id);
        }
        Ok(users)
    }

    /// The containers that use a volume: number and id.
    pub fn users_of_volume(&self, name: &str) -> Result<Vec<(i64, String)>, Fault> {
        let connection = self.lock();
        let query = "SELECT seq, id FROM volume_users JOIN containers ON seq = container WHERE volume = ? ORDER BY seq";
        let mut query = connection.prepare(query).map_err(self.fail("read"))?;
        let rows = query.query_map([name], |row| Ok((row.get(0)?, row.get(1)?))).and_then(|rows| rows.collect());
        rows.map_err(self.fail("read"))
    }

    /// True if a container other than `id` that uses the volume is being started or runs.
    pub fn volume_is_held(&self, name: &str, id: &Id) -> Result<bool, Fault> {
        let query = "SELECT EXISTS (SELECT 1 FROM volume_users JOIN containers ON seq = container \
            WHERE volume = ? AND status = 'active' AND id <> ?)";
        self.lock().query_row(query, params![name, id.as_str()], |row| row.get(0)).map_err(self.fail("read"))
    }

    /// Containers that bind this directory or file of the host.
    pub fn users_of_directory(&self, path: &str) -> Result<Vec<i64>, Fault> {
        let connection = self.lock();
        let query = "SELECT DISTINCT seq FROM configs, json_each(configs.config, '$.mounts') AS mount \
            WHERE json_extract(mount.value, '$.kind.Bind.source') = ?";
        let mut query = connection.prepare(query).map_err(self.fail("read"))?;
        let rows = query.query_map([path], |row| row.get(0)).and_then(|rows| rows.collect());
        rows.map_err(self.fail("read"))
    }

    /// Marks a volume as being removed, unless somebody uses it: those are returned.
    pub fn claim_volume(&self, name: &str) -> Result<Vec<String>, Fault> {
        let users: Vec<String> = {
            let fail = self.fail("write");
            let connection = self.lock();
            let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
            let users = {
                let query = "SELECT id FROM volume_users JOIN containers ON seq = container WHERE volume = ?";
                let mut query = change.prepare(query).map_err(&fail)?;
                let rows = query.query_map([name], |row| row.get(0)).and_then(|rows| rows.collect());
                rows.map_err(&fail)?
            };
            let users: Vec<String> = users;
            if users.is_empty() {
                change.execute("UPDATE volumes SET removing = 1 WHERE name = ?", [name]).map_err(&fail)?;
            }
            change.commit().map_err(&fail)?;
            users
        };
        Ok(users)
    }

    /// Marks the anonymous volumes that only this container uses as being removed, and gives their names.
    pub fn claim_anonymous_volumes(&self, container: i64) -> Result<Vec<String>, Fault> {
        let connection = self.lock();
        let query = "UPDATE volumes SET removing = 1 WHERE anonymous \
            AND name IN (SELECT volume FROM volume_users WHERE container = ?1) \
            AND NOT EXISTS (SELECT 1 FROM volume_users WHERE volume = name AND container <> ?1) RETURNING name";
        let mut query = connection.prepare(query).map_err(self.fail("write"))?;
        let rows = query.query_map([container], |row| row.get(0)).and_then(|rows| rows.collect());
        rows.map_err(self.fail("write"))
    }

    /// Takes away the row of a volume that was marked.
    pub fn forget_volume(&self, name: &str) -> Result<(), Fault> {
        let change = self.lock().execute("DELETE FROM volumes WHERE name = ? AND removing", [name]);
        change.map(drop).map_err(self.fail("write"))
    }

    /// A container has used it. What its image had there has come, unless that was nothing: `empty`.
    pub fn volume_is_used(&self, name: &str, empty: bool) -> Result<(), Fault> {
        let values = params![needs(empty, false), name];
        let change = self.lock().execute("UPDATE volumes SET needs_copy = ? WHERE name = ?", values);
        change.map(drop).map_err(self.fail("write"))
    }
}

/// Names of the volumes that a container has, and whether each was made for it by no name.
pub fn of(config: &Config) -> impl Iterator<Item = (&str, bool)> {
    config.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { name, anonymous } => Some((name.as_str(), *anonymous)),
        _ => None,
    })
}

/// In the transaction that adds a container: makes its volumes, and notes that it uses them.
pub fn use_volumes(change: &Transaction<'_>, config: &Config, now: i64) -> rusqlite::Result<Result<(), Fault>> {
    let mut number = None;
    for (name, anonymous) in of(config) {
        let container = *number.get_or_insert_with(|| change.last_insert_rowid());
        let query =
            "INSERT OR IGNORE INTO volumes (name, created, labels, options, anonymous) VALUES (?, ?, '{}', '{}', ?)";
        change.execute(query, params![name, now, anonymous])?;
        let removing: bool =
            change.query_row("SELECT removing FROM volumes WHERE name = ?", [name], |row| row.get(0))?;
        if removing {
            return Ok(Err(Fault::new(
                Kind::Conflict,
                format!("volume {name} is being removed: volume is being removed"),
            )
            .hint("remove it again, or choose another name")));
        }
        change.execute("INSERT OR IGNORE INTO volume_users VALUES (?, ?)", params![container, name])?;
    }
    Ok(Ok(()))
}

/// In the transaction that takes a container away: it uses no volumes any more, and those in `gone` are none.
pub fn leave_volumes(change: &Transaction<'_>, container: i64, gone: &[String]) -> rusqlite::Result<()> {
    change.execute("DELETE FROM volume_users WHERE container = ?", [container])?;
    for name in gone {
        change.execute("DELETE FROM volumes WHERE name = ? AND removing", [name])?;
    }
    Ok(())
}

/// The value of `needs_copy` of a volume that no container has used, and of one that is still empty all the same.
const NEW: i64 = 1;
const EMPTY: i64 = 2;

fn needs(copy: bool, owner: bool) -> i64 {
    match (copy, owner) {
        (true, true) => NEW,
        (true, false) => EMPTY,
        (false, _) => 0,
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let map = |text: String| serde_json::from_str(&text).unwrap_or_default();
    Ok(Row {
        name: row.get(0)?,
        created: row.get(1)?,
        labels: map(row.get(2)?),
        options: map(row.get(3)?),
        anonymous: row.get(4)?,
        needs_copy: row.get::<_, i64>(5)? != 0,
        needs_owner: row.get::<_, i64>(5)? == NEW,
        uid: row.get(6)?,
        gid: row.get(7)?,
        removing: row.get(8)?,
    })
}
