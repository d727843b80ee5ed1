//! Descriptors of the caller's that a program inherits: `--preserve-fds`, `--preserve-fd`, of `run` and `exec`.

use crate::home::{Home, Output};
use std::process::Command;

/// A command of monopod with `redirections` of a shell.
fn redirected(home: &Home, args: &[&str], redirections: &str) -> Output {
    let asked = home.command(args);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("\"$@\" {redirections}"), "sh"]).arg(asked.get_program()).args(asked.get_args());
    command.current_dir(&home.directory);
    Output::of(command)
}

#[test]
fn programs_inherit_what_they_are_handed() {
    let home = Home::new();
    home.load();
    home.write("a", b"three\n");
    home.write("b", b"five\n");
    home.run(&["run", "-d", "--name", "c", "busybox", "sleep", "100"]).ok();
    let look =
        "for n in 3 4 5 6 7 8 9; do if [ -e /proc/self/fd/$n ]; then cat <&$n; else echo $n closed; fi; done 2>&1";
    let run = ["run", "--rm"];
    let exec = ["exec"];
    for (verb, target) in [(&run[..], "busybox"), (&exec[..], "c")] {
        let words = |flags: &[&'static str]| [verb, flags, &[target, "sh", "-c", look]].concat();
        let some = redirected(&home, &words(&["--preserve-fds", "1"]), "3<a 4<b");
        assert_eq!(some.quiet(), "three\n4 closed\n5 closed\n6 closed\n7 closed\n8 closed\n9 closed", "{verb:?}");
        let two = redirected(&home, &words(&["--preserve-fds=2"]), "3<b 4<a 5<a");
        assert_eq!(two.quiet(), "five\nthree\n5 closed\n6 closed\n7 closed\n8 closed\n9 closed", "{verb:?}");
        // With gaps: what monopod has open itself is not among it.
        let list = redirected(&home, &words(&["--preserve-fd", "5", "--preserve-fd=8"]), "3<a 5<b 8<a");
        assert_eq!(list.quiet(), "3 closed\n4 closed\nfive\n6 closed\n7 closed\nthree\n9 closed", "{verb:?}");
        redirected(&home, &words(&["--preserve-fds=2"]), "3<a 4<&-")
            .fails(125, &["file descriptor 4 is not available"]);
        redirected(&home, &words(&["--preserve-fd=3,x"]), "3<a").fails(125, &["expected a whole number"]);
        redirected(&home, &words(&["--preserve-fd=3", "--preserve-fds=1"]), "3<a").fails(125, &["cannot specify both"]);
    }
}

#[test]
fn nobody_else_holds_what_was_handed_on() {
    let home = Home::new();
    home.load();
    // The reader sees the end as soon as the program has closed it, while the container goes on.
    let script = "echo written >&3; exec 3>&-; exec sleep 100";
    let words = ["run", "-d", "--name", "c", "--preserve-fds=1", "busybox", "sh", "-c", script];
    assert_eq!(redirected(&home, &words, "3>&1 >/dev/null").quiet(), "written");
    assert_eq!(home.inspect("c", "{{.State.Status}}"), "running");
    // Without the option nothing is inherited.
    let words = ["exec", "c", "sh", "-c", "[ -e /proc/self/fd/3 ] && echo leaked || echo clean"];
    assert_eq!(redirected(&home, &words, "3</dev/null").quiet(), "clean");
}

#[test]
fn nobody_is_told_of_what_has_no_session() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "c", "busybox", "sleep", "100"]).ok();
    assert_eq!(home.run(&["exec", "--no-session", "c", "sh", "-c", "echo said; exit 3"]).code(3).out, "said\n");
    let told = |status: &str| {
        let filter = format!("event={status}");
        home.run(&["events", "--stream=false", "--since", "1h", "--filter", &filter]).quiet()
    };
    assert_eq!((told("exec"), told("exec_died")), (String::new(), String::new()));
    home.run(&["exec", "c", "true"]).quiet();
    assert!(!told("exec").is_empty() && !told("exec_died").is_empty());
}
