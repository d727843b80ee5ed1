//! The engine's tables, in the database of the store and over the same connection, and their queries.
//!
//! ```text
//! containers(seq, id, name, image, image_id, created, status, paused, run, boot, started, finished, exit_code, oom,
//!            error, command, labels, mounts, networks, ports, policy, stopped, restarts, checked)
//!                                                       what `ps` needs; lists are strings that end in a zero byte,
//!                                                       ports are JSON
//! configs(seq, config)                                      JSON of container::config::Config
//! exits(id, exit_code, oom, finished)                       of containers gone with --rm, for those who wait for them
//! volumes(…) volume_users(…)                                see [`crate::volume::table`]
//! ```
//!
//! `status` is `created`, `active`, `exited` or `removing`. An active container's row was written before its monitor
//! was started; what it really does is told by the files of run number `run` (see [`crate::container::state`]), and a
//! row of another `boot` than the present one is of a container that died with it.

use crate::container::config::{Config, MountKind};
use ops::life::Restart;
use ops::{Fault, Kind};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use store::database::Handle;
use types::{Digest, Id};

const SLOT: u8 = 1;

const STEPS: &[&str] = &[
    "
    CREATE TABLE containers (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
        image TEXT NOT NULL, image_id TEXT NOT NULL, created INTEGER NOT NULL, status TEXT NOT NULL,
        paused INTEGER NOT NULL DEFAULT 0, run INTEGER NOT NULL DEFAULT 0, boot TEXT NOT NULL DEFAULT '',
        started INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0, exit_code INTEGER NOT NULL DEFAULT 0,
        oom INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', remove INTEGER NOT NULL, command TEXT NOT NULL,
        labels TEXT NOT NULL, mounts TEXT NOT NULL, networks TEXT NOT NULL);
    CREATE TABLE configs (seq INTEGER PRIMARY KEY, config TEXT NOT NULL);
    CREATE TABLE exits (id TEXT PRIMARY KEY, exit_code INTEGER NOT NULL, oom INTEGER NOT NULL,
        finished INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX containers_by_image ON containers (image_id);
",
    "
    ALTER TABLE containers ADD COLUMN ports TEXT NOT NULL DEFAULT '[]';
",
    crate::volume::table::STEP,
    "
    ALTER TABLE containers ADD COLUMN policy TEXT NOT NULL DEFAULT '';
    ALTER TABLE containers ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN checked INTEGER NOT NULL DEFAULT 0;
",
];

/// Seconds for which the exit code of a container that is gone is kept.
const KEEP_EXITS: i64 = 300;

/// What a row of `containers` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Never started.
    Created,
    /// Being started, running, or ended without anybody noticing yet.
    Active,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
}

impl Mark {
    fn parse(text: &str) -> Mark {
        match text {
            "created" => Mark::Created,
            "active" => Mark::Active,
            "removing" => Mark::Removing,
            _ => Mark::Exited,
        }
    }
}

/// Who has ended a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    /// Nobody: it ended by itself.
    Nobody = 0,
    /// Somebody, who meant it to stay so.
    User = 1,
    /// The machine is going down.
    Shutdown = 2,
}

/// One row. Times are nanoseconds since 1970, 0 for never.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Order of creation.
    pub seq: i64,
    /// Id.
    pub id: Id,
    /// Present name.
    pub name: String,
    /// Image as it was asked for.
    pub image: String,
    /// Its id, hex.
    pub image_id: String,
    /// When it was made.
    pub created: i64,
    /// Status.
    pub mark: Mark,
    /// Frozen by `pause`.
    pub paused: bool,
    /// How often it was started.
    pub run: i64,
    /// Boot id of the last start.
    pub boot: String,
    /// When it was started last.
    pub started: i64,
    /// When it ended last.
    pub finished: i64,
    /// How it ended last.
    pub exit_code: i32,
    /// The kernel killed a process of it for want of memory.
    pub oom: bool,
    /// Why it could not be started.
    pub error: String,
    /// It goes when it ends.
    pub remove: bool,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Paths of mounts inside.
    pub mounts: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// Published ports.
    pub ports: Vec<types::port::Published>,
    /// When it is started again.
    pub policy: Restart,
    /// Who has ended it since its last start: its policy does not start it again.
    pub stopped: StoppedBy,
    /// How often its policy has started it again since somebody did.
    pub restarts: u32,
    /// It has health checks.
    pub checked: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ended {
    /// When it was started.
    pub started: i64,
    /// When it ended.
    pub finished: i64,
    /// Exit code.
    pub exit_code: i32,
    /// The kernel killed a process of it for want of memory.
    pub oom: bool,
    /// Why it could not be started.
    pub error: String,
}

