//! `attach` and `start -a`: nothing that was written after is lost, and several can listen.

use crate::home::Home;

#[test]
fn who_sees_nothing_of_it_is_told_its_name() {
    let home = Home::new();
    home.load();
    let run = ["run", "--name", "one", "--network", "none", "--attach", "stdin", "busybox", "echo", "unseen"];
    let id = home.run(&run).quiet();
    assert_eq!(home.inspect("one", "{{.Id}}"), id);
}

#[test]
fn attach_hears_what_comes_and_gives_the_exit_code() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "-i", "--name", "one", "busybox", "sh", "-c", "read line; echo got $line; exit 5"]).quiet();
    let listener = home.start(&["attach", "--no-stdin", "one"]);
    let mut speaker = home.start(&["attach", "one"]);
    std::thread::sleep(std::time::Duration::from_millis(400));
    speaker.write(b"a word\n");
    assert_eq!(speaker.wait().code(5).out, "got a word\n");
    assert_eq!(listener.wait().code(5).out, "got a word\n");
    home.run(&["attach", "one"]).fails(125, &["running"]);
}

#[test]
fn start_attached_loses_no_output() {
    let home = Home::new();
    home.load();
    for n in 0..5 {
        let name = format!("c{n}");
        home.run(&["create", "--name", &name, "busybox", "sh", "-c", "echo first; seq 1 500; exit 2"]).quiet();
        let out = home.run(&["start", "-a", &name]).code(2).out;
        assert!(out.starts_with("first\n1\n") && out.ends_with("\n500\n"), "{out}");
    }
    home.run(&["create", "-i", "--name", "talk", "busybox", "cat"]).quiet();
    assert_eq!(home.feed(&["start", "-a", "-i", "talk"], b"echo").quiet(), "echo");
}

#[test]
fn the_end_of_input_reaches_the_container() {
    let home = Home::new();
    let image = home.busybox();
    let mut running = home.start(&["run", "--rm", "-i", &image, "sh", "-c", "cat; echo ended"]);
    running.write(b"x");
    running.close();
    assert_eq!(running.wait().ok(), "xended");
}

#[test]
fn a_client_that_is_stopped_keeps_nobody_from_the_end() {
    let home = Home::new();
    home.load();
    let client = home.start(&["run", "--rm", "--name", "one", "--log-driver", "none", "busybox", "yes"]);
    home.until("it runs", || home.run(&["ps", "-q"]).ok() != "");
    let signal = |signal| {
        let pid = rustix::process::Pid::from_child(&client.child);
        rustix::process::kill_process(pid, signal).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    // Its queue is full when the container waits to be heard.
    let state = || home.run(&["top", "one", "state"]).ok();
    home.until("it waits for the client", || (0..5).all(|_| state().ends_with('S')));
    home.run(&["kill", "one"]).ok();
    assert_eq!(home.run(&["wait", "one"]).quiet(), "137");
    home.until("it is gone", || home.run(&["ps", "-aq"]).ok().is_empty());
    signal(rustix::process::Signal::CONT);
    let out = client.wait().code(137).out;
    assert!(out.len() > 100_000 && out.starts_with("y\ny\n"), "{}", out.len());
}
