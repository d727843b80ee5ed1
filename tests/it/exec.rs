//! `exec`: another process in a running container.

use crate::home::{Home, Who};

#[test]
fn exec_enters_the_container() {
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        home.load();
        home.run(&["run", "-d", "--name", "one", "--hostname", "inside", "-e", "A=1", "busybox", "sleep", "100"])
            .quiet();
        let exec = |args: &[&str]| home.run(&[&["exec"], args].concat());
        assert_eq!(exec(&["one", "hostname"]).quiet(), "inside", "{who:?}");
        assert_eq!(exec(&["-e", "B=2", "-w", "/etc", "one", "sh", "-c", "echo $A$B; pwd"]).quiet(), "12\n/etc");
        exec(&["one", "sh", "-c", "exit 9"]).code(9);
        exec(&["one", "sh", "-c", "kill -9 $$"]).code(137);
        exec(&["one", "/no/such"]).fails(127, &["/no/such"]);
        exec(&["one", "/etc/passwd"]).fails(126, &["/etc/passwd"]);
        // Podman's codes and words for what a container does not have.
        exec(&["-u", "no-such", "one", "true"]).fails(255, &["unable to find user no-such"]);
        exec(&["-w", "/no-such", "one", "true"]).fails(127, &["chdir `/no-such`: No such file or directory"]);
        exec(&["-w", "/etc/passwd", "one", "true"]).fails(255, &["chdir", "Not a directory"]);
        assert_eq!(exec(&["-w", "etc", "one", "pwd"]).quiet(), "/etc");
        let piped = home.feed(&["exec", "-i", "one", "wc", "-c"], b"12345").quiet();
        assert_eq!(piped.trim(), "5");
        assert_eq!(
            exec(&["one", "readlink", "/proc/self/ns/pid"]).quiet(),
            exec(&["one", "readlink", "/proc/1/ns/pid"]).quiet()
        );
        let streams = exec(&["one", "sh", "-c", "echo out; echo err >&2"]).code(0);
        assert_eq!((streams.out.as_str(), streams.err.as_str()), ("out\n", "err\n"));
        // Where only one id is mapped, nobody may notice that owners cannot be changed.
        exec(&["--privileged", "one", "chown", "5:5", "/etc/passwd"]).quiet();
        if who == Who::Me {
            assert_eq!(exec(&["-u", "app", "one", "id", "-u"]).quiet(), "1000");
        }
        exec(&["-d", "one", "sh", "-c", "sleep 0.3; echo >/written"]).code(0);
        home.until("the detached command has run", || exec(&["one", "test", "-e", "/written"]).code == 0);
        home.run(&["kill", "one"]).quiet();
        home.run(&["wait", "one"]).ok();
        exec(&["one", "true"]).fails(255, &["running"]);
        exec(&["no-such", "true"]).fails(125, &["no-such"]);
    }
}

#[test]
fn exec_is_as_confined_as_the_container() {
    let home = Home::new();
    home.load();
    let status = "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status";
    let flags = ["run", "-d", "--name", "one", "--cap-drop", "CHOWN", "--security-opt", "no-new-privileges"];
    home.run(&[&flags[..], &["busybox", "sleep", "100"]].concat()).quiet();
    let first =
        home.run(&["exec", "one", "sh", "-c", "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/1/status"]).quiet();
    assert_eq!(home.run(&["exec", "one", "sh", "-c", status]).quiet(), first);
    assert!(first.contains("NoNewPrivs:\t1") && first.contains("Seccomp:\t2"), "{first}");
    let cgroup = home.run(&["exec", "one", "cat", "/proc/self/cgroup"]).quiet();
    assert_eq!(home.run(&["exec", "one", "cat", "/proc/1/cgroup"]).quiet(), cgroup);
}

#[test]
fn many_at_once() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
    let running: Vec<_> =
        (0..12).map(|n| home.start(&["exec", "one", "sh", "-c", &format!("sleep 0.2; exit {n}")])).collect();
    for (n, running) in running.into_iter().enumerate() {
        running.wait().code(n as i32);
    }
}