/// The tables, over a connection.
#[derive(Debug)]
pub struct Database {
    connection: Handle,
    root: PathBuf,
}

const COLUMNS: &str = "seq, id, name, image, image_id, created, status, paused, run, boot, started, finished, \
    exit_code, oom, error, remove, command, labels, mounts, networks, ports, policy, stopped, restarts, checked";

impl Database {
    /// The tables in the database below `root`, made if they are missing, over a connection to it.
    pub fn open(connection: Handle, root: &Path) -> Result<Database, Fault> {
        store::database::upgrade(&connection.lock(), root, SLOT, STEPS).map_err(crate::fault::store)?;
        Ok(Database { connection, root: root.to_owned() })
    }

    /// The connection, for one short use: no other method may be called meanwhile.
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    /// An error of the database while doing `action`.
    pub(crate) fn fail(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Fault + '_ {
        move |e| crate::fault::store(store::database::error(&self.root, action, e))
    }

    /// Adds a container. A name that is taken is a conflict.
    pub fn insert(&self, config: &Config, created: i64) -> Result<(), Fault> {
        let json = serde_json::to_string(config).map_err(Fault::internal)?;
        let fail = self.fail("write");
        let connection = self.lock();
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        if let Some(holder) = self.by_name(&change, &config.name)? {
            return Err(name_taken(&config.name, &holder));
        }
        // Whoever removes images looks for containers in a transaction, too.
        let mounted = config.mounts.iter().filter_map(|m| match &m.kind {
            MountKind::Image { name, id } => Some((id, name)),
            _ => None,
        });
        let own = config.root_directory.is_none().then_some((&config.image_id, &config.image));
        for (id, name) in own.into_iter().chain(mounted) {
            let image: Digest = format!("sha256:{id}").parse()?;
            if !store::is_image(&change, &image).map_err(&fail)? {
                return Err(Fault::new(Kind::NotFound, format!("{name}: the image was removed meanwhile")));
            }
        }
        change
            .execute(
                "INSERT INTO containers (id, name, image, image_id, created, status, remove, command, labels, mounts, networks, ports, policy, checked) \
                 VALUES (?, ?, ?, ?, ?, 'created', ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    config.id.as_str(),
                    config.name,
                    config.image,
                    config.image_id,
                    created,
                    config.remove,
                    join(config.arguments.iter()),
                    join(config.labels.iter().map(|(k, v)| format!("{k}={v}"))),
                    join(config.mounts.iter().map(|m| &m.destination)),
                    join(crate::container::network_names(config).iter()),
                    serde_json::to_string(&config.ports).map_err(Fault::internal)?,
                    policy(config),
                    config.life.check.is_some(),
                ],
            )
            .map_err(&fail)?;
        change.execute("INSERT INTO configs VALUES (last_insert_rowid(), ?)", [json]).map_err(&fail)?;
        crate::volume::table::use_volumes(&change, config, created).map_err(&fail)??;
        change.commit().map_err(&fail)
    }

    fn by_name(&self, connection: &Connection, name: &str) -> Result<Option<Id>, Fault> {
        let text: Option<String> = connection
            .query_row("SELECT id FROM containers WHERE name = ?", [name], |row| row.get(0))
            .optional()
            .map_err(self.fail("read"))?;
        text.map(|t| t.parse().map_err(Fault::from)).transpose()
    }

    /// Gives a container another name; one that is taken is a conflict.
    pub fn rename(&self, id: &Id, name: &str) -> Result<(), Fault> {
        let fail = self.fail("write");
        let connection = self.lock();
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        if let Some(holder) = self.by_name(&change, name)? {
            return Err(name_taken(name, &holder));
        }
        change.execute("UPDATE containers SET name = ? WHERE id = ?", params![name, id.as_str()]).map_err(&fail)?;
        change.commit().map_err(&fail)
    }

    /// The row of a container, if it is there.
    pub fn record(&self, id: &Id) -> Result<Option<Record>, Fault> {
        self.lock()
            .prepare(&format!("SELECT {COLUMNS} FROM containers WHERE id = ?"))
            .and_then(|mut query| query.query_row([id.as_str()], read).optional())
            .map_err(self.fail("read"))
    }

    /// Rows whose name is `name`, or whose id starts with it: at most one by name, else at most two by id.
    pub fn matching(&self, name: &str) -> Result<Vec<Record>, Fault> {
        let fail = self.fail("read");
        let one = self
            .lock()
            .query_row(&format!("SELECT {COLUMNS} FROM containers WHERE name = ?1 OR id = ?1"), [name], read)
            .optional()
            .map_err(&fail)?;
        if let Some(record) = one {
            return Ok(vec![record]);
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(Vec::new());
        }
        let connection = self.lock();
        let mut query = connection
            .prepare(&format!("SELECT {COLUMNS} FROM containers WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2"))
            .map_err(&fail)?;
        let rows = query.query_map([name], read).map_err(&fail)?;
        rows.collect::<Result<_, _>>().map_err(&fail)
    }

    /// All rows, oldest first.
    pub fn all(&self) -> Result<Vec<Record>, Fault> {
        let fail = self.fail("read");
        let connection = self.lock();
        let mut query = connection.prepare(&format!("SELECT {COLUMNS} FROM containers ORDER BY seq")).map_err(&fail)?;
        let rows = query.query_map([], read).map_err(&fail)?;
        rows.collect::<Result<_, _>>().map_err(&fail)
    }

    /// Rows that a killed command or a host that went down may have left, and those of containers that go when they end.
    pub fn unsettled(&self, boot: &str) -> Result<Vec<Record>, Fault> {
        let fail = self.fail("read");
        let connection = self.lock();
        let mut query = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM containers WHERE status = 'removing' OR (remove AND run > 0) OR (status = 'active' AND boot <> ?)"
            ))
            .map_err(&fail)?;
        let rows = query.query_map([boot], read).map_err(&fail)?;
        rows.collect::<Result<_, _>>().map_err(&fail)
    }

    /// The configurations of the other containers in which `id` is written.
    pub fn naming(&self, id: &Id) -> Result<Vec<Config>, Fault> {
        let fail = self.fail("read");
        let connection = self.lock();
        let mut query = connection
            .prepare(
                "SELECT config FROM configs JOIN containers USING (seq)
                 WHERE id <> ?1 AND status <> 'removing' AND instr(config, ?1)",
            )
            .map_err(&fail)?;
        let rows = query.query_map([id.as_str()], |row| row.get::<_, String>(0)).map_err(&fail)?;
        let texts: Vec<String> = rows.collect::<Result<_, _>>().map_err(&fail)?;
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The decided configuration of a container.
    pub fn config(&self, seq: i64) -> Result<Config, Fault> {
        let text: String = self
            .lock()
            .query_row("SELECT config FROM configs WHERE seq = ?", [seq], |row| row.get(0))
            .map_err(self.fail("read"))?;
        serde_json::from_str(&text)
            .map_err(|e| Fault::internal(format!("the stored configuration of a container cannot be read: {e}")))
    }

    /// Stores another configuration of a container.
    pub fn reconfigure(&self, seq: i64, config: &Config) -> Result<(), Fault> {
        let json = serde_json::to_string(config).map_err(Fault::internal)?;
        let networks = join(crate::container::network_names(config).iter());
        let connection = self.lock();
        let change =
            connection.execute("UPDATE configs SET config = ? WHERE seq = ?", params![json, seq]).and_then(|_| {
                connection.execute(
                    "UPDATE containers SET networks = ?, policy = ?, checked = ? WHERE seq = ?",
                    params![networks, policy(config), config.life.check.is_some(), seq],
                )
            });
        change.map(drop).map_err(self.fail("write"))
    }

    /// Configurations of all containers that have a user namespace of their own.
    pub fn configs_with_user_namespace(&self) -> Result<Vec<Config>, Fault> {
        let fail = self.fail("read");
        let connection = self.lock();
        let mut query = connection
            .prepare("SELECT config FROM configs WHERE json_extract(config, '$.namespaces.user') IS NOT NULL")
            .map_err(&fail)?;
        let texts: Vec<String> =
            query.query_map([], |row| row.get(0)).and_then(|rows| rows.collect()).map_err(&fail)?;
        Ok(texts.iter().filter_map(|t| serde_json::from_str(t).ok()).collect())
    }

    /// Ids of the containers made of the image with this id, or in which it is mounted, oldest first.
    pub fn users_of(&self, image_id: &str) -> Result<Vec<String>, Fault> {
        Database::of_image(&self.lock(), image_id).map_err(self.fail("read"))
    }

    /// The same, within whatever transaction the connection has.
    pub fn of_image(connection: &Connection, image_id: &str) -> rusqlite::Result<Vec<String>> {
        let mut query = connection.prepare(
            "SELECT id FROM containers JOIN configs USING (seq) WHERE image_id = ?1 OR EXISTS \
             (SELECT 1 FROM json_each(config, '$.mounts') AS m WHERE json_extract(m.value, '$.kind.Image.id') = ?1) \
             ORDER BY seq",
        )?;
        query.query_map([image_id], |row| row.get(0))?.collect()
    }

    /// How many containers each image has.
    pub fn image_users(&self) -> Result<std::collections::HashMap<String, u64>, Fault> {
        let fail = self.fail("read");
        let connection = self.lock();
        let mut query =
            connection.prepare("SELECT image_id, count(*) FROM containers GROUP BY image_id").map_err(&fail)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))).map_err(&fail)?;
        rows.collect::<Result<_, _>>().map_err(&fail)
    }

    /// Begins run number `run` in this `boot`; `again`: by its policy. The container's lock is held.
    pub fn activate(&self, id: &Id, run: i64, boot: &str, again: bool) -> Result<(), Fault> {
        self.lock()
            .execute(
                "UPDATE containers SET status = 'active', run = ?, boot = ?, paused = 0, error = '', stopped = 0, \
                 restarts = CASE WHEN ? THEN restarts + 1 ELSE 0 END WHERE id = ?",
                params![run, boot, again, id.as_str()],
            )
            .map(drop)
            .map_err(self.fail("write"))
    }

    /// Takes back a run of which nothing came.
    pub fn deactivate(&self, id: &Id, run: i64, error: &str) -> Result<(), Fault> {
        self.lock()
            .execute(
                "UPDATE containers SET status = CASE WHEN started = 0 THEN 'created' ELSE 'exited' END, error = ? \
                 WHERE id = ? AND run = ? AND status = 'active'",
                params![error, id.as_str(), run],
            )
            .map(drop)
            .map_err(self.fail("write"))
    }

    /// Records how run number `run` ended, unless that was done or there is another one. True if it was recorded.
    pub fn finish(&self, id: &Id, run: i64, ended: &Ended) -> Result<bool, Fault> {
        self.lock().execute(
                "UPDATE containers SET status = 'exited', paused = 0, started = ?, finished = ?, exit_code = ?, oom = ?, error = ? \
                 WHERE id = ? AND run = ? AND status = 'active'",
                params![ended.started, ended.finished, ended.exit_code, ended.oom, ended.error, id.as_str(), run],
            )
            .map(|rows| rows == 1)
            .map_err(self.fail("write"))
    }

    /// Marks a container as being removed.
    pub fn removing(&self, id: &Id) -> Result<(), Fault> {
        self.lock()
            .execute("UPDATE containers SET status = 'removing' WHERE id = ?", [id.as_str()])
            .map(drop)
            .map_err(self.fail("write"))
    }

    /// Marks a container as ended by somebody: its policy does not start it again.
    pub fn stopped(&self, id: &Id, by: StoppedBy) -> Result<(), Fault> {
        self.lock()
            .execute("UPDATE containers SET stopped = ? WHERE id = ?", params![by as u8, id.as_str()])
            .map(drop)
            .map_err(self.fail("write"))
    }

    /// Marks a container as frozen or not.
    pub fn paused(&self, id: &Id, paused: bool) -> Result<(), Fault> {
        self.lock()
            .execute("UPDATE containers SET paused = ? WHERE id = ?", params![paused, id.as_str()])
            .map(drop)
            .map_err(self.fail("write"))
    }

    /// Takes the row away, in a transaction of the database; with `ended`, whoever waits for the container can still learn
    /// how it ended.
    pub fn delete(change: &Transaction<'_>, seq: i64, id: &Id, ended: Option<&Ended>) -> rusqlite::Result<()> {
        change.execute("DELETE FROM configs WHERE seq = ?", [seq])?;
        change.execute("DELETE FROM containers WHERE seq = ?", [seq])?;
        if let Some(ended) = ended {
            let oldest = ended.finished - KEEP_EXITS * 1_000_000_000;
            change.execute("DELETE FROM exits WHERE finished < ?", [oldest])?;
            change.execute(
                "INSERT OR REPLACE INTO exits VALUES (?, ?, ?, ?)",
                params![id.as_str(), ended.exit_code, ended.oom, ended.finished],
            )?;
        }
        Ok(())
    }

    /// How a container that is gone ended, if that is still known.
    pub fn exit_of(&self, id: &Id) -> Result<Option<ops::container::Exit>, Fault> {
        self.lock()
            .query_row("SELECT exit_code, oom FROM exits WHERE id = ?", [id.as_str()], |row| {
                Ok(ops::container::Exit { code: row.get(0)?, oom: row.get(1)? })
            })
            .optional()
            .map_err(self.fail("read"))
    }
}

