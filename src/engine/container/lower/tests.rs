//! What is lowered, line by line of the specification.

use super::*;
use crate::container::resolve::{Image, resolve};
use ops::container::Create;

fn lowered(asked: &Create, facts: &Facts) -> Value {
    let image = Image {
        name: "x".into(),
        id: "cd".repeat(32),
        config: serde_json::from_str(r#"{"config":{"Cmd":["sh"]}}"#).unwrap(),
    };
    let (config, _) = resolve(asked, &image, facts, &Id::from_random([1; 32]), "n").unwrap();
    let fuse = DeviceNode { kind: 'c', major: 10, minor: 229, mode: 0o666, gid: 0 };
    let place = Place {
        rootfs: Rootfs::Directory("/r".into()),
        directory: "/c".into(),
        files: vec![("/c/hosts".into(), "/etc/hosts".into()), ("/c/containerenv".into(), "/run/.containerenv".into())],
        variables: Vec::new(),
        devices: BTreeMap::from([("/dev/fuse".into(), fuse)]),
        edits: Default::default(),
        hooks: Default::default(),
        joined: BTreeMap::new(),
        mounts: BTreeMap::new(),
        terminal_size: Some((24, 80)),
    };
    serde_json::to_value(lower(&config, facts, place).unwrap()).unwrap()
}

fn host() -> Facts {
    Facts {
        capabilities: (1 << 41) - 1,
        controllers: crate::container::facts::Controllers {
            pids: true,
            version: 2,
            parent: Some("/monopod".into()),
            ..Default::default()
        },
        ..Facts::default()
    }
}

fn at<'a>(document: &'a Value, path: &str) -> &'a Value {
    document.pointer(path).unwrap_or(&Value::Null)
}

fn types_of(document: &Value) -> Vec<&str> {
    at(document, "/spec/linux/namespaces").as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect()
}

/// `TYPE SOURCE DESTINATION OPTIONS` of each mount.
fn mounts_of(document: &Value) -> Vec<String> {
    at(document, "/spec/mounts")
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            let options: Vec<&str> = m["options"].as_array().unwrap().iter().map(|o| o.as_str().unwrap()).collect();
            format!(
                "{} {} {} {}",
                m["type"].as_str().unwrap(),
                m["source"].as_str().unwrap(),
                m["destination"].as_str().unwrap(),
                options.join(",")
            )
        })
        .collect()
}

#[test]
fn a_plain_container() {
    let document = lowered(&Create::default(), &host());
    assert_eq!(types_of(&document), ["mount", "network", "pid", "ipc", "uts", "cgroup"]);
    assert_eq!(
        mounts_of(&document),
        [
            "proc proc /proc nosuid,noexec,nodev",
            "tmpfs tmpfs /dev nosuid,noexec,strictatime,mode=755,size=65536k",
            "devpts devpts /dev/pts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "sysfs sysfs /sys nosuid,noexec,nodev,ro",
            "mqueue mqueue /dev/mqueue nosuid,noexec,nodev",
            "tmpfs shm /dev/shm nosuid,noexec,nodev,mode=1777,size=65536000",
            "cgroup cgroup /sys/fs/cgroup rprivate,nosuid,noexec,nodev,relatime,ro",
            "bind /c/hosts /etc/hosts bind,rprivate",
            "bind /c/containerenv /run/.containerenv bind,rprivate",
        ]
    );
    assert_eq!(at(&document, "/spec/linux/cgroupsPath").as_str().unwrap(), format!("/monopod/{}", "01".repeat(32)));
    assert_eq!(at(&document, "/spec/linux/resources/pids/limit"), 2048);
    assert_eq!(at(&document, "/spec/linux/resources/devices/0/allow"), false);
    assert_eq!(at(&document, "/spec/process/user/umask"), 0o022);
    assert_eq!(at(&document, "/spec/process/consoleSize/width"), 80);
    let set = |name: &str| at(&document, &format!("/spec/process/capabilities/{name}")).as_array().map_or(0, Vec::len);
    assert_eq!(
        [set("bounding"), set("effective"), set("permitted"), set("inheritable"), set("ambient")],
        [11, 11, 11, 0, 0]
    );
    assert_eq!(at(&document, "/filter/Default"), types::capability::DEFAULT);
    assert_eq!(at(&document, "/create_cwd"), true);
}

