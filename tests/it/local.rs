//! What is done with images of the store: names, history, trees, imports, and the removal of those nobody uses.

use crate::home::Home;
use crate::image::{self, COMPRESSIONS, Files, Image};
use crate::peer::text;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

fn home_with(images: &[Image]) -> Home {
    let home = Home::new();
    let file = home.write("in.tar", &image::archive(&image::oci(images)));
    home.run(&["load", "-q", "-i", text(&file)]).ok();
    home
}

fn layer(name: &str) -> Vec<u8> {
    image::Layer::new().file(name, name.as_bytes(), 0o644).done()
}

fn names(home: &Home) -> Vec<String> {
    let list = home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).quiet();
    let mut names: Vec<String> = list.lines().map(String::from).collect();
    names.sort();
    names
}

#[test]
fn names_are_given_and_taken_away() {
    let home = home_with(&[Image::of("localhost/a:1", vec![layer("a")]), Image::of("localhost/b:1", vec![layer("b")])]);
    home.run(&["tag", "a:1", "a:2", "quay.io/x/a:v1"]).quiet();
    assert_eq!(names(&home), ["localhost/a:1", "localhost/a:2", "localhost/b:1", "quay.io/x/a:v1"]);
    // A name moves to the image that got it last.
    home.run(&["image", "tag", "b:1", "a:2"]).quiet();
    let id = |name: &str| home.run(&["image", "inspect", "--format", "{{.Id}}", name]).quiet();
    assert_eq!(id("a:2"), id("b:1"));
    // One bad name, and none is given.
    home.run(&["tag", "a:1", "good:1", "BAD"]).fails(125, &["BAD"]);
    home.run(&["tag", "a:1", &format!("c@sha256:{}", "0".repeat(64))]).fails(125, &["digest"]);
    assert!(!names(&home).contains(&"localhost/good:1".into()));
    home.run(&["tag", "nothing", "x"]).fails(125, &["nothing: image not known"]);
    home.run(&["tag", "a:1"]).fails(125, &["name"]);

    home.run(&["untag", "a:1", "a:1", "b:1"]).fails(125, &["localhost/b:1: tag not known"]);
    assert!(names(&home).contains(&"localhost/a:1".into()), "all or none");
    home.run(&["untag", "a:1", "a:v1"]).quiet();
    assert_eq!(names(&home), ["localhost/a:1", "localhost/a:2", "localhost/b:1"]);
    home.run(&["untag", "b:1"]).quiet();
    assert_eq!(names(&home), ["<none>:<none>", "localhost/a:1"]);
    home.run(&["untag", "nothing"]).fails(125, &["image not known"]);
    let listed = home.run(&["images", "--history", "--digests"]).quiet();
    assert!(listed.lines().next().unwrap().ends_with("HISTORY") && listed.contains("localhost/a:1"), "{listed}");
}

#[test]
fn history_and_tree_tell_what_an_image_is_made_of() {
    let home = Home::new();
    let one = home.write("one.tar", &layer("one"));
    let said = home.run(&["import", "-m", "the first", text(&one), "base"]).ok();
    let id = said.trim().strip_prefix("sha256:").expect("an id").to_owned();
    home.run(&["tag", "base", "other:name"]).quiet();
    home.run(&["create", "--name", "ctr", "base", "/one"]).ok();
    home.run(&["commit", "-q", "-m", "the second", "-c", "LABEL a=b", "ctr", "child"]).ok();
    let rows = home.run(&["history", "--format", "{{.ID}}|{{.Comment}}|{{.Size}}|{{.Tags}}", "child"]).quiet();
    let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((rows[0][1], rows[1][1]), ("the second", "the first"));
    assert_eq!(rows[1][..], [&id[..12], "the first", "3 B", "[localhost/base:latest localhost/other:name]"]);
    assert_eq!(home.run(&["history", "-q", "--no-trunc", "base"]).quiet(), id);
    let table = home.run(&["history", "base"]).quiet();
    assert!(table.starts_with("ID            CREATED") && table.contains("ADD file:"), "{table}");
    let list: serde_json::Value =
        serde_json::from_str(&home.run(&["image", "history", "--format", "json", "child"]).ok()).unwrap();
    assert_eq!((&list[1]["comment"], &list[1]["size"]), (&"the first".into(), &3.into()));

    let tree = home.run(&["image", "tree", "child"]).quiet();
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines[1], "Tags:     [localhost/child:latest]");
    assert_eq!(lines[3], "Image Layers");
    assert!(lines[4].starts_with("├── ID: ") && lines[4].ends_with("[localhost/base:latest localhost/other:name]"));
    assert!(lines[5].starts_with("└── ID: ") && lines[5].ends_with("Top Layer of: [localhost/child:latest]"));
    let tree = home.run(&["image", "tree", "--whatrequires", "base"]).quiet();
    assert_eq!(tree.lines().count(), 5, "{tree}");
    assert!(tree.lines().last().unwrap().ends_with("[localhost/child:latest]"), "{tree}");
    assert_eq!(home.run(&["image", "diff", "child"]).quiet(), home.run(&["diff", "child"]).quiet());
    home.run(&["image", "diff", "ctr"]).fails(125, &["ctr: image not known"]);
    home.run(&["history", "nothing"]).fails(125, &["image not known"]);
}

