//! What is decided for what was asked.

use super::*;
use crate::container::config::{Mount, MountKind, Namespace, Seccomp};
use crate::container::facts::Controllers;
use types::{IdMap, IdRange, capability};

fn id() -> Id {
    Id::from_random([0xab; 32])
}

/// A host with everything, root in the initial namespace.
pub(crate) fn host() -> Facts {
    Facts {
        host_name: "host".into(),
        capabilities: (1 << 41) - 1,
        nofile: (1024, 1_048_576),
        nproc: (100, 200),
        can_raise_limits: true,
        controllers: Controllers {
            memory: true,
            swap: true,
            cpu: true,
            cpuset: true,
            io: true,
            pids: true,
            freezer: true,
            version: 2,
            parent: Some("/monopod".into()),
            ..Controllers::default()
        },
        ..Facts::default()
    }
}

fn rootless(ids: u32) -> Facts {
    let range =
        vec![IdRange { container: 0, host: 1000, size: 1 }, IdRange { container: 1, host: 100_000, size: ids - 1 }];
    let range: Vec<IdRange> = range.into_iter().filter(|r| r.size > 0).collect();
    Facts {
        rootless: true,
        single_id: ids == 1,
        id_map: IdMap { uids: range.clone(), gids: range },
        uid: 1000,
        gid: 1000,
        ..host()
    }
}

pub(crate) fn image() -> Image {
    let text = r#"{"config":{"Env":["PATH=/bin","A=image","broken","=x"],"Entrypoint":["/entry"],"Cmd":["default"],
        "WorkingDir":"/srv","User":"daemon","Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT"}}"#;
    Image { name: "localhost/x:latest".into(), id: "cd".repeat(32), config: serde_json::from_str(text).unwrap() }
}