#[test]
fn another_user_has_only_what_was_added() {
    let asked = Create { user: Some("5".into()), cap_add: vec!["NET_RAW".into()], ..Create::default() };
    let document = lowered(&asked, &host());
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(at(&document, &format!("/spec/process/capabilities/{set}")), &json!(["CAP_NET_RAW"]), "{set}");
    }
    assert_eq!(at(&document, "/spec/process/capabilities/bounding").as_array().unwrap().len(), 12);
}

#[test]
fn a_parent_is_mounted_before_what_it_contains() {
    let asked = Create {
        tmpfs: vec!["/run".into()],
        volumes: vec!["/v:/etc/hosts".into(), "/w:/dev/shm".into()],
        ..Create::default()
    };
    let mounts = mounts_of(&lowered(&asked, &host()));
    let place = |what: &str| mounts.iter().position(|m| m.contains(what)).unwrap();
    assert!(place("tmpfs tmpfs /run ") < place("/run/.containerenv"));
    assert_eq!(mounts.iter().filter(|m| m.contains(" /etc/hosts ")).count(), 1);
    assert_eq!(mounts.iter().filter(|m| m.contains(" /dev/shm ")).count(), 1);
    assert!(place(" /dev nosuid") < place(" /dev/shm "));
}

#[test]
fn devices_are_made_by_root_and_bound_by_others() {
    let asked = Create { devices: vec!["/dev/fuse:/dev/f:r".into()], ..Create::default() };
    let root = lowered(&asked, &host());
    assert_eq!(at(&root, "/spec/linux/devices/0/path"), "/dev/f");
    let rules = at(&root, "/spec/linux/resources/devices").as_array().unwrap();
    assert_eq!(rules.last().unwrap()["access"], "r");
    let mut facts = host();
    facts.rootless = true;
    facts.single_id = true;
    let user = lowered(&asked, &facts);
    assert_eq!(at(&user, "/spec/linux/devices"), &Value::Null);
    assert!(mounts_of(&user).contains(&"bind /dev/fuse /dev/f bind,rprivate,nosuid,noexec,ro".to_owned()));
    assert!(mounts_of(&user).iter().any(|m| m.starts_with("devpts") && !m.contains("gid=5")));
    let names = at(&user, "/spec/linux/seccomp/syscalls").as_array().unwrap();
    let chown = names.iter().find(|r| r["names"].as_array().unwrap().contains(&json!("fchownat"))).unwrap();
    assert_eq!((&chown["action"], &chown["errnoRet"]), (&json!("SCMP_ACT_ERRNO"), &json!(0)));
}

#[test]
fn shared_namespaces_in_a_user_namespace_bind_what_they_cannot_mount() {
    let asked = Create {
        networks: vec!["host".into()],
        pid: Some("host".into()),
        ipc: Some("host".into()),
        ..Create::default()
    };
    let mut facts = host();
    facts.rootless = true;
    let mounts = mounts_of(&lowered(&asked, &facts));
    assert!(mounts[0].starts_with("bind /proc /proc rbind"));
    assert!(
        mounts.iter().any(|m| m.starts_with("bind /sys /sys rbind"))
            && !mounts.iter().any(|m| m.contains("/sys/fs/cgroup"))
    );
    assert!(mounts.iter().any(|m| m.starts_with("bind /dev/shm")));
    assert_eq!(types_of(&lowered(&asked, &host())), ["mount", "uts", "cgroup"]);
}

#[test]
fn privileged() {
    let document = lowered(&Create { privileged: true, ..Create::default() }, &host());
    assert_eq!(at(&document, "/spec/linux/resources/devices"), &json!([{ "allow": true, "access": "rwm" }]));
    assert_eq!([at(&document, "/spec/linux/seccomp"), at(&document, "/filter")], [&Value::Null; 2]);
    assert!(mounts_of(&document).contains(&"sysfs sysfs /sys nosuid,noexec,nodev,rw".to_owned()));
}
