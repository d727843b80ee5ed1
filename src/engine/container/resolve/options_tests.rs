//! A row for each option of the program, its ids, its cgroup and its surroundings: what is decided, or why it is refused.

use super::tests::{decide, host, image};
use super::*;
use crate::container::config::{Account, DeviceRule, Namespace, Seccomp};
use crate::container::facts::JoinedUser;
use types::{IdMap, IdRange};

fn with(change: impl FnOnce(&mut Create, &mut Facts)) -> Result<Config, Fault> {
    let (mut asked, mut facts) = (Create::default(), host());
    change(&mut asked, &mut facts);
    decide(&asked, &image(), &facts)
}

#[track_caller]
fn refused(words: &str, change: impl FnOnce(&mut Create, &mut Facts)) {
    let fault = with(change).unwrap_err().to_string();
    assert!(fault.contains(words), "{fault}");
}

fn ranges(all: &[IdRange]) -> Vec<(u32, u32, u32)> {
    all.iter().map(|r| (r.container, r.host, r.size)).collect()
}

#[test]
fn maps_of_ids() {
    let map = |change: fn(&mut Create, &mut Facts)| {
        let spaces = with(change).unwrap().namespaces;
        let map = spaces.user.unwrap_or_default();
        (spaces.user_mode, ranges(&map.uids), ranges(&map.gids))
    };
    let one = vec![(0, 100_000, 10)];
    assert_eq!(map(|a, _| a.uid_maps = vec!["0:100000:10".into()]), ("private".into(), one.clone(), one.clone()));
    assert_eq!(map(|a, _| a.gid_maps = vec!["0:100000:10".into()]), ("private".into(), one.clone(), one.clone()));
    let both = map(|a, _| {
        a.uid_maps = vec!["0:100000:10".into()];
        a.gid_maps = vec!["0:7:1".into(), "1:9:2".into()];
    });
    assert_eq!(both, ("private".into(), one.clone(), vec![(0, 7, 1), (1, 9, 2)]));
    let named = map(|a, facts| {
        a.sub_uid_name = Some("x".into());
        facts.sub_uids = vec![IdRange { container: 0, host: 100_000, size: 10 }];
        facts.sub_gids = facts.sub_uids.clone();
    });
    assert_eq!(named, ("private".into(), one.clone(), one.clone()));
    refused("cannot be set together", |a, _| {
        a.userns = Some("auto".into());
        a.uid_maps = vec!["0:0:1".into()];
    });
    refused("at least one UID or GID mapping", |a, _| a.userns = Some("private".into()));
    refused("overlap", |a, _| a.uid_maps = vec!["0:0:10".into(), "5:50:1".into()]);
    refused("no id is mapped", |a, _| a.uid_maps = vec!["u0:0:10".into()]);
}

#[test]
fn user_namespaces_of_others() {
    let map = IdMap { uids: vec![IdRange { container: 0, host: 5000, size: 10 }], gids: Vec::new() };
    let join = |text: &str, container: Option<Id>, map: Option<IdMap>| {
        with(|a, facts| {
            a.userns = Some(text.into());
            facts.joined_user = Some(JoinedUser { container, map });
        })
        .unwrap()
        .namespaces
    };
    let other = Id::from_random([7; 32]);
    let spaces = join("container:x", Some(other.clone()), Some(map.clone()));
    assert_eq!((spaces.user, spaces.user_joined), (Some(map.clone()), Some(Namespace::Container(other.clone()))));
    assert_eq!(join("ns:/n", None, Some(map)).user_joined, Some(Namespace::Path("/n".into())));
    // Of one in the host's there is nothing to join.
    assert_eq!(join("container:x", Some(other), None).user_joined, None);
    refused("no such namespace", |a, _| a.userns = Some("container:x".into()));
    refused("unrecognized namespace mode", |a, _| a.userns = Some("container:".into()));
}

