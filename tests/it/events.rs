//! Events: what a life looks like in the file, filters, following, and their price.

use crate::home::Home;

/// `STATUS` of all that happened, in order.
fn told(home: &Home, filters: &[&str]) -> Vec<String> {
    let mut args = vec!["events", "--stream=false", "--since", "1h", "--format", "{{.Status}}"];
    args.extend(filters.iter().flat_map(|filter| ["--filter", *filter]));
    home.run(&args).quiet().lines().map(String::from).collect()
}

#[test]
fn a_life_is_told_in_order() {
    let home = Home::new();
    home.load();
    assert_eq!(told(&home, &["type=image"]), ["loadfromarchive"]);
    let id_file = home.path("id");
    home.run(&[
        "run",
        "--rm",
        "--cidfile",
        id_file.to_str().unwrap(),
        "--network",
        "none",
        "-l",
        "colour=red",
        "busybox",
        "true",
    ])
    .quiet();
    assert_eq!(told(&home, &["type=container"]), ["create", "init", "attach", "start", "died", "remove"]);
    home.run(&["create", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]).quiet();
    home.run(&["start", "one"]).ok();
    home.run(&["exec", "one", "sh", "-c", "exit 7"]).code(7);
    if home.run(&["pause", "one"]).code == 0 {
        home.run(&["unpause", "one"]).ok();
    }
    home.run(&["rename", "one", "two"]).ok();
    home.run(&["stop", "-t", "0", "two"]).ok();
    home.run(&["rm", "two"]).ok();
    let mut life = told(&home, &["type=container", "container=one", "container=two"]);
    assert!(life.iter().any(|status| status == "stop"), "{life:?}");
    // Who stops and who cleans up tell side by side.
    life.retain(|status| !status.ends_with("pause") && status != "stop");
    assert_eq!(life, ["create", "init", "start", "exec", "exec_died", "rename", "died", "cleanup", "remove"]);
    assert_eq!(told(&home, &["label=colour=red", "event=died"]), ["died"]);
    assert_eq!(told(&home, &["event=create", "event=remove", "container=two"]), ["remove"]);
    assert_eq!(told(&home, &["image=busybox", "event=create"]).len(), 2);
    let codes = home.run(&["events", "--stream=false", "--filter", "event=exec_died", "--format", "json"]).quiet();
    let code: serde_json::Value = serde_json::from_str(&codes).unwrap();
    assert_eq!((code["ContainerExitCode"].as_i64(), code["Type"].as_str()), (Some(7), Some("container")));
    home.run(&["volume", "create", "v"]).ok();
    home.run(&["volume", "rm", "v"]).ok();
    home.run(&["tag", "busybox", "other"]).ok();
    assert_eq!(told(&home, &["type=volume"]), ["create", "remove"]);
    assert_eq!(told(&home, &["type=image", "event=tag"]), ["tag"]);
    home.run(&["events", "--filter", "colour=red"]).fails(125, &["invalid filter"]);
    home.run(&["events", "--until", "whenever"]).fails(125, &["whenever"]);
}

#[test]
fn events_are_followed() {
    let home = Home::new();
    home.load();
    let file = home.path("seen");
    let mut command = home.command(&["events", "--filter", "event=died", "--since", "1h"]);
    let mut following = command.stdout(std::fs::File::create(&file).unwrap()).spawn().unwrap();
    home.run(&["run", "--rm", "--network", "none", "--name", "one", "busybox", "true"]).ok();
    home.run(&["run", "--rm", "--network", "none", "--name", "two", "busybox", "true"]).ok();
    let read = || std::fs::read_to_string(&file).unwrap();
    home.until("both were told", || read().lines().count() == 2);
    following.kill().unwrap();
    following.wait().unwrap();
    let seen = read();
    let names: Vec<_> = seen.lines().map(|line| line.contains("name=one")).collect();
    assert_eq!(names, [true, false], "{seen}");
    home.run(&["events", "--until", "100ms"]).quiet();
    assert!(seen.contains(" container died ") && seen.contains("image=localhost/busybox:latest"), "{seen}");
}

#[test]
fn nobody_is_told_without_a_backend() {
    let home = Home::new();
    home.load();
    home.run(&["--events-backend", "none", "run", "-d", "--name", "one", "--network", "none", "busybox", "true"])
        .quiet();
    home.run(&["wait", "one"]).ok();
    home.until("its monitor is gone", || home.processes().is_empty());
    assert_eq!(told(&home, &["type=container"]), Vec::<String>::new());
    home.run(&["--events-backend", "none", "events"]).fails(125, &["none"]);
    home.run(&["--events-backend", "journald", "ps"]).fails(125, &["journal"]);
}
