//! The database: one SQLite file for all rooms, which share one connection in each process.
//!
//! Commits do not wait for the disk: they go to the write-ahead log, of which a power cut may take the newest, but
//! always in order. The log is copied back into the database file, the only time that anybody waits (for the log, then
//! for the database), by a command that changed something and has done everything else: see [`CHECKPOINT`].

use crate::{Error, Result, format};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a command waits for another one's transaction. Transactions are short; a minute means a stuck disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes in the write-ahead log after which a command copies it back, last of all, and makes it empty. The first command
/// after a pause reads the whole log: a small one keeps that well below a millisecond.
const CHECKPOINT: u64 = 128 * FRAME;

/// The same for a command that may have begun this log, for which it has waited once already.
const LATE: u64 = 8 * CHECKPOINT;

/// Pages after which a commit copies the log back by itself: where all commands are killed, or one runs for days.
const OVERDUE: u32 = 4000;

/// Bytes of a page in the log, with its header.
const FRAME: u64 = 4096 + 24;

/// Bytes that commands need to write down what they do; with fewer left, the ballast is given up.
const ROOM: u64 = 256 << 10;

/// Slot of the store's own tables in `PRAGMA user_version`.
const STORE: u8 = 0;

/// The tables, step by step: the version of a database is the number of steps it has seen.
const STEPS: &[&str] = &[
    "
    CREATE TABLE layers (name TEXT PRIMARY KEY, diff_id BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL,
        entries INTEGER NOT NULL, root_listed INTEGER NOT NULL, root_opaque INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE blobs (digest BLOB PRIMARY KEY, size INTEGER NOT NULL, diff_id BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (digest BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL);
    CREATE TABLE images (id INTEGER PRIMARY KEY, config BLOB NOT NULL UNIQUE, manifest BLOB NOT NULL,
        media_type TEXT NOT NULL, created INTEGER NOT NULL, size INTEGER NOT NULL, labels TEXT NOT NULL,
        loaded INTEGER NOT NULL);
    CREATE TABLE image_layers (image INTEGER, position INTEGER, layer TEXT NOT NULL, blob BLOB NOT NULL,
        PRIMARY KEY (image, position)) WITHOUT ROWID;
    CREATE TABLE names (name TEXT PRIMARY KEY, image INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE snapshots (container TEXT PRIMARY KEY, driver TEXT NOT NULL, image BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE snapshot_layers (container TEXT, position INTEGER, layer TEXT NOT NULL,
        PRIMARY KEY (container, position)) WITHOUT ROWID;
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
",
    "
    CREATE TABLE lists (name TEXT PRIMARY KEY, id BLOB NOT NULL, bytes BLOB NOT NULL, sources TEXT NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE signatures (manifest BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
",
    "
    CREATE TABLE mapped_layers (name TEXT NOT NULL, layer TEXT, map TEXT, kept INTEGER NOT NULL,
        referring INTEGER NOT NULL, PRIMARY KEY (layer, map)) WITHOUT ROWID;
    ALTER TABLE snapshots ADD COLUMN map TEXT;
",
    "
    ALTER TABLE blobs ADD COLUMN dropped TEXT;
    CREATE TABLE given_names (number INTEGER PRIMARY KEY, image INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (image, name));
",
];

/// Path of the database of the store below `root`.
pub fn path(root: &Path) -> PathBuf {
    root.join(format::DATABASE)
}

/// The connection of this process, shared by its rooms. The last of them to let go of it copies the log back if that is
/// due.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Open>);

#[derive(Debug)]
struct Open {
    connection: Mutex<Connection>,
    root: PathBuf,
    /// Bytes in the log when it was opened.
    before: u64,
}

impl Handle {
    /// Opens a connection to the database below `root`, creating both if missing. No table is read yet.
    pub fn open(root: &Path) -> Result<Handle> {
        let before = log_length(root);
        Ok(Handle(Arc::new(Open { connection: Mutex::new(open(root)?), root: root.to_owned(), before })))
    }

    /// The connection, for one short use.
    pub fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        if connection.total_changes() == 0 {
            return;
        }
        // Whoever writes first to an empty log waits for its header to be on the disk.
        let due = if self.before == 0 { LATE } else { CHECKPOINT };
        if log_length(&self.root) < due {
            return;
        }
        // Never waits for others: where somebody reads or writes, it does what can be done, or leaves it to the next. What
        // cannot be copied stays in the log.
        let _ = connection.busy_timeout(Duration::ZERO);
        let _ = connection.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

fn log_length(root: &Path) -> u64 {
    let mut log = path(root).into_os_string();
    log.push("-wal");
    rustix::fs::stat(Path::new(&log)).map_or(0, |stat| stat.st_size.cast_unsigned())
}

/// Opens a connection to the database below `root`, creating both if missing. No table is read yet.
fn open(root: &Path) -> Result<Connection> {
    sys::database::prepare();
    let file = path(root);
    let fail = |source| error(root, "open", source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = match Connection::open_with_flags(&file, flags) {
        Err(problem) if problem.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            create_directories(root)?;
            // Containers' environments are in it: the owner's alone, in whatever directory. SQLite's other files follow it.
            let create = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
            create.map_err(|source| Error::Path { action: "create", path: file.clone(), source })?;
            Connection::open_with_flags(&file, flags | OpenFlags::SQLITE_OPEN_CREATE).map_err(fail)?
        }
        other => other.map_err(fail)?,
    };
    if connection.is_readonly("main").unwrap_or(false) && on_read_only_disk(root) {
        return open_read_only(&file).map_err(fail);
    }
    give_up_ballast(root);
    connection.busy_timeout(PATIENCE).map_err(fail)?;
    // A checkpoint waits for the disk, twice: not at the end of every command.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
    // A log begun anew is cut, so that its length tells how much is in it.
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint={OVERDUE}; PRAGMA journal_size_limit=0;"
        ))
        .map_err(fail)?;
    Ok(connection)
}

/// On a full disk even a container's end could not be written down, nor could anything be removed: the ballast goes
/// before the first command fails. No failure matters.
fn give_up_ballast(root: &Path) {
    if rustix::fs::statvfs(root).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < ROOM) {
        let _ = std::fs::remove_file(root.join(format::BALLAST));
    }
}

/// True if nobody can write there.
pub(crate) fn on_read_only_disk(root: &Path) -> bool {
    rustix::fs::statvfs(root).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Nobody writes there: no locks are needed, and the index of the log, which others would share, is kept in memory.
fn open_read_only(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags_and_vfs(file, flags, c"unix-none")?;
    connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE;")?;
    Ok(connection)
}

/// Brings the tables of one room to their newest version. `slot` (0–3; 0 is the store's, 1 the engine's) is the byte
/// of `PRAGMA user_version` that counts the `steps` this database has seen. A step is SQL, run once.
pub fn upgrade(connection: &Connection, root: &Path, slot: u8, steps: &[&str]) -> Result<()> {
    let fail = |source| error(root, "upgrade", source);
    let known = steps.len() as i64;
    let shift = 8 * u32::from(slot);
    let versions = |connection: &Connection| -> Result<i64> {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)
    };
    let of = |all: i64| (all >> shift) & 0xff;
    let found = of(versions(connection)?);
    if found == known {
        return Ok(());
    }
    if found > known {
        return Err(Error::Newer { path: path(root), found, known });
    }
    begin_log(connection).map_err(fail)?;
    let change = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(fail)?;
    // Somebody else may have been faster.
    let all = versions(&change)?;
    for step in steps.iter().skip(of(all) as usize) {
        change.execute_batch(step).map_err(fail)?;
    }
    if of(all) < known {
        change.pragma_update(None, "user_version", all & !(0xff << shift) | known << shift).map_err(fail)?;
    }
    change.commit().map_err(fail)
}

/// Has changes written to a log first. Several commands may make the database at once, and SQLite does not wait for the others at
/// this: so it is asked again.
fn begin_log(connection: &Connection) -> rusqlite::Result<()> {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(problem)
                if problem.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && std::time::Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// The newest version of the store's own tables.
pub(crate) fn version() -> i64 {
    STEPS.len() as i64
}

/// Brings the store's own tables to their newest version.
pub(crate) fn migrate(connection: &Connection, root: &Path) -> Result<()> {
    upgrade(connection, root, STORE, STEPS)
}

/// An error of the database of the store below `root` while doing `action`.
pub fn error(root: &Path, action: &'static str, source: rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Damaged { path: path(root), detail: source.to_string() }
        }
        _ => Error::Database { action, path: path(root), source },
    }
}

fn create_directories(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let create = |directory: PathBuf, mode: u32| {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(&directory).map_err(|source| Error::Path {
            action: "create",
            path: directory,
            source,
        })
    };
    // What is above it is nobody's in particular.
    if let Some(above) = root.parent().filter(|above| !above.as_os_str().is_empty()) {
        create(above.to_owned(), 0o755)?;
    }
    create(root.to_owned(), 0o711)?;
    // Layers hold set-user-id files of strangers: no other user may reach them (CVE-2021-21285 and its like).
    for private in [format::WORK, format::BLOBS, format::RECIPES] {
        create(root.join(private), 0o700)?;
    }
    // Containers in other user namespaces pass through these, so x for all; names cannot be listed.
    for passed in [format::LAYERS, format::MAPPED, format::SNAPSHOTS, format::EMPTY] {
        create(root.join(passed), 0o711)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn opens_again_and_keeps_what_was_written() {
        let scratch = Scratch::new();
        let first = open(scratch.path()).unwrap();
        migrate(&first, scratch.path()).unwrap();
        first.execute("INSERT INTO facts VALUES ('a', 'b')", []).unwrap();
        drop(first);
        let again = open(scratch.path()).unwrap();
        migrate(&again, scratch.path()).unwrap();
        let value: String = again.query_row("SELECT value FROM facts WHERE name = 'a'", [], |row| row.get(0)).unwrap();
        assert_eq!(value, "b");
        let mode: String = again.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn rooms_count_their_versions_apart() {
        let scratch = Scratch::new();
        let connection = open(scratch.path()).unwrap();
        migrate(&connection, scratch.path()).unwrap();
        upgrade(&connection, scratch.path(), 1, &["CREATE TABLE one (a)"]).unwrap();
        upgrade(&connection, scratch.path(), 1, &["CREATE TABLE one (a)", "CREATE TABLE two (a)"]).unwrap();
        migrate(&connection, scratch.path()).unwrap();
        connection.execute("INSERT INTO two VALUES (1)", []).unwrap();
        assert!(matches!(upgrade(&connection, scratch.path(), 1, &[]), Err(Error::Newer { found: 2, known: 0, .. })));
    }

    #[test]
    fn the_log_is_copied_back_by_who_comes_later_and_never_by_who_began_it() {
        let scratch = Scratch::new();
        let write = |bytes: u64| {
            let handle = Handle::open(scratch.path()).unwrap();
            migrate(&handle.lock(), scratch.path()).unwrap();
            handle
                .lock()
                .execute("INSERT OR REPLACE INTO facts VALUES ('a', hex(zeroblob(?1)))", [bytes as i64 / 2])
                .unwrap();
        };
        write(2 * CHECKPOINT);
        assert!(log_length(scratch.path()) > CHECKPOINT, "whoever begins it has waited enough");
        let look = Handle::open(scratch.path()).unwrap();
        assert_eq!(
            look.lock().query_row("SELECT length(value) FROM facts", [], |row| row.get(0)),
            Ok(2 * CHECKPOINT as i64)
        );
        drop(look);
        assert!(log_length(scratch.path()) > CHECKPOINT, "whoever only reads leaves it alone");
        write(2);
        assert_eq!(log_length(scratch.path()), 0);
        write(4);
        let kept = log_length(scratch.path());
        assert!((1..CHECKPOINT).contains(&kept), "{kept}");
        write(2 * LATE);
        assert_eq!(log_length(scratch.path()), 0);
        write(2 * LATE);
        assert_eq!(log_length(scratch.path()), 0, "a very long one is copied by anybody");
    }

    #[test]
    fn a_log_that_somebody_reads_is_left_whole() {
        let scratch = Scratch::new();
        let handle = Handle::open(scratch.path()).unwrap();
        migrate(&handle.lock(), scratch.path()).unwrap();
        handle.lock().execute("INSERT INTO facts VALUES ('a', hex(zeroblob(?1)))", [CHECKPOINT as i64]).unwrap();
        let reader = open(scratch.path()).unwrap();
        let reading = reader.unchecked_transaction().unwrap();
        let count = || reading.query_row("SELECT count(*) FROM facts", [], |row| row.get::<_, i64>(0));
        assert_eq!(count(), Ok(1));
        drop(handle);
        let writer = Handle::open(scratch.path()).unwrap();
        writer.lock().execute("INSERT INTO facts VALUES ('b', 'c')", []).unwrap();
        drop(writer);
        assert_eq!(count(), Ok(1), "it sees what it saw");
        drop(reading);
        assert_eq!(reader.query_row("SELECT count(*) FROM facts", [], |row| row.get::<_, i64>(0)), Ok(2));
    }

    #[test]
    fn damage_is_told_as_such() {
        let scratch = Scratch::new();
        std::fs::write(path(scratch.path()), [b'x'; 8192]).unwrap();
        let problem = open(scratch.path()).and_then(|connection| migrate(&connection, scratch.path())).unwrap_err();
        assert!(matches!(problem, Error::Damaged { .. }), "{problem:?}");
        assert!(problem.to_string().contains("damaged"), "{problem}");
    }
}
