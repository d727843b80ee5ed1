//! Files of containers seen from outside: what changed, archives of all, new images of them, copies in and out.

use crate::home::{Home, Who};
use std::collections::BTreeSet;

const USERS: [Who; 3] = [Who::Me, Who::Subuid, Who::Single];

/// Changes of every kind, of files and of directories that the image has.
const CHANGE: &str = "mkdir -p /new/deep; echo hi >/new/f; ln /new/f /new/g; ln -s f /new/l; echo more >>/etc/group; \
    rm /etc/passwd; chown 7:8 /new/f; chmod 4711 /new/f; rm -r /home; mkdir /home; echo x >/home/x";

/// Names in a tar archive.
fn entries(bytes: &[u8]) -> BTreeSet<String> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.path().unwrap().display().to_string()
    });
    entries.collect()
}

fn changed(home: &Home) {
    home.load();
    home.run(&["run", "--name", "one", "busybox", "sh", "-c", CHANGE]).quiet();
}

fn changes_are_listed_and_committed(home: &Home, who: Who) {
    changed(home);
    let expected = "C /etc\nC /etc/group\nD /etc/passwd\nC /home\nD /home/app\nA /home/x\nA /new\nA /new/deep\nA /new/f\n\
        A /new/g\nA /new/l";
    assert_eq!(home.run(&["diff", "one"]).quiet(), expected, "{who:?}");
    let id = home.run(&["commit", "-q", "-c", "CMD=cat /home/x", "-c", "LABEL by=me", "one", "made:2"]).quiet();
    assert_eq!(
        home.inspect("made:2", "{{.Id}} {{.Labels.by}} {{len .RootFS.Layers}}"),
        format!("{id} me 2"),
        "{who:?}"
    );
    assert_eq!(home.run(&["run", "--rm", "made:2"]).quiet(), "x", "{who:?}");
    let owner = if who == Who::Single { "0:0" } else { "7:8" };
    let script =
        "ls /home; [ -e /etc/passwd ] || echo gone; stat -c '%u:%g %a %h' /new/f; readlink /new/l; tail -1 /etc/group";
    let out = home.run(&["run", "--rm", "made:2", "sh", "-c", script]).quiet();
    assert_eq!(out, format!("x\ngone\n{owner} 4711 2\nf\nmore"), "{who:?}");
    // What the runtime puts into containers is not the image's.
    let listed = home.run(&["diff", "made:2"]).quiet();
    assert!(!listed.contains("resolv.conf") && !listed.contains("A /proc"), "{who:?}: {listed}");
    home.run(&["commit", "-q", "--squash", "one", "flat"]).quiet();
    assert_eq!(home.inspect("flat", "{{len .RootFS.Layers}}"), "1");
    assert_eq!(home.run(&["run", "--rm", "flat", "cat", "/new/g"]).quiet(), "hi");
    home.run(&["commit", "-q", "-c", "RUN true", "one"]).fails(125, &["RUN true", "no such instruction"]);
}

#[test]
fn a_large_file_takes_the_place_of_another() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--network", "none", "--name", "one", "busybox"]).quiet();
    let out = home.path("out");
    for (byte, length) in [(b'a', 20_000_000), (b'b', 17_000_001), (b'c', 5)] {
        let bytes = vec![byte; length];
        let given = home.write("given", &bytes);
        home.run(&["cp", given.to_str().unwrap(), "one:/tmp/big"]).quiet();
        home.run(&["cp", "one:/tmp/big", out.to_str().unwrap()]).quiet();
        assert!(std::fs::read(&out).unwrap() == bytes, "{length} bytes of {}", char::from(byte));
    }
    // A directory goes through a pipe within the process, and an archive comes whole.
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for n in 0..300u32 {
        std::fs::write(tree.join(format!("{n}")), vec![n as u8; 7_919 * (n as usize % 9)]).unwrap();
    }
    home.run(&["cp", tree.to_str().unwrap(), "one:/tmp/tree"]).quiet();
    home.run(&["commit", "-q", "one", "localhost/made:1"]).quiet();
    home.run(&["create", "--network", "none", "--name", "two", "localhost/made:1", "true"]).quiet();
    let archive = home.path("archive.tar");
    home.run(&["export", "-o", archive.to_str().unwrap(), "two"]).quiet();
    let mut found = 0;
    for entry in tar::Archive::new(std::fs::File::open(&archive).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let Some(n) = entry.path().unwrap().strip_prefix("tmp/tree").ok().and_then(|p| p.to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        assert!(bytes == vec![n as u8; 7_919 * (n as usize % 9)], "file {n}");
        found += 1;
    }
    assert_eq!(found, 300);
}

