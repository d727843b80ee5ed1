//! `attach` and `start -a`: nothing that was written after is lost, and several can listen.

use crate::home::Home;

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