#[test]
fn archives_of_files_become_images() {
    let tar = image::busybox_layer();
    for compression in COMPRESSIONS {
        let home = Home::new();
        let bytes = image::compress(&tar, compression);
        let file = home.write("root.tar", &bytes);
        let flags =
            ["-c", "CMD [\"echo\",\"fine\"]", "-c", "ENV A=b", "--arch", "s390x", "--variant", "v9", "--os", "linux"];
        let said = home.run(&[&["import"][..], &flags, &[text(&file), "imported:1"]].concat()).ok();
        let about = "{{.Id}} {{.Architecture}} {{.RepoTags}} {{.Config.Env}} {{(index .History 0).Comment}}";
        let about = home.run(&["image", "inspect", "--format", about, "imported:1"]).quiet();
        let id = said.trim().strip_prefix("sha256:").unwrap();
        let comment = format!("Imported from {}", text(&file));
        assert_eq!(about, format!("{id} s390x [localhost/imported:1] [A=b] {comment}"), "{compression:?}");
        // The same from a pipe, without a name, for this machine; what came is kept as it came.
        let piped = home.feed(&["import", "-c", "CMD echo $A fine", "-c", "ENV A=so", "-"], &bytes).ok();
        assert_eq!(home.run(&["run", "--rm", piped.trim()]).quiet(), "so fine");
        let blob = home.path("root/blobs/sha256").join(image::sha256(&bytes));
        assert!(std::fs::read(blob).unwrap() == bytes, "{compression:?}");
    }
    let home = Home::new();
    for (bytes, word) in [(&b""[..], "empty"), (b"no tar archive at all", "entry")] {
        home.feed(&["import", "-", "x"], bytes).fails(125, &[word]);
    }
    home.run(&["import", "/nowhere.tar"]).fails(125, &["/nowhere.tar"]);
    home.run(&["import", "-c", "RUN true", "-"]).fails(125, &["RUN true"]);
    home.run(&["import"]).fails(125, &["tarball"]);
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    assert_eq!(std::fs::read_dir(home.path("root/work")).unwrap().count(), 0, "nothing is left of what failed");
}

/// Serves `pages` (path, status line and headers, body) over HTTP; gives the address.
fn serve(pages: Vec<(&'static str, String, Vec<u8>)>) -> String {
    crate::home::own_network();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (head, body) = match pages.iter().find(|(known, ..)| *known == path) {
                Some((_, head, body)) => (head.as_str(), body.as_slice()),
                None => ("404 Not Found\r\nContent-Length: 0", &b""[..]),
            };
            let _ =
                write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").and_then(|()| stream.write_all(body));
        }
    });
    address
}

#[test]
fn an_archive_comes_from_the_web() {
    let tar = image::busybox_layer();
    let whole = format!("200 OK\r\nContent-Length: {}", tar.len());
    let cut = tar[..tar.len() / 2].to_vec();
    let address = serve(vec![
        ("/root.tar", whole.clone(), tar),
        ("/moved", "302 Found\r\nLocation: /root.tar\r\nContent-Length: 0".into(), Vec::new()),
        ("/file", "302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0".into(), Vec::new()),
        ("/round", "302 Found\r\nLocation: /round\r\nContent-Length: 0".into(), Vec::new()),
        ("/cut", whole, cut),
    ]);
    let home = Home::new();
    for page in ["root.tar", "moved"] {
        home.run(&["import", &format!("http://{address}/{page}"), page]).ok();
        assert_eq!(home.run(&["run", "--rm", page, "echo", "fine"]).quiet(), "fine");
        home.run(&["rmi", "-f", "--no-prune", page]).ok();
    }
    for (page, word) in [("nothing", "404"), ("file", "/file"), ("round", "redirects"), ("cut", "disconnected")] {
        home.run(&["import", &format!("http://{address}/{page}"), "x"]).fails(125, &[word]);
    }
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    // Images, too.
    let archive = image::archive(&image::oci(&[Image::busybox("localhost/app:1")]));
    let whole = format!("200 OK\r\nContent-Length: {}", archive.len());
    let cut = archive[..archive.len() / 2].to_vec();
    let address = serve(vec![("/image.tar", whole.clone(), archive), ("/cut", whole, cut)]);
    home.run(&["load", "-q", "-i", &format!("http://{address}/cut")]).fails(125, &["/cut"]);
    home.run(&["load", "-q", "-i", &format!("http://{address}/nothing")]).fails(125, &["404"]);
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    home.run(&["load", "-q", "-i", &format!("http://{address}/image.tar")]).ok();
    assert_eq!(home.run(&["run", "--rm", "app:1", "echo", "fine"]).quiet(), "fine");
}

