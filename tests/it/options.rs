//! Options of `run` that only a kernel can show: who the program is, which ids it has, what it finds around it.

use crate::home::{Home, Who};

#[test]
fn what_the_program_finds() {
    let home = Home::new();
    assert_eq!(home.sh(&["--personality", "LINUX32"], "uname -m").quiet().replace('5', "6"), "i686");
    let flags = ["--unsetenv-all", "--env-merge", "X=$PATH-more", "-e", "Y=1", "--unsetenv", "X"];
    assert_eq!(home.sh(&flags, "export -p | grep -c PATH=; echo $Y").out.lines().last(), Some("1"));
    let merged = home.sh(&["--env-merge", "X=${PATH}:/more"], "echo $X").quiet();
    assert!(merged.starts_with('/') && merged.ends_with(":/more"), "{merged}");
    let zone = std::path::Path::new("/usr/share/zoneinfo/Asia/Tokyo");
    match std::fs::read(zone) {
        Ok(rules) => {
            let out = home.sh(&["--tz", "Asia/Tokyo"], "cat /etc/localtime").code(0).raw;
            assert!(out == rules, "another time zone");
        }
        Err(_) => eprintln!("SKIPPED: no /usr/share/zoneinfo on this machine"),
    }
    home.sh(&["--tz", "No/Where"], "true").fails(125, &["unknown time zone No/Where"]);
    let hosts = home.write("hosts", b"192.0.2.1 from-a-file\n");
    let out = home.sh(&["--hosts-file", hosts.to_str().unwrap(), "--network", "none"], "cat /etc/hosts").quiet();
    assert!(out.starts_with("192.0.2.1\tfrom-a-file\n"), "{out}");
    let out = home.sh(&["--chrootdirs", "/jail", "--hostname", "h"], "cat /jail/etc/hostname").quiet();
    assert_eq!(out, "h");
    assert_eq!(home.sh(&["--ipc", "none"], "ls -d /dev/shm 2>/dev/null || echo none").quiet(), "none");
    let init = home.write("init", b"#!/bin/sh\nshift\necho init $$\nexec \"$@\"\n");
    std::fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(home.sh(&["--init", "--init-path", init.to_str().unwrap()], "echo $0 $$").quiet(), "init 1\nsh 1");
}

#[test]
fn what_is_wrong_with_rules_of_devices_is_said_as_podman_says_it() {
    let home = Home::new();
    let rule = |rule: &str| home.sh(&["--device-cgroup-rule", rule], "true");
    if !crate::home::am_root() {
        rule("c 7:* rmw").fails(125, &["rootless"]);
        return;
    }
    rule("a 7 rmw").quiet();
    rule("b 7:* rmX").fails(125, &["Error: invalid device access in device-access-add: X\n"]);
    rule("x 7:* rmw").fails(125, &["Error: invalid device type in device-access-add: x\n"]);
    rule("a a:* rmw").fails(125, &["Error: strconv.ParseUint: parsing \"a\": invalid syntax\n"]);
    rule("b 7:2").fails(125, &["rule requires type, major:Minor, and access rules: \"b 7:2\"\n"]);
    // What Podman had before version 5 is taken with a word, and comes to nothing.
    let output = home.sh(&["--kernel-memory", "100m"], "echo ran").code(0);
    assert_eq!((output.out.trim(), output.err.contains("--kernel-memory flag is no longer supported")), ("ran", true));
    let told = home.sh(&["--privileged"], ". /run/.containerenv; echo $engine").quiet();
    assert!(told.starts_with("podman-"), "{told}");
}