fn plain() -> Image {
    Image { config: serde_json::from_str(r#"{"config":{"Cmd":["sh"]}}"#).unwrap(), ..image() }
}

pub(crate) fn decide(asked: &Create, image: &Image, facts: &Facts) -> Result<Config, Fault> {
    resolve(asked, image, facts, &id(), "name").map(|(config, _)| config)
}

fn with(change: impl FnOnce(&mut Create)) -> Config {
    let mut asked = Create::default();
    change(&mut asked);
    decide(&asked, &plain(), &host()).unwrap()
}

fn refused(change: impl FnOnce(&mut Create)) -> String {
    let mut asked = Create::default();
    change(&mut asked);
    decide(&asked, &plain(), &host()).unwrap_err().to_string()
}

#[test]
fn nothing_asked_is_podmans_defaults() {
    let config = with(|_| {});
    assert_eq!(config.capabilities, capability::DEFAULT);
    assert_eq!(config.resources.pids, Some(2048));
    assert_eq!(config.shm_size, 65_536_000);
    assert_eq!(config.umask, 0o022);
    assert_eq!((config.stop_signal, config.stop_timeout), (Signal::TERM, 10));
    assert_eq!(config.hostname, "abababababab");
    assert_eq!(config.working_directory, "/");
    assert_eq!(config.environment, [PATH, "container=podman", "HOSTNAME=abababababab"]);
    assert_eq!(config.seccomp, Seccomp::Default);
    assert!(!config.no_new_privileges && config.masked_paths.len() == 12 && config.read_only_paths.len() == 6);
    assert_eq!(config.namespaces.network, Namespace::Private);
    assert_eq!(config.namespaces.cgroup, Namespace::Private);
    assert_eq!(
        config.rlimits.iter().map(|r| (r.name.as_str(), r.soft, r.hard)).collect::<Vec<_>>(),
        [("RLIMIT_NOFILE", 1_048_576, 1_048_576), ("RLIMIT_NPROC", 4_194_304, 4_194_304)]
    );
    assert!(config.mounts.is_empty() && config.devices.is_empty());
}

#[test]
fn a_poor_host_gets_what_it_has() {
    let mut facts = host();
    facts.controllers = Controllers::default();
    facts.can_raise_limits = false;
    let config = decide(&Create::default(), &plain(), &facts).unwrap();
    assert_eq!(config.resources.pids, None);
    assert_eq!(config.namespaces.cgroup, Namespace::Host);
    assert_eq!((config.rlimits[1].soft, config.rlimits[1].hard), (200, 200));
    let mut asked = Create::default();
    asked.resources.memory = Some(64 << 20);
    facts.controllers.missing.insert("memory".into(), ("no cgroup file system is mounted".into(), "mount one".into()));
    let fault = decide(&asked, &plain(), &facts).unwrap_err();
    assert_eq!(fault.kind, Kind::Unsupported);
    assert!(
        fault.to_string().contains("memory cgroup controller is missing (no cgroup")
            && fault.to_string().ends_with("mount one"),
        "{fault}"
    );
}

#[test]
fn command_and_entrypoint() {
    let decide = |entrypoint: Option<&[&str]>, command: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let asked = Create { entrypoint: entrypoint.map(own), command: own(command), ..Create::default() };
        decide(&asked, &image(), &host()).map(|c| c.arguments)
    };
    assert_eq!(decide(None, &[]).unwrap(), ["/entry", "default"]);
    assert_eq!(decide(None, &["x"]).unwrap(), ["/entry", "x"]);
    assert_eq!(decide(Some(&["/e"]), &[]).unwrap(), ["/e"]);
    assert_eq!(decide(Some(&["/e"]), &["x"]).unwrap(), ["/e", "x"]);
    assert_eq!(decide(Some(&[""]), &["x"]).unwrap(), ["x"]);
    assert!(decide(Some(&[]), &[]).unwrap_err().message.starts_with("no command or entrypoint provided"));
}

#[test]
fn the_image_weighs_less_than_what_is_asked() {
    let asked = Create {
        environment: vec!["A=asked".into(), "B=1".into(), "B=2".into()],
        labels: vec!["b=asked".into(), "c".into()],
        terminal: true,
        ..Create::default()
    };
    let mut facts = host();
    facts.proxies = vec!["http_proxy=p".into()];
    let config = decide(&asked, &image(), &facts).unwrap();
    assert_eq!(
        config.environment,
        ["PATH=/bin", "container=podman", "TERM=xterm", "HOSTNAME=abababababab", "http_proxy=p", "A=asked", "B=2"]
    );
    assert_eq!(
        config.labels.into_iter().collect::<Vec<_>>(),
        [("a".into(), "1".into()), ("b".into(), "asked".into()), ("c".into(), String::new())]
    );
    assert_eq!((config.user.as_str(), config.working_directory.as_str()), ("daemon", "/srv"));
    assert_eq!(config.stop_signal, Signal(2));
    assert!(config.annotations.is_empty(), "an image must not steer the runtime");
}

#[test]
fn capabilities() {
    let decide = |add: &[&str], drop: &[&str], user: Option<&str>| {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        with(|a| {
            a.cap_add = own(add);
            a.cap_drop = own(drop);
            a.user = user.map(str::to_owned);
        })
    };
    assert_eq!(decide(&["net_raw"], &[], None).capabilities, capability::DEFAULT | 1 << 13);
    assert_eq!(decide(&[], &["ALL"], None).capabilities, 0);
    assert_eq!(decide(&["CAP_CHOWN"], &["all"], None).capabilities, 1);
    assert_eq!(decide(&["ALL"], &["SYS_ADMIN"], None).capabilities, ((1 << 41) - 1) & !(1 << 21));
    let user = decide(&["NET_RAW"], &[], Some("1000"));
    assert_eq!((user.capabilities, user.user_capabilities), (capability::DEFAULT | 1 << 13, 1 << 13));
    assert_eq!(decide(&["NET_RAW"], &[], Some("0:5")).user_capabilities, 0);
    assert_eq!(refused(|a| a.cap_add = vec!["foo".into()]), "\"CAP_FOO\": unknown capability");
    assert!(
        refused(|a| {
            a.cap_add = vec!["CHOWN".into()];
            a.cap_drop = vec!["CHOWN".into()]
        })
        .contains("dropped and added")
    );
    // Whoever lacks a capability cannot hand it on, and is told so.
    let mut facts = host();
    facts.capabilities &= !(1 << 24);
    let asked = Create { privileged: true, cap_add: vec!["SYS_RESOURCE".into()], ..Create::default() };
    let (config, warnings) = resolve(&asked, &plain(), &facts, &id(), "n").unwrap();
    assert_eq!(config.capabilities, facts.capabilities);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn security_options() {
    let one = |option: &str| with(|a| a.security_options = vec![option.into()]);
    assert!(one("no-new-privileges").no_new_privileges && one("no-new-privileges:true").no_new_privileges);
    assert!(!one("no-new-privileges=false").no_new_privileges);
    assert_eq!(one("seccomp=unconfined").seccomp, Seccomp::Unconfined);
    assert!(one("unmask=ALL").masked_paths.is_empty() && one("systempaths=unconfined").read_only_paths.is_empty());
    let unmasked = one("unmask=/proc/acpi:/sys/*");
    assert!(
        !unmasked.masked_paths.iter().any(|p| p == "/proc/acpi" || p.starts_with("/sys"))
            && unmasked.masked_paths.len() > 5
    );
    assert!(one("mask=/a:/b").masked_paths.ends_with(&["/a".into(), "/b".into()]));
    assert_eq!(one("label=disable"), with(|_| {}));
    for bad in ["nonsense", "no-new-privileges=x", "label=x", "apparmor=p", "seccomp=/none"] {
        refused(|a| a.security_options = vec![bad.into()]);
    }
    let privileged = with(|a| a.privileged = true);
    assert_eq!(privileged.seccomp, Seccomp::Unconfined);
    assert!(privileged.masked_paths.is_empty() && privileged.read_only_paths.is_empty());
}

#[test]
fn limits() {
    let cpus = with(|a| a.resources.nano_cpus = Some(1_500_000_000));
    assert_eq!(
        (cpus.resources.cpu_quota, cpus.resources.cpu_period, cpus.resources.nano_cpus),
        (Some(150_000), Some(100_000), None)
    );
    let memory = with(|a| a.resources.memory = Some(64 << 20));
    assert_eq!(memory.resources.memory_swap, Some(128 << 20));
    assert_eq!(with(|a| a.resources.pids = Some(-1)).resources.pids, None);
    assert_eq!(with(|a| a.resources.pids = Some(7)).resources.pids, Some(7));
    assert!(
        refused(|a| {
            a.resources.nano_cpus = Some(1);
            a.resources.cpu_quota = Some(1)
        })
        .contains("cannot be set together")
    );
    assert!(refused(|a| a.resources.memory = Some(1000)).contains("512KB"));
    assert!(
        refused(|a| {
            a.resources.memory = Some(1 << 30);
            a.resources.memory_swap = Some(1)
        })
        .contains("memoryswap")
    );
    assert!(refused(|a| a.resources.cpuset_cpus = Some("x".into())).contains("--cpuset-cpus"));
    assert!(refused(|a| a.resources.pids = Some(-2)).contains("--pids-limit"));
    let limits = with(|a| a.ulimits = vec!["nofile=10:20".into(), "core=-1".into()]);
    assert_eq!(
        limits.rlimits.iter().map(|r| (r.name.as_str(), r.soft, r.hard)).collect::<Vec<_>>(),
        [("RLIMIT_CORE", u64::MAX, u64::MAX), ("RLIMIT_NOFILE", 10, 20), ("RLIMIT_NPROC", 4_194_304, 4_194_304)]
    );
    assert!(with(|a| a.ulimits = vec!["host".into()]).rlimits.is_empty());
    for bad in ["x=1", "nofile", "nofile=2:1", "nofile=y"] {
        assert!(refused(|a| a.ulimits = vec![bad.into()]).contains("invalid ulimit"), "{bad}");
    }
}

#[test]
fn sysctl_only_of_its_own_namespaces() {
    let config = with(|a| a.sysctl = vec!["net.ipv4.ip_forward=1".into(), "kernel.shmmax=9".into()]);
    // With Podman's own for containers that have a network.
    assert_eq!(
        config.sysctl.keys().collect::<Vec<_>>(),
        ["kernel.shmmax", "net.ipv4.ip_forward", "net.ipv4.ping_group_range"]
    );
    assert_eq!(
        refused(|a| a.sysctl = vec!["vm.swappiness=1".into()]).split(':').next().unwrap(),
        "sysctl 'vm.swappiness' is not allowed"
    );
    let host = refused(|a| {
        a.sysctl = vec!["net.core.somaxconn=1".into()];
        a.networks = vec!["host".into()]
    });
    assert_eq!(host, "sysctl net.core.somaxconn=1 can't be set since Network Namespace set to host");
}

#[test]
fn mounts_are_parsed_and_sorted() {
    let config = with(|a| {
        a.volumes = vec!["/h:/c/deep/x:ro,z".into(), "/h:/c".into()];
        a.mounts = vec![
            "type=tmpfs,dst=/t,tmpfs-size=1m,ro".into(),
            "type=bind,src=/s,target=/b,bind-propagation=rshared".into(),
        ];
        a.tmpfs = vec!["/c/deep:mode=700,exec".into()];
    });
    let golden: Vec<String> = config
        .mounts
        .iter()
        .map(|m| match &m.kind {
            MountKind::Bind { source } => {
                format!("bind {} {} {}", source.display(), m.destination, m.options.join(","))
            }
            other => format!("{} {} {}", word(other), m.destination, m.options.join(",")),
        })
        .collect();
    assert_eq!(
        golden,
        [
            "bind /h /c rbind,rprivate",
            "tmpfs /t size=1048576,ro,rprivate,nosuid,nodev,tmpcopyup",
            "bind /s /b rbind,rshared",
            "tmpfs /c/deep mode=700,exec,rw,rprivate,nosuid,nodev,tmpcopyup",
            "bind /h /c/deep/x rbind,ro,rprivate",
        ]
    );
    let read_only = with(|a| {
        a.read_only = true;
        a.tmpfs = vec!["/tmp:size=1m".into()]
    });
    assert_eq!(
        read_only.mounts.iter().map(|m| m.destination.as_str()).collect::<Vec<_>>(),
        ["/tmp", "/run", "/var/tmp"]
    );
    assert!(
        with(|a| {
            a.read_only = true;
            a.read_only_tmpfs = Some(false)
        })
        .mounts
        .is_empty()
    );
    for (bad, why) in [
        ("/h:/", "root itself"),
        ("/h:rel", "absolute"),
        ("/h:/c:bad", "invalid mount option"),
        ("na/me:/c", "names must match"),
        ("../x:/c", "names must match"),
        ("/h:/c:ro,rw", "more than one"),
        (":/c", "cannot be empty"),
        ("/h:/a/../b", ".."),
        ("/a:/b:ro:x", "incorrect volume format"),
        ("/h:/c:O,upperdir=/u", "both upperdir and workdir"),
        ("/h:/c:idmap", "needs a user namespace"),
        ("rel", "absolute"),
    ] {
        let text = refused(|a| a.volumes = vec![bad.into()]);
        assert!(text.contains(why), "{bad}: {text}");
    }
    assert!(refused(|a| a.volumes = vec!["/h:/c".into(), "/i:/c/".into()]).contains("/c: duplicate mount destination"));
    assert_eq!(with(|a| a.volumes = vec!["/h:/c".into(), "/h:/c".into()]).mounts.len(), 1);
    for (bad, why) in [
        ("type=image,dst=/x,src=y", "image not known"),
        ("type=glob,dst=/x,src=/none*", "no file paths matching"),
        ("type=bind,dst=/x,src=rel", "absolute path"),
        ("type=volume,src=v", "must set volume destination"),
        ("type=bind,src=/,dst=/v,subpath=a", "invalid mount option"),
        ("type=ramfs,dst=/v,size=1m", "has no size"),
        ("type=devpts,dst=/x,colour=1", "invalid mount option"),
        ("type=tmpfs,dst=/x,src=/y", "not supported for"),
        ("type=artifact,dst=/x,src=y", "no artifacts"),
    ] {
        let text = refused(|a| a.mounts = vec![bad.into()]);
        assert!(text.contains(why), "{bad}: {text}");
    }
}

fn word(kind: &MountKind) -> String {
    match kind {
        MountKind::Bind { source } => source.display().to_string(),
        MountKind::Tmpfs => "tmpfs".into(),
        MountKind::Ramfs => "ramfs".into(),
        MountKind::Volume { anonymous: true, name } => format!("anonymous {}", name.len()),
        MountKind::Volume { name, .. } => format!("volume {name}"),
        MountKind::Image { name, id } => format!("image {name} {id}"),
        MountKind::Devpts => "devpts".into(),
    }
}

#[test]
fn volumes_of_every_kind() {
    let mut facts = host();
    let lent = vec![
        Mount::new(
            MountKind::Volume { name: "lent".into(), anonymous: true },
            "/lent".into(),
            vec!["rbind".into(), "rw".into()],
        ),
        Mount::new(MountKind::Bind { source: "/lent-host".into() }, "/data".into(), Vec::new()),
        Mount::new(MountKind::Tmpfs, "/not-lent".into(), Vec::new()),
    ];
    facts.volumes_from.insert("other".into(), lent);
    facts.images.insert("img".into(), "ab".into());
    facts.globs.insert("/g/*".into(), vec!["/g/one".into(), "/g/two".into()]);
    let image = Image {
        config: serde_json::from_str(r#"{"config":{"Cmd":["sh"],"Volumes":{"/data":{},"/wish":{}}}}"#).unwrap(),
        ..image()
    };
    let asked = Create {
        volumes: vec!["data:/data:ro,U,nocopy".into(), "/anon".into(), "/src:/over:O".into()],
        mounts: vec![
            "type=volume,src=vol,dst=/v,ro=true".into(),
            "dst=/v2".into(),
            "type=image,src=img,dst=/i,rw=true".into(),
            "type=devpts,dst=/pts,uid=3,mode=620".into(),
            "type=glob,src=/g/*,dst=/globbed,ro".into(),
        ],
        volumes_from: vec!["other:ro".into()],
        ..Create::default()
    };
    let config = decide(&asked, &image, &facts).unwrap();
    let golden: Vec<String> = config
        .mounts
        .iter()
        .map(|m| {
            let marks = [(m.chown, "U"), (m.no_copy, "nocopy"), (m.overlay.is_some(), "O")];
            let marks: Vec<&str> = marks.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
            format!("{} {} {} {}", word(&m.kind), m.destination, m.options.join(","), marks.join(","))
                .trim_end()
                .to_owned()
        })
        .collect();
    assert_eq!(
        golden,
        [
            "volume data /data rbind,ro,nosuid,nodev,rprivate U,nocopy",
            "anonymous 64 /anon nosuid,nodev,rbind,rprivate",
            "/src /over rbind,rprivate O",
            "volume vol /v rbind,ro,nosuid,nodev,rprivate",
            "anonymous 64 /v2 rbind,nosuid,nodev,rprivate",
            "image img ab /i rw",
            "devpts /pts newinstance,ptmxmode=0666,nosuid,noexec,uid=3,mode=620",
            "anonymous 4 /lent rbind,ro",
            "anonymous 64 /wish nosuid,nodev,rbind,rprivate",
            "/g/one /globbed/one rbind,ro,rprivate",
            "/g/two /globbed/two rbind,ro,rprivate",
        ]
    );
    let wished = |how: &str| {
        let asked = Create { image_volume: Some(how.into()), ..Create::default() };
        decide(&asked, &image, &host()).map(|c| c.mounts.iter().map(|m| word(&m.kind)).collect::<Vec<_>>())
    };
    assert_eq!(wished("tmpfs").unwrap(), ["tmpfs", "tmpfs"]);
    assert_eq!(wished("ignore").unwrap(), [""; 0]);
    assert!(wished("what").unwrap_err().message.contains("invalid --image-volume"));
    let from = |text: &str| decide(&Create { volumes_from: vec![text.into()], ..Create::default() }, &plain(), &facts);
    assert!(from("nobody").unwrap_err().message.contains("no such container"));
    assert!(from("other:exec").unwrap_err().message.contains("invalid options"));
}

#[test]
fn devices() {
    let one = |text: &str| with(|a| a.devices = vec![text.into()]).devices.remove(0);
    assert_eq!(one("/dev/fuse").permissions, "rwm");
    assert_eq!(
        (one("/dev/fuse:/dev/x:r").destination.as_str(), one("/dev/fuse:r").destination.as_str()),
        ("/dev/x", "/dev/fuse")
    );
    assert!(refused(|a| a.devices = vec!["fuse".into()]).contains("invalid device specification"));
    assert!(refused(|a| a.devices = vec!["vendor=0".into()]).contains("VENDOR/CLASS=NAME"));
    let given = with(|a| {
        a.devices = vec!["vendor.com/gpu=0".into(), "/dev/fuse".into(), "vendor.com/gpu=0".into()];
        a.gpus = vec!["all".into()];
    });
    assert_eq!(given.vendor_devices, ["vendor.com/gpu=0", "nvidia.com/gpu=all"]);
    assert_eq!(given.devices.len(), 1);
}

#[test]
fn namespaces_and_names() {
    assert_eq!(with(|a| a.networks = vec!["host".into()]).hostname, "host");
    assert_eq!(
        with(|a| {
            a.networks = vec!["host".into()];
            a.hostname = Some("own".into())
        })
        .hostname,
        "own"
    );
    assert!(
        refused(|a| {
            a.uts = Some("host".into());
            a.hostname = Some("own".into())
        })
        .contains("UTS namespace")
    );
    assert_eq!(with(|a| a.hostname = Some("a b".into())).hostname, "a b");
    assert!(refused(|a| a.hostname = Some("a\nb".into())).contains("invalid hostname"));
    assert!(refused(|a| a.hostname = Some("a".repeat(65))).contains("invalid hostname"));
    let silent = |a: &mut Create| {
        a.networks = vec!["none".into()];
        a.dns = vec!["1.2.3.4".into()];
    };
    assert_eq!(refused(silent), "conflicting options: dns and the network mode: none");
    assert!(refused(|a| a.networks = vec!["pasta".into()]).contains("only supported for rootless"));
    assert!(refused(|a| a.pid = Some("x".into())).contains("unrecognized namespace mode"));
    let mut facts = host();
    facts.containers.insert("other".into(), id());
    let asked = Create { pid: Some("container:other".into()), ..Create::default() };
    assert_eq!(decide(&asked, &plain(), &facts).unwrap().namespaces.pid, Namespace::Container(id()));
}

#[test]
fn user_namespaces() {
    let asked = |mode: &str| Create { userns: Some(mode.into()), ..Create::default() };
    assert!(decide(&asked("keep-id"), &plain(), &host()).unwrap_err().message.contains("rootless"));
    let kept = decide(&asked("keep-id"), &plain(), &rootless(65537)).unwrap();
    assert_eq!(kept.user, "1000:1000");
    assert_eq!(types::idmap::render(&kept.namespaces.user.unwrap().uids), "0 1 1000\n1000 0 1\n1001 1001 64536\n");
    let single = decide(&asked("keep-id:uid=5,gid=6"), &plain(), &rootless(1)).unwrap();
    assert_eq!(single.user, "5:6");
    assert_eq!(types::idmap::render(&single.namespaces.user.unwrap().gids), "6 0 1\n");
    assert!(decide(&asked("auto"), &plain(), &rootless(1)).unwrap_err().message.contains("more than one id"));
    let none = decide(&asked("nomap"), &plain(), &rootless(65537)).unwrap();
    assert_eq!(types::idmap::render(&none.namespaces.user.unwrap().uids), "0 1 65536\n");
    assert_eq!(none.user, "");
    assert!(decide(&asked("nomap"), &plain(), &rootless(1)).unwrap_err().message.contains("more than one id"));
    let mut facts = host();
    facts.free_ids = vec![(200_000, 100_000)];
    let auto = decide(&asked("auto:size=500"), &plain(), &facts).unwrap().namespaces.user.unwrap();
    assert_eq!(types::idmap::render(&auto.uids), "0 200000 500\n");
    facts.free_ids[0].1 = 10;
    assert!(decide(&asked("auto:size=500"), &plain(), &facts).unwrap_err().message.contains("not enough unused IDs"));
    assert!(decide(&asked("nonsense"), &plain(), &facts).unwrap_err().message.contains("unrecognized"));
}

#[test]
fn odds_and_ends() {
    assert_eq!(with(|a| a.umask = Some("077".into())).umask, 0o077);
    assert!(refused(|a| a.umask = Some("9".into())).contains("umask"));
    assert!(refused(|a| a.oom_score_adj = Some(1001)).contains("--oom-score-adj"));
    assert!(refused(|a| a.environment = vec!["=x".into()]).contains("environment variable"));
    assert!(refused(|a| a.working_directory = Some("rel".into())).contains("absolute"));
    assert!(refused(|a| a.log_driver = Some("journald".into())).contains("not supported yet"));
    assert_eq!(with(|a| a.log_options = vec!["max-size=1m".into()]).log.max_size, 1_000_000);
    assert_eq!(
        with(|a| a.add_hosts = vec!["a;b:[::1]".into()]).names.add_hosts,
        [("a".to_owned(), "::1".to_owned()), ("b".to_owned(), "::1".to_owned())]
    );
    assert!(refused(|a| a.add_hosts = vec!["a".into()]).contains("unable to parse host entry"));
    assert!(refused(|a| a.dns = vec!["x".into()]).contains("is not an ip address"));
}
