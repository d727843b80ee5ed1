//! Records written, read and settled.

use super::*;
use crate::container::facts::Facts;
use crate::container::resolve::{Image, resolve};
use ops::container::{Create, List, Status};

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("engine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(id: u8, name: &str, remove: bool) -> Config {
    let image = Image {
        name: "localhost/x:latest".into(),
        id: "cd".repeat(32),
        config: serde_json::from_str(r#"{"config":{"Cmd":["sh","-c","a b"],"Labels":{"k":"v=w"}}}"#).unwrap(),
    };
    let asked = Create { remove, volumes: vec!["/h:/inside".into()], ..Create::default() };
    resolve(&asked, &image, &Facts::default(), &Id::from_random([id; 32]), name).unwrap().0
}

fn id(byte: u8) -> Id {
    Id::from_random([byte; 32])
}

fn open(root: &Path) -> Database {
    let handle = Handle::open(root).unwrap();
    drop(store::Store::with(handle.clone(), root, store::Options::default()).unwrap());
    let image = "INSERT OR IGNORE INTO images (config, manifest, media_type, created, size, labels, loaded)
        VALUES (?1, x'', '', 0, 0, '', 0)";
    handle.lock().execute(image, [[0xcd; 32]]).unwrap();
    Database::open(handle, root).unwrap()
}

fn delete(database: &Database, seq: i64, id: &Id, ended: Option<&Ended>) {
    let connection = database.lock();
    let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).unwrap();
    Database::delete(&change, seq, id, ended).unwrap();
    change.commit().unwrap();
}

#[test]
fn rows_come_back_as_they_were_put() {
    let scratch = Scratch::new("rows");
    let database = open(&scratch.0);
    let config = config(0xaa, "one", false);
    database.insert(&config, 7).unwrap();
    let record = database.record(&id(0xaa)).unwrap().unwrap();
    assert_eq!(
        (record.command.as_slice(), record.created, record.mark),
        (["sh", "-c", "a b"].map(String::from).as_slice(), 7, Mark::Created)
    );
    assert_eq!((record.labels, record.mounts), (vec![("k".to_owned(), "v=w".to_owned())], vec!["/inside".to_owned()]));
    assert_eq!(database.config(record.seq).unwrap(), config);
    assert_eq!(database.image_users().unwrap()[&"cd".repeat(32)], 1);
}

#[test]
fn a_name_is_given_once_and_prefixes_must_be_clear() {
    let scratch = Scratch::new("names");
    let database = open(&scratch.0);
    database.insert(&config(0xaa, "one", false), 1).unwrap();
    assert_eq!(database.insert(&config(0xab, "one", false), 2).unwrap_err().kind, Kind::Conflict);
    database.insert(&config(0xab, "two", false), 2).unwrap();
    database.insert(&config(0xbb, "a", false), 3).unwrap();
    let count = |name: &str| database.matching(name).unwrap().len();
    assert_eq!([count("one"), count("aa"), count("ab"), count("two"), count("zz"), count("")], [1, 1, 1, 1, 0, 0]);
    // A name weighs more than the start of an id.
    assert_eq!(database.matching("a").unwrap()[0].id, id(0xbb));
    let record = database.record(&id(0xbb)).unwrap().unwrap();
    delete(&database, record.seq, &record.id, None);
    assert_eq!(count("a"), 2);
}

#[test]
fn an_end_counts_for_its_own_run_only_and_outlasts_the_container() {
    let scratch = Scratch::new("runs");
    let database = open(&scratch.0);
    database.insert(&config(1, "one", true), 1).unwrap();
    let ended = Ended { started: 5, finished: crate::container::now(), exit_code: 3, oom: true, error: String::new() };
    database.activate(&id(1), 1, "boot", false).unwrap();
    database.activate(&id(1), 2, "boot", false).unwrap();
    assert_eq!(database.unsettled("boot").unwrap().len(), 1, "nobody may have noticed that it ended");
    assert!(!database.finish(&id(1), 1, &ended).unwrap());
    assert!(database.finish(&id(1), 2, &ended).unwrap());
    assert!(!database.finish(&id(1), 2, &ended).unwrap());
    let record = database.record(&id(1)).unwrap().unwrap();
    assert_eq!((record.mark, record.exit_code, record.oom), (Mark::Exited, 3, true));
    assert_eq!(database.unsettled("boot").unwrap().len(), 1, "it was to be removed when it ended");
    delete(&database, record.seq, &id(1), Some(&ended));
    assert!(database.record(&id(1)).unwrap().is_none());
    assert_eq!(database.exit_of(&id(1)).unwrap().unwrap().code, 3);
}

#[test]
fn what_a_dead_boot_or_a_killed_command_left_is_told_as_it_is() {
    let scratch = Scratch::new("boot");
    let settings = crate::Settings {
        root: scratch.0.join("root"),
        networks: scratch.0.join("networks"),
        volumes: scratch.0.join("root/volumes"),
        storage: None,
        run_root: scratch.0.join("run"),
        uid: 0,
        is_inside: false,
        gid: 0,
        path: None,
        events: Default::default(),
        notify_socket: None,
        started_by_unit: false,
        proxies: Vec::new(),
        auth_files: Vec::new(),
        certificate_roots: Vec::new(),
        image_stores: Vec::new(),
        containers: Default::default(),
        lookaside: Vec::new(),
        signatures: None,
        policies: Vec::new(),
        registries: Default::default(),
        configuration: Default::default(),
        mounts: Vec::new(),
        given: Default::default(),
    };
    drop(open(&settings.root));
    let engine = crate::Engine::open(settings).unwrap();
    let database = engine.database().unwrap();
    database.insert(&config(1, "rebooted", false), 1).unwrap();
    database.activate(&id(1), 1, "another boot", false).unwrap();
    database.insert(&config(2, "killed", false), 2).unwrap();
    // Whoever starts a container makes its directory first, for the lock in it.
    std::fs::create_dir_all(engine.container_directory(&id(2))).unwrap();
    database.activate(&id(2), 1, engine.boot(), false).unwrap();
    let all = engine.list(&List { all: true, ..List::default() }).unwrap();
    let told = |name: &str| {
        let summary = all.iter().find(|c| c.name == name).unwrap();
        (summary.status, summary.exit_code)
    };
    assert_eq!(told("rebooted"), (Status::Exited, 137));
    assert_eq!(told("killed"), (Status::Created, 0));
    assert_eq!(engine.wait("rebooted").unwrap().code, 137);
    // A start that was killed again, before anybody lists it: waiting ends.
    database.activate(&id(2), 2, engine.boot(), false).unwrap();
    assert_eq!(engine.wait("killed").unwrap().code, 0);
}

#[test]
fn an_image_that_is_gone_gets_no_container() {
    let scratch = Scratch::new("gone");
    let database = open(&scratch.0);
    database.lock().execute("DELETE FROM images", []).unwrap();
    let refused = database.insert(&config(0xaa, "one", false), 7).unwrap_err();
    assert_eq!(refused.kind, Kind::NotFound);
    assert!(database.record(&id(0xaa)).unwrap().is_none());
}
