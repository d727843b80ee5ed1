//! Called `skopeo`, it is one; what registries have is found; a Docker daemon gives and takes images.

use crate::home::{Home, Output, built};
use crate::image::{self, Image};
use crate::peer::{Registry, digest, installed, text};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;

/// Runs the built file under the name `skopeo`.
fn skopeo(home: &Home, args: &[&str]) -> Output {
    let called = home.path("skopeo");
    if !called.exists() {
        std::os::unix::fs::symlink(built(), &called).unwrap();
    }
    let mut command = Command::new(called);
    command.args(["--root", text(&home.path("root")), "--runroot", text(&home.path("run"))]).args(args);
    Output::of(command)
}

/// Writes the image `busybox` to an archive.
fn archive(home: &Home) -> String {
    let file = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("localhost/busybox:1")])));
    format!("oci-archive:{}", file.display())
}

#[test]
fn skopeos_verbs() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let from = archive(&home);
    let there = format!("docker://{}/a/busybox:1", registry.address);
    skopeo(&home, &["--insecure-policy", "copy", "-q", &from, &there]).quiet();
    let raw = skopeo(&home, &["inspect", "--raw", &there]).ok();
    if installed("skopeo") {
        assert_eq!(digest(&home, &there), format!("sha256:{}", image::sha256(raw.as_bytes())));
    }
    let manifest = home.write("manifest.json", raw.as_bytes());
    let digest = skopeo(&home, &["manifest-digest", text(&manifest)]).quiet();
    assert_eq!(skopeo(&home, &["inspect", "--format", "{{.Digest}}", &there]).ok(), digest);
    assert!(skopeo(&home, &["list-tags", &format!("docker://{}/a/busybox", registry.address)]).ok().contains("\"1\""));
    let other = format!("dir:{}", home.path("other").display());
    skopeo(&home, &["--override-arch", "s390x", "copy", "-q", "--all", &there, &other]).quiet();
    let reject = home.write("policy.json", br#"{"default":[{"type":"reject"}]}"#);
    let back = format!("dir:{}", home.path("back").display());
    skopeo(&home, &["--policy", text(&reject), "copy", "-q", &there, &back]).fails(125, &["reject"]);
    skopeo(&home, &["--policy", text(&reject), "--insecure-policy", "copy", "-q", &there, &back]).quiet();
    skopeo(&home, &["run", "busybox"]).fails(125, &["run"]);
    // Debian's registry deletes nothing unless it is told that it may.
    skopeo(&home, &["delete", &there]).fails(125, &["UNSUPPORTED"]);
}

#[test]
fn deleted_images_are_gone() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "storage:\n  delete:\n    enabled: true\n") else { return };
    let there = format!("docker://{}/busybox:1", registry.address);
    skopeo(&home, &["copy", "-q", &archive(&home), &there]).quiet();
    skopeo(&home, &["delete", &there]).quiet();
    skopeo(&home, &["inspect", &there]).fails(125, &["manifest unknown"]);
    skopeo(&home, &["delete", &there]).fails(125, &["manifest unknown"]);
}

#[test]
fn what_registries_have() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let (address, from) = (registry.address.as_str(), archive(&home));
    for name in ["a/busybox:1", "a/busybox:2", "b/other:1"] {
        home.run(&["copy", "-q", &from, &format!("docker://{address}/{name}")]).quiet();
    }
    let found = home.run(&["search", &format!("{address}/busy")]).quiet();
    assert!(found.starts_with("NAME") && found.contains(&format!("{address}/a/busybox")), "{found}");
    assert!(!found.contains("other"), "{found}");
    let all = home.run(&["search", "--format", "{{.Index}} {{.Name}}", &format!("{address}/")]).quiet();
    assert_eq!(all.lines().count(), 2, "{all}");
    assert_eq!(
        home.run(&["search", "--limit", "1", "--format", "{{.Name}}", &format!("{address}/")]).quiet().lines().count(),
        1
    );
    assert_eq!(home.run(&["search", "--filter", "stars=1", &format!("{address}/busy")]).quiet(), "");
    let tags = home.run(&["search", "--list-tags", "--format", "{{.Tag}}", &format!("{address}/a/busybox")]).quiet();
    let mut tags: Vec<_> = tags.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2"]);
    let tags = home.run(&["search", "--list-tags", "--format", "json", &format!("{address}/a/busybox")]).quiet();
    let tags: serde_json::Value = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags[0]["Tags"].as_array().map(Vec::len), Some(2));
    home.run(&["search", "--filter", "color=red", "x"]).fails(125, &["color"]);
    home.run(&["search", "localhost:1/x"]).fails(125, &["localhost:1"]);
}

