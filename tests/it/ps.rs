//! The list of containers: its columns, orders and shapes.

use crate::home::Home;

#[test]
fn words_of_podmans_that_scripts_rely_on() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--network", "none", "--name", "one", "busybox", "true"]).quiet();
    // A template wins over --quiet, and no network is no network's name.
    assert_eq!(home.run(&["ps", "-aq", "--format", "{{.Names}}|{{.Networks}}|"]).quiet(), "one||");
    home.run(&["ps", "-aqs"]).fails(125, &["quiet conflicts with size and namespace"]);
    assert_eq!(home.run(&["init", "one"]).quiet(), "one");
    home.run(&["init", "one"]).fails(125, &["has already been created in runtime: container state improper"]);
    home.run(&["rm", "one"]).quiet();
}

#[test]
fn sizes_and_namespaces() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "small", "busybox", "sleep", "100"]).quiet();
    home.run(&["run", "--name", "large", "busybox", "sh", "-c", "head -c 5000000 /dev/zero >/file"]).code(0);
    let sizes = home.run(&["ps", "-a", "--sort", "size", "--format", "{{.Names}} {{.Size}}"]).ok();
    let lines: Vec<&str> = sizes.lines().collect();
    assert!(lines[0].starts_with("small 0B (virtual "), "{sizes}");
    assert!(lines[1].starts_with("large 5MB (virtual "), "{sizes}");
    let table = home.run(&["ps", "-as", "--no-trunc"]).ok();
    assert!(table.lines().next().is_some_and(|heading| heading.trim_end().ends_with("SIZE")), "{table}");
    let json = home.run(&["ps", "-s", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["Size"]["rwSize"], 0);
    assert!(json[0]["Size"]["rootFsSize"].as_u64().is_some_and(|bytes| bytes > 100_000), "{json}");

    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    let spaces = home.run(&["ps", "--ns", "--format", "{{.Names}} {{.MNT}} {{.PIDNS}} {{.NET}}"]).ok();
    let numbers: Vec<&str> = spaces.split_whitespace().skip(1).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u64>().is_ok()), "{spaces}");
    assert!(!own.to_string_lossy().contains(numbers[0]), "the container has a namespace of its own");
    assert!(home.run(&["ps", "--ns"]).ok().contains("CGROUPNS"));
    assert!(home.run(&["ps", "--pod"]).ok().contains("PODNAME"));
    home.run(&["ps", "--size", "--ns"]).fails(125, &["size and namespace"]);
    home.run(&["ps", "--sort", "colour"]).fails(125, &["colour", "names"]);
    assert_eq!(home.run(&["ps", "--external", "--sync", "-q"]).ok().lines().count(), 1);
    assert_eq!(home.run(&["ps", "-a", "--filter", "status=stopped", "--format", "{{.Names}}"]).quiet(), "large");
    home.run(&["rm", "-f", "-t0", "small"]).quiet();
}
