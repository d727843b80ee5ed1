//! Options that few ask for, each by what it changes: where results of checks go, what is cleaned up, what a commit is given.

use crate::home::{Home, Who};
use std::fs;

#[test]
fn results_of_checks_go_where_they_are_asked_to() {
    let home = Home::new();
    home.load();
    let directory = home.path("home");
    let directory = directory.to_str().unwrap();
    let with = |name: &str, destination: &str| {
        let words = ["run", "-d", "--name", name, "--health-cmd", "echo all is fine", "--health-interval", "disable"];
        let more = ["--health-log-destination", destination, "--health-startup-cmd", "none", "busybox", "sleep", "100"];
        home.run(&[&words[..], &more].concat())
    };
    with("a", directory).quiet();
    assert_eq!(home.inspect("a", "{{.Config.HealthLogDestination}}"), directory);
    home.run(&["healthcheck", "run", "a"]).ok();
    let id = home.inspect("a", "{{.Id}}");
    let read = || -> serde_json::Value {
        let text = fs::read_to_string(home.path(&format!("home/{id}-healthcheck.log"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let log = read();
    assert_eq!(
        (log["Status"].as_str(), log["Log"][0]["Output"].as_str()),
        (Some("healthy"), Some("all is fine\n")),
        "{log}"
    );
    home.run(&["update", "--health-log-destination", "local", "a"]).ok();
    home.run(&["healthcheck", "run", "a"]).ok();
    assert_eq!(read(), log, "nothing is written there any more");
    let told = || {
        home.run(&["events", "--stream=false", "--since", "1h", "--filter", "event=health_status", "--format", "json"])
            .ok()
    };
    assert!(!told().contains("all is fine"), "{}", told());
    with("b", "events_logger").quiet();
    home.run(&["healthcheck", "run", "b"]).ok();
    assert!(told().contains("\"health_log\":\"all is fine\\n\"") || told().contains("all is fine"), "{}", told());
    with("c", "/no/such").fails(125, &["/no/such: no such directory"]);
    with("c", "events").code(125);
}

#[test]
fn cleaning_up_removes_what_it_is_told_to() {
    let home = Home::new();
    home.load();
    for name in ["a", "b"] {
        home.run(&["run", "--name", name, "busybox", "true"]).ok();
    }
    home.run(&["container", "cleanup", "a"]).ok();
    home.run(&["container", "cleanup", "--exec", "0123", "a"]).ok();
    home.run(&["container", "cleanup", "--exec", "0123", "--rm", "a"]).fails(125, &["conflicts"]);
    home.run(&["container", "cleanup", "--exec", "0123", "nobody"]).fails(125, &["nobody"]);
    assert_eq!(home.run(&["ps", "-aq"]).ok().lines().count(), 2);
    home.run(&["container", "cleanup", "--rm", "a"]).ok();
    assert_eq!(home.run(&["ps", "-a", "--format", "{{.Names}}"]).quiet(), "b");
    home.run(&["container", "cleanup", "--rmi", "b"]).ok();
    assert_eq!((home.run(&["ps", "-aq"]).quiet(), home.run(&["images", "-q"]).quiet()), (String::new(), String::new()));
}

#[test]
fn a_commit_takes_a_configuration() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "c", "-e", "OLD=1", "busybox", "true"]).ok();
    let given =
        r#"{"Env": ["NEW=2"], "Labels": {"a": "b", "none": null}, "WorkingDir": "/srv", "StopSignal": "SIGFOO"}"#;
    let file = home.write("config.json", given.as_bytes());
    home.run(&["commit", "-q", "--config", file.to_str().unwrap(), "c", "made"]).ok();
    // A label that is null is an empty one; a signal that does not exist is told when it matters.
    home.run(&["run", "--rm", "made", "true"]).fails(125, &["invalid signal: SIGFOO", "--stop-signal"]);
    let look = ["run", "--name", "d", "--stop-signal", "TERM", "made", "sh", "-c", "echo $OLD $NEW; pwd"];
    assert_eq!(home.run(&look).quiet(), "1 2\n/srv");
    assert_eq!(home.inspect("d", "{{.Config.Labels.a}}:{{.Config.Labels.none}}:"), "b::");
    fs::write(&file, "{\"Nonsense\": 1}").unwrap();
    home.run(&["commit", "--config", file.to_str().unwrap(), "c", "made"]).fails(125, &["\"Nonsense\" is not known"]);
    home.run(&["commit", "--config", "/no/such", "c", "made"]).fails(125, &["/no/such"]);
}

#[test]
fn what_is_not_meant_so_is_refused() {
    let home = Home::new();
    home.load();
    home.run(&["run", "--annotation", "foo", "busybox", "true"])
        .fails(125, &["annotations must be formatted KEY=VALUE"]);
    home.run(&["run", "--security-opt", "seccomp", "busybox", "true"])
        .fails(125, &["invalid --security-opt 1: \"seccomp\""]);
    home.run(&["run", "--security-opt", "no-new-privileges", "--rm", "busybox", "true"]).quiet();
    home.run(&["run", "--rm=false", "--rmi", "busybox", "true"])
        .fails(125, &["the --rmi option does not work without --rm"]);
    home.run(&["create", "--rm", "--name", "gone", "busybox", "true"]).ok();
    home.run(&["container", "clone", "gone", "stays"]).ok();
    home.run(&["start", "-a", "gone"]).ok();
    home.run(&["start", "-a", "stays"]).ok();
    home.until("the one with --rm is gone", || home.run(&["ps", "-a", "--format", "{{.Names}}"]).quiet() == "stays");
    home.run(&["system", "migrate"]).quiet();
    home.run(&["system", "migrate", "--new-runtime", "runc"]).fails(125, &["\"runc\"", "built in"]);
    if crate::home::am_root() && std::path::Path::new("/dev/tty1").exists() {
        assert_eq!(home.sh(&["--privileged"], "test -c /dev/tty1 && echo there").quiet(), "there");
        assert_eq!(home.sh(&["--privileged", "--systemd", "always"], "test -e /dev/tty1 || echo none").quiet(), "none");
    }
}

#[test]
fn the_network_of_containers_can_be_entered() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    home.load();
    let network =
        |flags: &[&str]| home.run(&[&["unshare"][..], flags, &["readlink", "/proc/self/ns/net"]].concat()).quiet();
    let plain = network(&[]);
    home.run(&["run", "-d", "--name", "c", "busybox", "sleep", "100"]).ok();
    let inside = network(&["--rootless-netns"]);
    assert_ne!(inside, plain);
    // The same for all of them, as long as containers are there.
    assert_eq!(network(&["--rootless-netns"]), inside);
    assert_ne!(home.run(&["exec", "c", "readlink", "/proc/self/ns/net"]).quiet(), inside);
}