#[test]
fn many_images_at_once() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let (address, from) = (registry.address.as_str(), archive(&home));
    for tag in ["1", "2"] {
        home.run(&["copy", "-q", &from, &format!("docker://{address}/a/busybox:{tag}")]).quiet();
    }
    let (source, tree) = (format!("{address}/a/busybox"), home.path("tree"));
    let there = format!("{address}/again");
    let dry = home.run(&["sync", "--dry-run", "--src", "docker", "--dest", "dir", &source, text(&tree)]);
    assert!(dry.err.contains("Would have copied") && dry.err.contains("2 images"), "{}", dry.err);
    assert!(!tree.exists());
    skopeo(&home, &["sync", "--scoped", "-s", "docker", "-d", "dir", &source, text(&tree)]).ok();
    assert!(tree.join(format!("{address}/a/busybox:2/manifest.json")).exists());
    skopeo(&home, &["sync", "-s", "dir", "-d", "docker", "--append-suffix=-x", text(&tree), &there]).ok();
    let digest = |name: &str| home.run(&["inspect", "--format", "{{.Digest}}", &format!("docker://{name}")]).ok();
    assert_eq!(digest(&format!("{there}/busybox:1-x")), digest(&format!("{source}:1")));
    home.run(&["sync", "-s", "docker", "-d", "dir", &format!("{address}/none"), text(&tree)])
        .fails(125, &["NAME_UNKNOWN"]);
    home.run(&["sync", "-s", "yaml", "-d", "dir", "list", text(&tree)]).fails(125, &["list", "No such file"]);
    home.run(&["sync", "-s", "docker", &source, text(&tree)]).fails(125, &["--dest"]);
}

/// A Docker daemon that answers one request with `answer`; gives what it was sent.
fn daemon(home: &Home, answer: Vec<u8>, until: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let socket = home.path("docker.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut sent, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        while !sent.ends_with(until) {
            let got = stream.read(&mut buffer).unwrap();
            assert!(got > 0, "the request ends too early");
            sent.extend_from_slice(&buffer[..got]);
        }
        stream.write_all(&answer).unwrap();
        sent
    });
    (format!("unix://{}", socket.display()), served)
}

#[test]
fn images_of_a_docker_daemon() {
    let home = Home::new();
    let saved = image::archive(&image::docker(&[Image::busybox("busybox:1")]));
    let answer = [&b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\n\r\n"[..], &saved].concat();
    let (host, served) = daemon(&home, answer.clone(), b"\r\n\r\n");
    let back = format!("dir:{}", home.path("back").display());
    skopeo(&home, &["copy", "-q", "--src-daemon-host", &host, "docker-daemon:busybox:1", &back]).quiet();
    assert!(served.join().unwrap().starts_with(b"GET /images/docker.io/library/busybox:1/get "));
    assert!(home.path("back/manifest.json").exists());

    let (host, served) = daemon(&home, answer, b"\r\n\r\n");
    home.run(&["copy", "-q", "--src-daemon-host", &host, "docker-daemon:busybox:1", "mine"]).quiet();
    served.join().unwrap();
    assert_eq!(
        home.run(&["run", "--rm", "--network", "none", "docker.io/library/busybox:1", "echo", "fine"]).quiet(),
        "fine"
    );

    let (host, served) = daemon(&home, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), b"\r\n0\r\n\r\n");
    home.run(&["copy", "-q", "--dest-daemon-host", &host, "mine", "docker-daemon:other:2"]).quiet();
    let sent = served.join().unwrap();
    let told = String::from_utf8_lossy(&sent);
    assert!(told.starts_with("POST /images/load"), "{}", &told[..100]);
    assert!(told.contains(r#""RepoTags":["docker.io/library/other:2"]"#));

    home.run(&["pull", "docker-daemon:busybox:1"]).code(125);
}