#[test]
fn changes_are_listed_and_become_an_image() {
    for who in USERS {
        let Some(home) = Home::of(who) else { continue };
        changes_are_listed_and_committed(&home, who);
    }
}

#[test]
fn changes_of_a_copy_are_listed_and_become_an_image() {
    let script = "cd $HOME_DIR && mkdir l u w && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none root";
    for who in USERS {
        let owned = match who {
            Who::Me => script.to_string(),
            _ => format!("{script} && chown 61234:61234 root u"),
        };
        let Some(home) = Home::bent(who, &owned) else { continue };
        changes_are_listed_and_committed(&home, who);
    }
}

#[test]
fn all_files_are_exported_but_not_what_is_mounted() {
    let Some(home) = Home::of(Who::Me) else { return };
    changed(&home);
    let volume = home.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("secret"), "s").unwrap();
    let bind = format!("{}:/bound", volume.display());
    let script = "touch /x; exec sleep 100";
    let id = home.run(&["run", "-d", "-v", &bind, "--tmpfs", "/t", "busybox", "sh", "-c", script]).quiet();
    home.until("it has written", || home.run(&["diff", &id]).ok().contains("A /x"));
    let to = home.path("out.tar").display().to_string();
    for (name, has) in [("one", "new/f"), (id.as_str(), "x")] {
        home.run(&["export", "-o", &to, name]).quiet();
        let found = entries(&std::fs::read(&to).unwrap());
        let names: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert!(names.contains(has) && names.contains("bin/busybox"), "{name}: {names:?}");
        assert!(
            !names.contains("bound/secret") && !names.iter().any(|n| n.starts_with("proc/") && *n != "proc/"),
            "{names:?}"
        );
    }
    home.run(&["export", "-o", &to, "nobody"]).fails(125, &["nobody"]);
    if rustix::process::geteuid().is_root() {
        // A device that takes nothing, in a place of its own: the failure does not remove it.
        let full = home.path("full");
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &full, kind, mode, rustix::fs::makedev(1, 7)).unwrap();
        home.run(&["export", "-o", full.to_str().unwrap(), "one"]).fails(125, &["No space left on device"]);
        assert!(full.exists());
    }
    home.run(&["rm", "-f", "-t", "0", &id]).quiet();
}

#[test]
fn files_are_copied_in_and_out() {
    for who in USERS {
        let Some(home) = Home::of(who) else { continue };
        home.load();
        let given = home.path("given");
        std::fs::create_dir_all(given.join("deep")).unwrap();
        std::fs::write(given.join("f"), "from outside").unwrap();
        std::fs::write(given.join("deep/g"), "deeper").unwrap();
        let given = given.display().to_string();
        let running = home.run(&["run", "-d", "--name", "runs", "busybox", "sleep", "100"]).quiet();
        home.run(&["create", "--name", "never", "busybox", "cat", "/in/f"]).quiet();
        for name in ["runs", "never"] {
            let at = |path: &str| format!("{name}:{path}");
            // A directory to a name that is free; then into it; then its contents only.
            home.run(&["cp", &given, &at("/in")]).quiet();
            home.run(&["cp", &given, &at("/in")]).quiet();
            home.run(&["cp", &format!("{given}/."), &at("/tmp/")]).quiet();
            home.run(&["cp", &format!("{given}/f"), &at("/tmp/named")]).quiet();
            let out = home.path("home").join(format!("out-{name}")).display().to_string();
            home.run(&["cp", &at("/in"), &out]).quiet();
            for (path, text) in [("f", "from outside"), ("deep/g", "deeper"), ("given/f", "from outside")] {
                assert_eq!(std::fs::read_to_string(format!("{out}/{path}")).unwrap(), text, "{who:?} {name} {path}");
            }
            for path in ["/tmp/f", "/tmp/deep/g", "/tmp/named"] {
                home.run(&["cp", &at(path), &format!("{out}/one")]).quiet();
            }
            assert_eq!(std::fs::read_to_string(format!("{out}/one")).unwrap(), "from outside");
            // As archives.
            let stream = home.run(&["cp", &at("/in"), "-"]).code(0);
            let found = entries(&stream.raw);
            assert!(found.contains("in/deep/g"), "{found:?}");
            home.feed(&["cp", "-", &at("/tmp")], &stream.raw).code(0);
            home.run(&["cp", &at("/tmp/in/deep/g"), &format!("{out}/two")]).quiet();
            assert_eq!(std::fs::read_to_string(format!("{out}/two")).unwrap(), "deeper");
            // What does not fit is told.
            home.run(&["cp", &at("/nothing"), &out]).fails(125, &["/nothing", "could not be found"]);
            home.run(&["cp", &format!("{given}/f"), &at("/no/such/place")]).fails(125, &["could not be found"]);
            home.run(&["cp", &given, &at("/tmp/named")]).fails(125, &["must be a directory"]);
            home.run(&["cp", &given, "/tmp/x"]).fails(125, &["must be a container"]);
        }
        assert_eq!(home.run(&["exec", "runs", "stat", "-c", "%u:%g", "/in/f"]).quiet(), "0:0", "{who:?}");
        assert_eq!(home.run(&["start", "-a", "never"]).ok(), "from outside");
        home.run(&["cp", "runs:/in/f", "never:/between"]).quiet();
        home.run(&["rm", "-f", "-t", "0", &running]).quiet();
    }
}