#[test]
fn who_the_image_does_not_know() {
    let home = Home::new();
    let who = "grep 1234 /etc/passwd; grep 55 /etc/group; touch /etc/x 2>/dev/null && echo writable";
    let lines = "1234:*:1234:55:container user:/:/bin/sh\n55:x:55:1234";
    assert_eq!(home.sh(&["--user", "1234:55"], who).out.trim(), lines);
    assert_eq!(home.sh(&["--user", "1234:55", "--read-only"], who).out.trim(), lines);
    assert_eq!(home.sh(&["--user", "1234:55", "--passwd=false"], who).out.trim(), "");
    let entry = "me:*:$UID:$GID:$NAME:$HOME:/bin/no";
    let out = home.sh(&["--user", "1234", "--passwd-entry", entry], "whoami; grep -c ^me: /etc/passwd").quiet();
    assert_eq!(out, "me\n1");
    // Started again it is known already.
    home.load();
    home.run(&["create", "--name", "twice", "--user", "1234", "busybox", "grep", "-c", "1234", "/etc/passwd"]).ok();
    for _ in 0..2 {
        assert_eq!(home.run(&["start", "-a", "twice"]).quiet(), "1");
    }
    let Some(home) = Home::of(Who::Subuid) else { return };
    let out = home.sh(&["--userns", "keep-id"], "id -un; grep -c stranger /etc/passwd").quiet();
    assert_eq!(out, "monopod-stranger\n1");
}

#[test]
fn ids_of_ones_own_choice() {
    let Some(home) = Home::bent(Who::Me, "") else { return };
    home.load();
    let map = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let script = "cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g /etc/passwd";
    let out = home.sh(&["--uidmap", "0:3000000:2000", "--gidmap", "0:4000000:3000"], script).quiet();
    assert_eq!(map(&out), "0 3000000 2000 0 4000000 3000 0:0");
    home.run(&["run", "-d", "--name", "first", "--uidmap", "0:3000000:2000", "busybox", "sleep", "100"]).ok();
    let first = home.run(&["exec", "first", "readlink", "/proc/self/ns/user"]).quiet();
    let joined = home.sh(&["--userns", "container:first"], "readlink /proc/self/ns/user; touch /x && stat -c %u /x");
    assert_eq!(joined.quiet(), format!("{first}\n0"));
    let pid = home.inspect("first", "{{.State.Pid}}");
    let path = format!("ns:/proc/{}/ns/user", pid.trim());
    assert_eq!(home.sh(&["--userns", &path], "readlink /proc/self/ns/user").quiet(), first);
    home.sh(&["--userns", "ns:/nowhere"], "true").fails(125, &["ns:/nowhere"]);
}

#[test]
fn groups_of_the_caller_stay() {
    let home = Home::new();
    let image = home.busybox();
    let mut command = std::process::Command::new("setpriv");
    let asked = home.command(&["run", "--rm", "--group-add", "keep-groups", &image, "id", "-G"]);
    if !crate::home::am_root() {
        return eprintln!("SKIPPED: needs root: other groups");
    }
    command.args(["--groups", "777,778"]).arg(asked.get_program()).args(asked.get_args());
    for (key, value) in asked.get_envs() {
        value.map(|value| command.env(key, value));
    }
    assert_eq!(crate::home::Output::of(command).quiet(), "0 777 778");
}

#[test]
fn devices_by_rule_and_no_cgroup() {
    if !crate::home::am_root() {
        return eprintln!("SKIPPED: needs root: filters of devices");
    }
    let home = Home::new();
    // The kernel's log: nodes of it can be made, and not opened.
    let open = "mknod /m c 1 11 && (: </m) 2>/dev/null && echo opened || echo refused";
    let rights = ["--cap-add", "MKNOD,SYSLOG"];
    assert_eq!(home.sh(&rights, open).quiet(), "refused");
    assert_eq!(home.sh(&[&rights[..], &["--device-cgroup-rule", "c 1:* r"]].concat(), open).quiet(), "opened");
    home.load();
    home.run(&["run", "-d", "--name", "loose", "--cgroups=disabled", "busybox", "sleep", "100"]).ok();
    let pid = home.inspect("loose", "{{.State.Pid}}");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap();
    let id = home.inspect("loose", "{{.Id}}");
    assert!(!groups.contains(id.trim()), "{groups}");
    assert_eq!(home.inspect("loose", "{{.HostConfig.Cgroups}}").trim(), "disabled");
}

