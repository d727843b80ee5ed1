//! User namespaces: `--userns host`, `auto`, `keep-id`.

use crate::home::{Home, Who};

#[test]
fn root_has_the_hosts_unless_asked() {
    let Some(home) = Home::bent(
        Who::Me,
        "[ -e /etc/subuid ] || : >/etc/subuid; [ -e /etc/subgid ] || : >/etc/subgid; \
        echo containers:3000000:1000000 >$HOME_DIR/sub; mount --bind $HOME_DIR/sub /etc/subuid; mount --bind $HOME_DIR/sub /etc/subgid",
    ) else {
        return;
    };
    let host = std::fs::read_link("/proc/self/ns/user").unwrap();
    for flags in [&[][..], &["--userns", "host"]] {
        assert_eq!(home.sh(flags, "readlink /proc/self/ns/user").quiet(), host.to_str().unwrap());
    }
    let map = home.sh(&["--userns", "auto"], "cat /proc/self/uid_map; stat -c %u /etc/passwd /home/app").quiet();
    let first: Vec<_> = map.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first[0], "0", "{map}");
    assert!(first[1].parse::<u64>().unwrap() >= 3_000_000, "{map}");
    assert!(map.ends_with("\n0\n1000"), "the image's owners are not mapped: {map}");
    home.sh(&["--userns", "made-up"], "true").fails(125, &["made-up"]);
}

#[test]
fn two_automatic_ones_do_not_overlap() {
    let Some(home) = Home::bent(
        Who::Me,
        "[ -e /etc/subuid ] || : >/etc/subuid; [ -e /etc/subgid ] || : >/etc/subgid; \
        echo containers:3000000:1000000 >$HOME_DIR/sub; mount --bind $HOME_DIR/sub /etc/subuid; mount --bind $HOME_DIR/sub /etc/subgid",
    ) else {
        return;
    };
    home.load();
    let map_of = |name: &str| {
        let map = home.run(&["exec", name, "cat", "/proc/self/uid_map"]).quiet();
        let words: Vec<u64> = map.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (words[1], words[1] + words[2])
    };
    for name in ["one", "two"] {
        home.run(&["run", "-d", "--name", name, "--userns=auto", "busybox", "sleep", "100"]).quiet();
    }
    home.run(&["container", "clone", "--run", "--name", "three", "one"]).ok();
    let maps = ["one", "two", "three"].map(map_of);
    for (at, one) in maps.iter().enumerate() {
        for two in &maps[at + 1..] {
            assert!(one.1 <= two.0 || two.1 <= one.0, "{one:?} and {two:?} overlap");
        }
    }
}

#[test]
fn keep_id_keeps_the_callers_id() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    let volume = home.path("home");
    let flags = ["--userns", "keep-id", "-v", &format!("{}:/kept", volume.display())];
    let out = home.sh(&flags, "id -u; stat -c %u /kept; touch /kept/mine && stat -c %u /kept/mine").quiet();
    assert_eq!(out, "61234\n61234\n61234");
    // What the image says is root's is the container's root's, and not the user's.
    let flags = ["--userns", "keep-id:uid=7,gid=8"];
    let out = home.sh(&flags, "id -u; id -g; stat -c %u:%g /bin /home/app/own; touch /bin/x").code(1);
    assert!(out.out.starts_with("7\n8\n0:0\n1000:1000"), "{out:?}");
    let Some(single) = Home::of(Who::Single) else { return };
    assert_eq!(single.sh(&["--userns", "keep-id"], "id -u").quiet(), "61234");
    let out = home.sh(&["--userns", "host"], "id -u; stat -c %u /home/app").quiet();
    assert_eq!(out, "0\n1000");
}

#[test]
fn an_ordinary_users_images_have_their_owners_in_every_map() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    home.load();
    let look = "id -u; stat -c %u:%g / /bin /etc/hosts /home/app/own; cat /home/app/own; echo >>/home/app/own; echo >>/etc/hosts; cat /proc/self/uid_map";
    for mode in ["auto", "auto:size=5000", "auto:uidmapping=0:700:1", "nomap"] {
        let out = home.sh(&["--userns", mode], look).quiet();
        assert!(out.starts_with("0\n0:0\n0:0\n0:0\n1000:1000\napp's\n"), "{mode}: {out}");
        let map: Vec<&str> = out.lines().nth(6).unwrap_or_default().split_whitespace().collect();
        let expected = match mode {
            "auto" => ["0", "1", "1024"],
            "auto:size=5000" => ["0", "1", "5000"],
            "nomap" => ["0", "1", "65536"],
            _ => ["0", "700", "1"],
        };
        assert_eq!(map, expected, "{mode}");
    }
    // A volume gets the image's files with the owners that the container sees.
    let flags = ["--userns", "nomap", "-v", "filled:/home/app"];
    assert_eq!(home.sh(&flags, "stat -c %u:%g /home/app/own").quiet(), "1000:1000");
    let flags = ["--userns", "auto", "--mount", "type=image,source=busybox,destination=/image"];
    assert_eq!(
        home.sh(&flags, "stat -c %u:%g /image/home/app/own; cat /image/home/app/own").quiet(),
        "1000:1000\napp's"
    );
    let kept = |home: &Home| std::fs::read_dir(home.path("root/mapped")).unwrap().count();
    assert_eq!(kept(&home), 1, "those of nomap stay for the next, those of auto go");
    // What is committed and copied has the owners of the inside.
    home.run(&["run", "--name", "one", "--userns", "auto", "busybox", "sh", "-c", "echo x >/made; chown 5:6 /made"])
        .quiet();
    home.run(&["commit", "-q", "one", "two"]).quiet();
    assert_eq!(
        home.run(&["run", "--rm", "two", "stat", "-c", "%u:%g", "/made", "/home/app/own"]).quiet(),
        "5:6\n1000:1000"
    );
    assert_eq!(home.inspect("one", "{{.GraphDriver.Data.Owners}}"), "layers made for this map of ids");
    home.run(&["rm", "one"]).quiet();
    home.run(&["rmi", "two", "busybox"]).ok();
    assert_eq!(kept(&home), 0);
}

#[test]
fn ids_that_are_not_there_are_not_given() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    home.load();
    home.run(&["create", "--userns", "auto:size=60000", "busybox"]).quiet();
    home.sh(&["--userns", "auto:size=6000"], "true").fails(125, &["not enough unused IDs", "5536 left"]);
    home.sh(&["--userns", "auto:sizes=5"], "true").fails(125, &["unknown option", "sizes"]);
    // A file whose owner is not mapped is nobody's.
    assert_eq!(home.sh(&["--userns", "auto:size=100"], "stat -c %u:%g /home/app/own").quiet(), "65534:65534");
}

#[test]
fn what_is_mounted_for_a_container_of_roots_is_mounted_for_all() {
    let Some(home) = Home::bent(Who::Me, "") else { return };
    home.load();
    for name in ["one", "two"] {
        home.run(&["volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", name]).quiet();
    }
    let flags = ["run", "-d", "--name", "c", "--userns", "auto", "-v", "one:/home/app", "-v", "two:/etc"];
    home.run(&[&flags[..], &["busybox", "sleep", "100"]].concat()).quiet();
    let mut look = home.enter();
    look.args(["cat", "/proc/self/mountinfo"]);
    let table = crate::home::Output::of(look).quiet();
    for name in ["one", "two"] {
        assert!(
            table.contains(&format!("volumes/{name}/_data ")),
            "{name} is mounted where only one command saw it: {table}"
        );
    }
    home.run(&["rm", "-f", "-t", "0", "c"]).quiet();
}
