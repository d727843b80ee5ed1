//! `logs`: what a container wrote, in order, by time, by count, and as it is written.

use crate::home::Home;

#[test]
fn lines_come_back_from_both_streams() {
    let home = Home::new();
    home.load();
    let script = "echo one; echo two >&2; printf 'no end'";
    home.run(&["run", "--name", "one", "busybox", "sh", "-c", script]).code(0);
    let logs = home.run(&["logs", "one"]).code(0);
    assert_eq!(logs.err, "two\n");
    assert!(logs.out == "one\nno end\n" || logs.out == "one\nno end", "{:?}", logs.out);
    let stamped = home.run(&["logs", "-t", "one"]).code(0).out;
    let first = stamped.lines().next().unwrap();
    let (time, text) = first.split_once(' ').unwrap();
    assert_eq!(text, "one");
    assert!(time.len() >= 20 && time.contains('T'), "{time}");
    home.run(&["logs", "no-such"]).fails(125, &["no-such"]);
}

#[test]
fn tail_since_and_until_choose() {
    let home = Home::new();
    home.load();
    let script = "echo a; sleep 1.2; echo b; echo c";
    home.run(&["run", "--name", "one", "busybox", "sh", "-c", script]).code(0);
    assert_eq!(home.run(&["logs", "--tail", "2", "one"]).quiet(), "b\nc");
    assert_eq!(home.run(&["logs", "--tail", "0", "one"]).quiet(), "");
    let stamps = home.run(&["logs", "-t", "one"]).quiet();
    let time_of = |n: usize| stamps.lines().nth(n).unwrap().split(' ').next().unwrap().to_string();
    assert_eq!(home.run(&["logs", "--since", &time_of(1), "one"]).quiet(), "b\nc");
    assert_eq!(home.run(&["logs", "--until", &time_of(0), "one"]).quiet(), "a");
    assert_eq!(home.run(&["logs", "--since", "1h", "one"]).quiet(), "a\nb\nc");
    assert_eq!(home.run(&["logs", "--since", "2001-01-01T00:00:00Z", "--until", "2002-01-01", "one"]).quiet(), "");
    home.run(&["logs", "--since", "yesteryear", "one"]).fails(125, &["yesteryear"]);
}

#[test]
fn following_ends_with_the_container() {
    let home = Home::new();
    home.load();
    let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done";
    home.run(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]).quiet();
    assert_eq!(home.run(&["logs", "-f", "one"]).quiet(), "1\n2\n3\n4\n5");
}

#[test]
fn both_formats_rotate_by_size() {
    for driver in ["k8s-file", "json-file"] {
        let home = Home::new();
        home.load();
        let path = home.path("own.log");
        let (driver_flag, size) = (format!("--log-driver={driver}"), "--log-opt=max-size=10k");
        let file = format!("--log-opt=path={}", path.display());
        let script = "for i in $(seq 1 2000); do echo line $i; done";
        let run = ["run", "--name", "one", &driver_flag, size, &file, "busybox", "sh", "-c", script];
        home.run(&run).code(0);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size <= 10 * 1024 + 200, "{driver}: {size} bytes");
        let logs = home.run(&["logs", "one"]).quiet();
        assert!(logs.ends_with("line 2000"), "{driver}: the newest line is missing");
        let text = std::fs::read_to_string(&path).unwrap();
        match driver {
            "json-file" => {
                let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
                assert_eq!((&line["log"], &line["stream"]), (&"line 2000\n".into(), &"stdout".into()));
            }
            _ => assert!(text.lines().last().unwrap().contains(" stdout F line 2000"), "{text}"),
        }
    }
}

#[test]
fn no_log_means_no_log() {
    let home = Home::new();
    home.load();
    home.run(&["run", "--name", "one", "--log-driver", "none", "busybox", "echo", "unseen"]).code(0);
    let logs = home.run(&["logs", "one"]);
    assert!(logs.code != 0 && logs.out.is_empty(), "{logs:?}");
}