#[test]
fn what_is_required_runs_first() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "base", "busybox", "sleep", "100"]).ok();
    home.run(&["run", "-d", "--name", "next", "--requires", "base", "busybox", "sleep", "100"]).ok();
    assert_eq!(home.inspect("base", "{{.State.Status}}").trim(), "running");
    home.run(&["run", "--requires", "nobody", "busybox", "true"]).fails(125, &["nobody"]);
}

#[test]
fn secrets_are_handed_over_and_kept() {
    let home = Home::new();
    let file = home.write("password", b"hunter2");
    let id = home.run(&["secret", "create", "--label", "a=b", "password", file.to_str().unwrap()]).quiet();
    assert_eq!(home.feed(&["secret", "create", "key", "-"], b"from a pipe").quiet().len(), id.len());
    home.run(&["secret", "create", "key", file.to_str().unwrap()]).fails(125, &["secret name in use"]);
    assert_eq!(
        home.run(&["secret", "inspect", "--showsecret", "--format", "{{.SecretData}}", "key"]).quiet(),
        "from a pipe"
    );
    assert_eq!(home.run(&["secret", "ls", "--format", "{{.Name}}"]).quiet(), "password\nkey");
    let mode = |path: &str| {
        let meta = std::fs::metadata(home.path(path)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777
    };
    assert_eq!(mode(&format!("root/secrets/data/{id}")), 0o600);
    assert_eq!((mode("root/secrets"), mode("root/secrets/secrets.json")), (0o700, 0o600));
    home.load();
    let look = "stat -c '%a %u:%g' /run/secrets/password /x; cat /run/secrets/password /x; echo $KEY";
    let flags = [
        "--secret",
        "password",
        "--secret",
        "key,target=/x,mode=0400,uid=5,gid=6",
        "--secret",
        "key,type=env,target=KEY",
    ];
    let mut words = vec!["run", "--name", "has"];
    words.extend(flags);
    words.extend(["busybox", "sh", "-c", look]);
    assert_eq!(home.run(&words).quiet(), "444 0:0\n400 5:6\nhunter2from a pipefrom a pipe");
    let document = home.document("has").to_string();
    assert!(document.contains("\"Name\":\"password\"") && !document.contains("from a pipe"), "{document}");
    // A container keeps what it was given as a file.
    home.run(&["create", "--name", "keeps", "--secret", "password", "busybox", "cat", "/run/secrets/password"]).ok();
    home.run(&["container", "clone", "keeps"]).ok();
    assert_eq!(home.run(&["secret", "rm", "password"]).quiet(), id);
    assert_eq!(home.run(&["start", "-a", "keeps-clone"]).quiet(), "hunter2");
    home.run(&["container", "clone", "--destroy", "keeps", "keeps"]).fails(125, &["no such secret"]);
    assert_eq!(home.run(&["start", "-a", "keeps"]).quiet(), "hunter2");
    home.run(&["secret", "exists", "password"]).code(1);
    home.run(&["secret", "exists", "key"]).ok();
    home.run(&["run", "--secret", "password", "busybox", "true"]).fails(125, &["no such secret"]);
    let kept = home.path("kept");
    let option = |name: &str, command: String| format!("{name}={command}");
    let path = kept.display();
    home.run(&[
        "secret",
        "create",
        "-d",
        "shell",
        "--driver-opts",
        &option("store", format!("cat >{path}-$SECRET_ID")),
        "--driver-opts",
        &option("lookup", format!("cat {path}-$SECRET_ID")),
        "--driver-opts",
        &option("delete", format!("rm {path}-$SECRET_ID")),
        "--driver-opts",
        &option("list", "true".into()),
        "outside",
        file.to_str().unwrap(),
    ])
    .ok();
    let out = home.run(&["run", "--rm", "--secret", "outside", "busybox", "cat", "/run/secrets/outside"]).quiet();
    assert_eq!(out, "hunter2");
    home.run(&["secret", "rm", "--all"]).ok();
    let left: Vec<_> = std::fs::read_dir(home.path("")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("kept")), "{left:?}");
}

