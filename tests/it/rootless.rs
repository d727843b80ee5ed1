//! Users without root: one with a range of ids and newuidmap, one with neither. Both get the whole life of a container.

use crate::home::{Home, Who};

/// The whole life, as `who`.
fn life(who: Who) {
    let Some(home) = Home::of(who) else { return };
    home.load();
    let script = "id -u; id -g; echo $$; cat /home/app/own; stat -c '%u:%g %a' /home/app/own /bin /tmp";
    let out = home.run(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]).quiet();
    // With one id all files are shown as its own; their modes are what they should be.
    let owner = if who == Who::Single { "0:0" } else { "1000:1000" };
    assert_eq!(out, format!("0\n0\n1\napp's\n{owner} 640\n0:0 755\n0:0 1777"), "{who:?}");

    let id = home.run(&["run", "-d", "--name", "one", "busybox", "sh", "-c", "echo begun; exec sleep 100"]).quiet();
    home.until("it has written", || home.run(&["logs", "one"]).ok() == "begun");
    assert_eq!(home.run(&["ps", "-q", "--no-trunc"]).quiet(), id);
    assert_eq!(home.run(&["exec", "one", "id", "-u"]).quiet(), "0");
    home.run(&["stop", "-t", "0", "one"]).code(0);
    assert_eq!(home.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    home.run(&["start", "one"]).quiet();
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
    home.run(&["run", "--rm", "busybox", "sh", "-c", "exit 6"]).code(6);
    home.run(&["rmi", "busybox"]).ok();
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
}

#[test]
fn with_a_range_of_ids() {
    life(Who::Subuid);
}

#[test]
fn with_one_id_and_no_other_program() {
    life(Who::Single);
}

#[test]
fn a_range_makes_every_id_real() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    let out = home.sh(&["-u", "app"], "id -u; touch /tmp/x && stat -c %u /tmp/x; cat /proc/self/uid_map").quiet();
    assert!(out.starts_with("1000\n1000\n"), "{out}");
    assert_eq!(home.sh(&[], "touch /x; chown 1000:1001 /x && stat -c %u:%g /x").quiet(), "1000:1001");
}

#[test]
fn one_id_serves_for_all() {
    let Some(home) = Home::of(Who::Single) else { return };
    // Changes of ownership do not fail, or package managers would; and programs may become other users.
    home.sh(&[], "touch /x && chown 1000:1001 /x && chgrp 5 /x && mkdir /d && chown -R 33:33 /d").quiet();
    assert_eq!(home.sh(&["-u", "0"], "cat /proc/self/uid_map | wc -l").quiet(), "1");
    let volume = home.path("home");
    home.sh(&["-v", &format!("{}:/kept", volume.display())], "echo x >/kept/made").quiet();
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(volume.join("made")).unwrap());
    assert_eq!(owner, 61_234);
}

#[test]
fn limits_that_cannot_be_had_are_refused_only_when_asked() {
    let Some(home) = Home::of(Who::Single) else { return };
    home.sh(&[], "true").quiet();
    home.sh(&["--memory", "64m"], "true").fails(125, &["memory"]);
    home.sh(&["--cpus", "1"], "true").fails(125, &["cpu"]);
    home.sh(&["--pids-limit", "10"], "true").fails(125, &["pids"]);
}

#[test]
fn users_do_not_see_each_other() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    home.load();
    let id = home.run(&["create", "busybox"]).quiet();
    // The same paths as another user: refused, not shared.
    let mut other = std::process::Command::new("setpriv");
    other.args(["--reuid", "61235", "--regid", "61235", "--clear-groups", "--"]).arg(home.path("monopod"));
    other.arg("--root").arg(home.path("root")).arg("--runroot").arg(home.path("run")).args(["ps", "-aq", "--no-trunc"]);
    let output = other.current_dir("/").output().unwrap();
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains(&id));
}
