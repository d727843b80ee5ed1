//! Where the kernel's overlay cannot be had, containers get copies, and `info` says so.

use crate::home::{Home, Who};

#[test]
fn without_overlay_containers_are_copies() {
    // An overlay cannot keep its upper layer on an overlay: root and run root are put on one.
    let script = "cd $HOME_DIR && mkdir l u w && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none root";
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let owned = match who {
            Who::Me => script.to_string(),
            _ => format!("{script} && chown 61234:61234 root u"),
        };
        let Some(home) = Home::bent(who, &owned) else { return };
        home.load();
        let info: serde_json::Value = serde_json::from_str(&home.run(&["info", "--format", "json"]).quiet()).unwrap();
        let driver = info["store"]["graphDriverName"].as_str().unwrap();
        if driver == "overlay" {
            eprintln!("SKIPPED for {who:?}: this kernel stacks overlays");
            continue;
        }
        // One id serves for all there is.
        let owner = if who == Who::Single { 0 } else { 1000 };
        let script = "echo changed >/etc/group; cat /etc/group; stat -c %u /home/app/own";
        assert_eq!(
            home.run(&["run", "--rm", "busybox", "sh", "-c", script]).quiet(),
            format!("changed\n{owner}"),
            "{who:?}, {driver}"
        );
        let out = home.run(&["run", "--rm", "busybox", "cat", "/etc/group"]).quiet();
        assert!(out.starts_with("root:"), "a container changed its image: {out}");
        home.run(&["create", "--name", "one", "busybox"]).quiet();
        home.run(&["rm", "one"]).quiet();
    }
}

#[test]
fn files_are_stored_as_is_asked() {
    let home = Home::new();
    home.load();
    let how = |args: &[&str]| home.run(&[args, &["info", "--format", "{{.Store.GraphDriverName}}"]].concat()).quiet();
    assert_eq!(how(&["--storage-driver", "vfs"]), "vfs");
    let run = ["--storage-driver=vfs", "run", "--network", "none", "--name", "copy", "busybox", "sh", "-c"];
    home.run(&[&run[..], &["echo mine >/new; rm /bin/wget; cat /new"]].concat()).quiet();
    let told = "{{.GraphDriver.Name}} {{.GraphDriver.Data.Dir}}";
    let told = home.inspect("copy", told);
    let directory = told.strip_prefix("vfs ").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(std::fs::read(format!("{directory}/new")).unwrap(), b"mine\n");
    let changes = home.run(&["diff", "copy"]).quiet();
    assert!(["D /bin/wget", "A /new"].iter().all(|wanted| changes.lines().any(|line| line == *wanted)), "{changes}");
    // It stays a copy, whoever starts it.
    assert_eq!(home.run(&["start", "-a", "copy"]).code(0).out, "mine\n");
    // The image is as it was, and others get what the host has.
    home.sh(&[], "test -e /bin/wget && ! test -e /new").quiet();
    home.run(&["rm", "copy"]).ok();
    assert!(!std::path::Path::new(directory).exists());
    let home = home.variable("STORAGE_DRIVER", "vfs");
    assert_eq!(home.run(&["info", "--format", "{{.Store.GraphDriverName}}"]).quiet(), "vfs");
    if home.run(&["--storage-driver", "overlay", "info"]).code == 0 {
        assert_eq!(
            home.run(&["--storage-driver", "overlay", "info", "-f", "{{.Store.GraphDriverName}}"]).quiet(),
            "overlay"
        );
    }
}

#[test]
fn containers_share_layers_and_keep_their_changes() {
    let home = Home::new();
    home.load();
    home.run(&["run", "--name", "one", "busybox", "sh", "-c", "echo mine >/file; rm /etc/group"]).quiet();
    home.run(&["run", "--rm", "busybox", "sh", "-c", "test ! -e /file && test -e /etc/group"]).quiet();
    home.run(&["create", "--name", "two", "busybox", "true"]).quiet();
    assert_eq!(std::fs::read_dir(home.path("root/layers")).unwrap().count(), 1);
    // What was changed is still there when the container is started again.
    home.run(&["create", "--name", "three", "busybox", "sh", "-c", "cat /n 2>/dev/null; echo x >>/n"]).quiet();
    assert_eq!(home.run(&["start", "-a", "three"]).quiet(), "");
    assert_eq!(home.run(&["start", "-a", "three"]).quiet(), "x");
}