#[test]
fn defaults_come_from_files() {
    let Some(home) = Home::bent(
        Who::Me,
        "mkdir -p $HOME_DIR/etc /etc/containers; mount --bind $HOME_DIR/etc /etc/containers
        mkdir -p $HOME_DIR/usr /usr/share/containers; mount --bind $HOME_DIR/usr /usr/share/containers
        mkdir -p $HOME_DIR/etc/containers.conf.d $HOME_DIR/etc/containers.conf.modules",
    ) else {
        return;
    };
    home.load();
    let file = |name: &str, text: &str| home.write(name, text.as_bytes());
    let say = "echo $FROM-$MORE; ulimit -n; hostname; awk '/CapEff/{print $2}' /proc/self/status";
    let of = |home: &Home| home.run(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", say]).quiet();
    let plain = of(&home);
    file(
        "usr/containers.conf",
        "[containers]\nenv=[\"FROM=usr\"]\ndefault_ulimits=[\"nofile=111:222\"]\n[engine.runtimes]\n",
    );
    assert_eq!(of(&home).lines().take(2).collect::<Vec<_>>(), ["usr-", "111"]);
    file("etc/containers.conf", "[containers]\nenv=[\"FROM=etc\"]\ndefault_capabilities=[\"KILL\"]\nno_such_key=1\n");
    assert_eq!(of(&home).lines().next(), Some("etc-"));
    assert_eq!(of(&home).lines().last(), Some("0000000000000020"), "before: {plain}");
    file("etc/containers.conf.d/10.conf", "[containers]\nenv=[\"MORE=drop-in\", {append=true}]\nutsns=\"host\"\n");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(of(&home).lines().take(3).collect::<Vec<_>>(), ["etc-drop-in", "111", &host]);
    file("etc/containers.conf.modules/extra.conf", "[containers]\nenv=[\"FROM=module\"]\n");
    let with_module = home.run(&["--module", "extra.conf", "run", "--rm", "busybox", "sh", "-c", say]).quiet();
    assert_eq!(with_module.lines().next(), Some("module-"));
    home.run(&["--module", "none.conf", "run", "--rm", "busybox", "true"]).fails(125, &["none.conf"]);
    let told = home.run(&["info", "--debug", "--format", "{{.containersConf.ignoredKeys}}"]).quiet();
    assert!(told.contains("containers.no_such_key"), "{told}");
    let asked = home.run(&[
        "run",
        "--rm",
        "-e",
        "FROM=flag",
        "--uts",
        "private",
        "--hostname",
        "h",
        "busybox",
        "sh",
        "-c",
        say,
    ]);
    assert_eq!(asked.quiet().lines().next(), Some("flag-drop-in"));
    file("etc/containers.conf", "[containers]\ntz=5\n");
    home.run(&["run", "--rm", "busybox", "true"]).fails(125, &["containers.tz must be a string"]);
    let home = home.variable("CONTAINERS_CONF", "/dev/null");
    assert_eq!(of(&home).lines().next(), Some("-"));
}

#[test]
fn memory_that_containers_share() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "owner", "busybox", "sh", "-c", "echo shared > /dev/shm/f; sleep 100"]).ok();
    let asked = ["--ipc", "container:owner"];
    home.until("the file is there", || home.sh(&asked, "cat /dev/shm/f").out == "shared\n");
    home.sh(&asked, "ls -l /proc/self/ns/ipc > /dev/shm/back; chmod 644 /dev/shm/back").ok();
    let own = home
        .run(&["exec", "owner", "sh", "-c", "ls -l /proc/self/ns/ipc | cut -d '>' -f 2; cut -d '>' -f 2 /dev/shm/back"])
        .ok();
    let lines: Vec<&str> = own.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{own}");
    assert_eq!(home.run(&["inspect", "--format", "{{.HostConfig.IpcMode}}", "owner"]).ok(), "shareable");
    home.run(&["run", "-d", "--name", "closed", "--ipc", "private", "busybox", "sleep", "100"]).ok();
    home.sh(&["--ipc", "container:closed"], "true").fails(125, &["non-shareable IPC", "hint: use IpcMode:shareable"]);
    home.sh(&["--ipc", "ns:/proc/self/ns/ipc"], "ls -d /dev/shm").ok();
    home.run(&["rm", "-f", "-t", "0", "owner", "closed"]).ok();
}