#[test]
fn prune_takes_what_nobody_uses() {
    let mut labelled = Image::of("localhost/labelled:1", vec![layer("l")]);
    labelled.config["Labels"] = serde_json::json!({"keep": "yes"});
    let home = home_with(&[
        Image::busybox("localhost/used:1"),
        Image::of("localhost/named:1", vec![layer("n")]),
        Image::of("localhost/bare:1", vec![layer("b")]),
        labelled,
    ]);
    home.run(&["create", "--name", "c", "used:1"]).ok();
    home.run(&["tag", "named:1", "named:2"]).quiet();
    home.run(&["untag", "bare:1"]).quiet();
    // Nobody answers the question: nothing goes.
    home.run(&["image", "prune"]).code(0);
    assert_eq!(names(&home).len(), 5);
    let bare = home.run(&["images", "-q", "--no-trunc", "--filter", "dangling=true"]).quiet();
    assert_eq!(home.feed(&["image", "prune"], b"y\n").ok().trim(), bare.strip_prefix("sha256:").unwrap());
    assert_eq!(home.run(&["image", "prune", "-a", "-f", "--filter", "until=2001-01-01"]).quiet(), "");
    home.run(&["image", "prune", "-a", "-f", "--filter", "label!=keep"]).ok();
    assert_eq!(names(&home), ["localhost/labelled:1", "localhost/used:1"]);
    home.run(&["image", "prune", "-a", "-f", "--external", "--build-cache"]).ok();
    assert_eq!(names(&home), ["localhost/used:1"]);
    home.run(&["rm", "c"]).ok();
    home.run(&["image", "prune", "--all", "--force"]).ok();
    assert_eq!(std::fs::read_dir(home.path("root/layers")).unwrap().count(), 0);
    home.run(&["image", "prune", "-f", "--filter", "colour=red"]).fails(125, &["colour"]);
}

#[test]
fn no_container_is_made_of_an_image_that_goes() {
    let home = Home::new();
    let archive: Files = image::oci(&[Image::busybox("localhost/busybox:latest")]);
    let file = home.write("busybox.tar", &image::archive(&archive));
    for _ in 0..8 {
        home.run(&["load", "-q", "-i", text(&file)]).ok();
        let removal = home.start(&["rmi", "busybox"]);
        let creation = home.start(&["create", "--pull", "never", "busybox", "true"]);
        let (removed, created) = (removal.wait(), creation.wait());
        // One of them, and never both.
        assert!((removed.code == 0) != (created.code == 0), "{removed:?} {created:?}");
        if created.code == 0 {
            let id = created.ok();
            home.run(&["start", "-a", id.trim()]).code(0);
            home.run(&["rm", id.trim()]).ok();
        }
    }
}

#[test]
fn names_that_an_image_had_are_remembered() {
    let home = Home::new();
    home.load();
    home.run(&["tag", "busybox", "second:1"]).ok();
    home.run(&["tag", "busybox", "third:1"]).ok();
    let id = home.run(&["images", "-q", "--no-trunc", "busybox"]).quiet();
    home.run(&["untag", "busybox", "third:1"]).ok();
    home.run(&["rmi", "second:1"]).ok();
    let history = home.run(&["images", "--format", "{{.History}}"]).quiet();
    assert_eq!(history, "localhost/busybox:latest, localhost/third:1, localhost/second:1");
    assert_eq!(home.run(&["image", "inspect", "--format", "{{len .NamesHistory}}", &id]).quiet(), "3");
    assert!(home.run(&["images", "--history"]).quiet().contains("third:1"));
    // With the image they are forgotten.
    home.run(&["rmi", &id]).ok();
    home.load();
    assert_eq!(home.run(&["images", "--format", "{{.History}}"]).quiet(), "localhost/busybox:latest");
}