#[test]
fn users_and_groups() {
    let kept = with(|a, _| a.additional_groups = vec!["keep-groups".into()]).unwrap();
    assert!(kept.keep_groups && kept.additional_groups.is_empty());
    refused("keep-groups", |a, _| a.additional_groups = vec!["keep-groups".into(), "5".into()]);
    refused("unable to find user \"ann\"", |a, _| a.host_users = vec!["ann".into()]);
    let known = with(|a, facts| {
        a.host_users = vec!["ann".into()];
        facts.accounts.insert("ann".into(), Account { name: "ann".into(), ..Account::default() });
    });
    assert_eq!(known.unwrap().accounts.host_users[0].name, "ann");
    assert!(with(|a, _| a.passwd = Some(false)).unwrap().accounts.none);
    refused("must be one line", |a, _| a.passwd_entry = Some("a\nb".into()));
}

#[test]
fn cgroups_and_their_versions() {
    let v1 = |facts: &mut Facts| facts.controllers.version = 1;
    type Row = (&'static str, fn(&mut Create));
    let refused_on_2: [Row; 4] = [
        ("--cpu-rt-period", |a| a.resources.cpu_rt_period = Some(1)),
        ("--cpu-rt-runtime", |a| a.resources.cpu_rt_runtime = Some(1)),
        ("--memory-swappiness", |a| a.resources.memory_swappiness = Some(5)),
        ("--oom-kill-disable", |a| a.resources.oom_kill_disable = true),
    ];
    for (flag, set) in refused_on_2 {
        refused(&format!("{flag} is not supported on cgroup v2"), |a, _| set(a));
        with(|a, facts| {
            set(a);
            v1(facts);
        })
        .unwrap();
    }
    refused("0 to 100", |a, facts| {
        a.resources.memory_swappiness = Some(101);
        v1(facts);
    });
    let conf = |a: &mut Create| a.resources.unified = [("memory.high".to_owned(), "5".to_owned())].into();
    with(|a, _| conf(a)).unwrap();
    refused("--cgroup-conf needs cgroup v2", |a, facts| {
        conf(a);
        v1(facts);
    });
    refused("FILE=VALUE", |a, _| a.resources.unified = [("high".to_owned(), String::new())].into());
    refused("DEVICE:WEIGHT", |a, _| a.resources.blkio_weight_device = vec!["/dev/x:5".into()]);
    with(|a, _| a.resources.blkio_weight_device = vec!["/dev/x:50".into()]).unwrap();
    assert!(with(|a, _| a.cgroups = Some("disabled".into())).unwrap().no_cgroup);
    assert!(!with(|a, _| a.cgroups = Some("no-conmon".into())).unwrap().no_cgroup);
    refused("need a cgroup", |a, _| {
        a.cgroups = Some("disabled".into());
        a.resources.memory = Some(1 << 30);
    });
    refused("--cgroups=split is not supported", |a, _| a.cgroups = Some("split".into()));
    refused("invalid value", |a, _| a.cgroups = Some("x".into()));
}

#[test]
fn rules_of_devices() {
    let rule = |text: &str| with(|a, _| a.device_cgroup_rules = vec![text.into()]).map(|c| c.device_rules[0].clone());
    let wanted = DeviceRule { kind: 'c', major: Some(10), minor: None, access: "rw".into() };
    assert_eq!(rule("c 10:* rw").unwrap(), wanted);
    assert_eq!(rule("a *:* rwm").unwrap().major, None);
    let one = rule("a 7 rwm").unwrap();
    assert_eq!((one.major, one.minor), (Some(7), None));
    for wrong in ["", "c", "c 1", "x 1:1 r", "c 1:1 q", "c 1:1", "c 1:-1 r", "c 1:1 r w"] {
        assert!(rule(wrong).is_err(), "{wrong}");
    }
    refused("not supported in rootless mode", |a, facts| {
        a.device_cgroup_rules = vec!["c 1:1 r".into()];
        facts.rootless = true;
    });
}

#[test]
fn directories_of_devices_and_no_shared_memory() {
    let devices = |text: &str| {
        let config = with(|a, facts| {
            a.devices = vec![text.into()];
            facts.device_directories.insert("/dev/in".into(), vec!["/dev/in/a".into(), "/dev/in/b/c".into()]);
        });
        config.unwrap().devices.into_iter().map(|d| format!("{} {}", d.destination, d.permissions)).collect::<Vec<_>>()
    };
    assert_eq!(devices("/dev/in:r"), ["/dev/in/a r", "/dev/in/b/c r"]);
    assert_eq!(devices("/dev/in:/dev/out"), ["/dev/out/a rwm", "/dev/out/b/c rwm"]);
    let ipc = |mode: &str| with(|a, _| a.ipc = Some(mode.into())).unwrap().namespaces;
    assert!(ipc("none").no_shared_memory && ipc("none").ipc == Namespace::Private);
    assert!(!ipc("shareable").no_shared_memory);
}

#[test]
fn surroundings() {
    assert_eq!(
        with(|a, _| a.timezone = Some("Europe/Paris".into())).unwrap().timezone.as_deref(),
        Some("Europe/Paris")
    );
    refused("unknown time zone", |a, _| a.timezone = Some("../shadow".into()));
    refused("unknown time zone", |a, _| a.timezone = Some("/etc/shadow".into()));
    assert_eq!(with(|a, _| a.personality = Some("linux32".into())).unwrap().personality.as_deref(), Some("LINUX32"));
    refused("invalid personality", |a, _| a.personality = Some("BSD".into()));
    refused("no such container", |a, _| a.requires = vec!["x".into()]);
    refused("invalid --hosts-file", |a, _| a.hosts_file = Some("hosts".into()));
    refused("must be an absolute path", |a, _| a.init_path = Some("init".into()));
    let init = with(|a, _| {
        a.init = true;
        a.init_path = Some("/init".into());
    });
    assert_eq!(init.map(|c| (c.init, c.init_path)).unwrap(), (false, Some("/init".into())));
    assert_eq!(with(|a, _| a.init_path = Some("/init".into())).unwrap().init_path, None);
    let mut labelled = image();
    labelled.config.config.labels.insert("io.containers.seccomp.profile".into(), "{}".into());
    let policy = |policy: &str| {
        let asked = Create { seccomp_policy: Some(policy.into()), ..Create::default() };
        decide(&asked, &labelled, &host()).map(|c| c.seccomp)
    };
    assert_eq!(policy("default").unwrap(), Seccomp::Default);
    assert!(matches!(policy("image").unwrap(), Seccomp::Profile { text, .. } if text == "{}"));
    assert!(policy("x").is_err());
}

#[test]
fn systemd() {
    let of = |program: &str, mode: Option<&str>| {
        let asked = Create {
            entrypoint: Some(vec![program.into()]),
            systemd: mode.map(str::to_owned),
            shm_size_systemd: Some(4096),
            ..Create::default()
        };
        let plain = Image { config: Default::default(), ..image() };
        decide(&asked, &plain, &host()).map(|c| (c.systemd, c.stop_signal, c.mounts, c.environment))
    };
    for program in ["/sbin/init", "/lib/systemd/systemd", "systemd"] {
        let (systemd, signal, mounts, environment) = of(program, None).unwrap();
        assert!(systemd, "{program}");
        assert_eq!(signal, Signal(37));
        let paths: Vec<_> = mounts.iter().map(|m| m.destination.as_str()).collect();
        assert_eq!(paths, ["/run", "/tmp", "/run/lock", "/var/log/journal"]);
        assert!(mounts.iter().all(|m| m.options.contains(&"size=4096".to_owned())));
        assert_eq!(environment.last().unwrap(), &format!("container_uuid={}", "ab".repeat(16)));
    }
    assert!(!of("init", None).unwrap().0 && !of("/sbin/init", Some("false")).unwrap().0);
    assert!(of("sh", Some("always")).unwrap().0);
    assert!(of("sh", Some("perhaps")).is_err());
}