#[test]
fn a_directory_as_the_root() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "source", "busybox"]).ok();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let archive = home.path("tree.tar");
    home.run(&["export", "-o", archive.to_str().unwrap(), "source"]).ok();
    assert!(
        std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&tree).status().unwrap().success()
    );
    let tree = tree.to_str().unwrap();
    let run = |flags: &[&str], words: &[&str]| home.run(&[&["run"][..], flags, &["--rootfs"], words].concat());
    run(&["--rm"], &[tree, "/bin/busybox", "touch", "/written"]).quiet();
    assert!(std::path::Path::new(tree).join("written").exists());
    let over = format!("{tree}:O");
    run(&["--name", "over"], &[&over, "/bin/busybox", "rm", "/written"]).quiet();
    assert!(std::path::Path::new(tree).join("written").exists());
    assert_eq!(home.run(&["inspect", "--format", "{{.Rootfs}} {{.Image}}", "over"]).ok().trim(), tree);
    home.run(&["commit", "over", "image"]).fails(125, &["--rootfs"]);
    run(&[], &["/no/such", "true"]).fails(125, &["no such directory"]);
    run(&[], &[&format!("{tree}:x"), "true"]).fails(125, &["invalid option \"x\" of --rootfs"]);
    run(&[], &[tree]).fails(125, &["no command"]);
    home.run(&["rm", "over", "source"]).ok();
}

#[test]
fn parts_and_kinds_of_mounts() {
    let home = Home::new();
    home.load();
    home.sh(&["-v", "v:/v"], "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s /etc /v/out").ok();
    for asked in ["type=volume,src=v,dst=/x,subpath=a/b", "type=volume,src=v,dst=/x,volume-subpath=/a/b/../b"] {
        assert_eq!(home.sh(&["--mount", asked], "cat /x/f; ls /x").quiet(), "deep\nf");
    }
    assert_eq!(home.sh(&["--mount", "type=volume,src=v,dst=/x,subpath=a/b/f,ro"], "cat /x").quiet(), "deep");
    // A link of the volume leads to what is in the volume, or nowhere.
    home.sh(&["--mount", "type=volume,src=v,dst=/x,subpath=out"], "ls /x").fails(125, &["subpath \"out\""]);
    home.sh(&["--mount", "type=volume,src=v,dst=/x,subpath=none"], "ls /x").fails(125, &["no such file"]);
    let out = home.sh(&["--mount", "type=ramfs,dst=/r,mode=0700"], "stat -f -c %T /r; stat -c %a /r").quiet();
    assert_eq!(out, "ramfs\n700");
    home.run(&["volume", "rm", "v"]).ok();
    let map = "idmap=uids=0-5000-10;gids=0-6000-10";
    let Some(home) = Home::bent(Who::Me, "") else { return };
    home.load();
    let source = home.write("file", b"x");
    let asked = format!("{}:/f:{map}", source.display());
    let out = home.sh(&["-v", &asked], "stat -c %u:%g /f");
    match out.err.contains("id map") {
        true => eprintln!("SKIPPED: no idmapped mounts here"),
        false => assert_eq!(out.quiet(), "5000:6000"),
    }
}