/// Links in a container are followed in the container, whatever they say, and so is what the archive of a stranger holds.
#[test]
fn copies_do_not_leave_the_container() {
    let home = Home::new();
    home.load();
    let outside = home.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("f"), "the host's").unwrap();
    let outside = outside.display().to_string();
    let script = format!(
        "ln -s {outside}/f /file; ln -s {outside} /directory; ln -s ../../../../../../../..{outside} /up; exec sleep 100"
    );
    home.run(&["run", "-d", "--name", "one", "busybox", "sh", "-c", &script]).quiet();
    home.until("it has made its links", || home.run(&["diff", "one"]).ok().contains("A /up"));
    let out = home.path("out").display().to_string();
    for path in ["/file", "/directory/f", "/up/f"] {
        home.run(&["cp", &format!("one:{path}"), &out]).fails(125, &["could not be found"]);
    }
    let given = home.write("given", b"mine").display().to_string();
    for path in ["/directory/f", "/up/new"] {
        home.run(&["cp", &given, &format!("one:{path}")]).fails(125, &["could not be found"]);
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "way", &outside).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o644);
    builder.append_data(&mut header, "way/f", &b"evil"[..]).unwrap();
    let archive = builder.into_inner().unwrap();
    // The link is made in the container, and what is written through it stays there.
    home.feed(&["cp", "-", "one:/tmp"], &archive);
    assert_eq!(std::fs::read_to_string(format!("{outside}/f")).unwrap(), "the host's");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
}

#[test]
fn processes_are_shown_without_ps() {
    for who in USERS {
        let Some(home) = Home::of(who) else { continue };
        home.load();
        home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
        let out = home.run(&["top", "one"]).quiet();
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("USER        PID         PPID        %CPU"), "{who:?}: {out}");
        assert!(lines[1].starts_with("root        1           0") && lines[1].ends_with("sleep 100"), "{who:?}: {out}");
        let out = home.run(&["top", "one", "pid", "capeff", "seccomp", "%a"]).quiet();
        assert!(out.contains("filter") && out.contains("CHOWN"), "{who:?}: {out}");
        let hpid: i32 =
            home.run(&["top", "one", "-eo", "hpid"]).quiet().lines().nth(1).unwrap().trim().parse().unwrap();
        assert_eq!(home.inspect("one", "{{.State.Pid}}"), hpid.to_string());
        home.run(&["top", "one", "nothing"]).fails(125, &["unknown descriptor", "nothing"]);
        home.run(&["stop", "-t", "0", "one"]).code(0);
        home.run(&["top", "one"]).fails(125, &["running"]);
    }
}

#[test]
fn containers_are_renamed_and_restarted() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
    let pid = home.inspect("one", "{{.State.Pid}}");
    home.run(&["create", "--name", "other", "busybox"]).quiet();
    home.run(&["rename", "one", "other"]).fails(125, &["other", "in use"]);
    home.run(&["rename", "one", "a b"]).fails(125, &["a b"]);
    home.run(&["rename", "one", "two"]).quiet();
    assert_eq!(home.inspect(&id, "{{.Name}}"), "two");
    assert_eq!(home.run(&["restart", "-t", "0", "two"]).quiet(), "two");
    assert_ne!(home.inspect("two", "{{.State.Pid}}"), pid);
    assert_eq!(home.inspect("two", "{{.State.Status}}"), "running");
    assert_eq!(home.run(&["restart", "--running", "-t", "0"]).quiet(), id);
    home.run(&["restart", "nobody"]).fails(125, &["nobody"]);
    home.run(&["rm", "-f", "-t", "0", "two"]).quiet();
}