fn name_taken(name: &str, holder: &Id) -> Fault {
    Fault::new(
        Kind::Conflict,
        format!(
            "creating container storage: the container name {name:?} is already in use by {holder}. You have to remove that container to be able to reuse that name: that name is already in use"
        ),
    )
}

/// The restart policy; empty for none.
fn policy(config: &Config) -> String {
    match config.life.restart {
        Restart::No => String::new(),
        policy => policy.to_string(),
    }
}

/// Strings, each followed by a zero byte.
fn join<T: AsRef<str>>(parts: impl Iterator<Item = T>) -> String {
    let mut text = String::new();
    for part in parts {
        // An image's labels may hold anything, and must not become others here.
        text.extend(part.as_ref().chars().map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }));
        text.push('\0');
    }
    text
}

fn split(text: &str) -> Vec<String> {
    text.split_terminator('\0').map(str::to_owned).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let id: Id = text(1)?.parse().map_err(|_| rusqlite::Error::InvalidColumnName("id".into()))?;
    Ok(Record {
        seq: row.get(0)?,
        id,
        name: row.get(2)?,
        image: row.get(3)?,
        image_id: row.get(4)?,
        created: row.get(5)?,
        mark: Mark::parse(text(6)?),
        paused: row.get(7)?,
        run: row.get(8)?,
        boot: row.get(9)?,
        started: row.get(10)?,
        finished: row.get(11)?,
        exit_code: row.get(12)?,
        oom: row.get(13)?,
        error: row.get(14)?,
        remove: row.get(15)?,
        command: split(text(16)?),
        labels: split(text(17)?)
            .into_iter()
            .map(|l| match l.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (l, String::new()),
            })
            .collect(),
        mounts: split(text(18)?),
        networks: split(text(19)?),
        ports: serde_json::from_str(text(20)?).unwrap_or_default(),
        policy: text(21)?.parse().unwrap_or_default(),
        stopped: match row.get::<_, u8>(22)? {
            0 => StoppedBy::Nobody,
            2 => StoppedBy::Shutdown,
            _ => StoppedBy::User,
        },
        restarts: row.get(23)?,
        checked: row.get(24)?,
    })
}

#[cfg(test)]
mod tests;
