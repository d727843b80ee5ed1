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
    let first = |name: &str| {
        home.run(&["run", "-d", "--name", name, "--userns=auto", "busybox", "sleep", "100"]).quiet();
        let map = home.run(&["exec", name, "cat", "/proc/self/uid_map"]).quiet();
        let words: Vec<u64> = map.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (words[1], words[1] + words[2])
    };
    let (one, two) = (first("one"), first("two"));
    assert!(one.1 <= two.0 || two.1 <= one.0, "{one:?} and {two:?} overlap");
}

#[test]
fn keep_id_keeps_the_callers_id() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    let volume = home.path("home");
    let flags = ["--userns", "keep-id", "-v", &format!("{}:/kept", volume.display())];
    let out = home.sh(&flags, "id -u; stat -c %u /kept; touch /kept/mine && stat -c %u /kept/mine").quiet();
    assert_eq!(out, "61234\n61234\n61234");
    let Some(single) = Home::of(Who::Single) else { return };
    assert_eq!(single.sh(&["--userns", "keep-id"], "id -u").quiet(), "61234");
    let out = home.sh(&["--userns", "host"], "id -u; stat -c %u /home/app").quiet();
    assert_eq!(out, "0\n1000");
}
