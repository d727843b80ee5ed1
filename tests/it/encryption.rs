//! Encrypted layers: made here and read by Debian's skopeo, made by it and read here, and refused without the key.

use crate::home::Home;
use crate::image::{self, Image};
use crate::peer::{self, installed, text};
use std::process::Command;

/// A pair of keys in PEM, `NAME.key` and `NAME.pub`; false, said loudly, without openssl.
fn keys(home: &Home, names: &[&str]) -> bool {
    if !installed("openssl") {
        return false;
    }
    for name in names {
        let script = "case $1 in \
            */P-*) openssl ecparam -name $(case $1 in */P-256) echo prime256v1;; */P-384) echo secp384r1;; *) echo secp521r1;; esac) \
                -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out $1.key 2>&1;; \
            *) openssl genrsa -out $1.key 2048 2>&1;; esac; openssl pkey -in $1.key -pubout -out $1.pub 2>&1";
        let output = Command::new("sh").args(["-ec", script, "sh", text(&home.path(name))]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    true
}

/// An image of two layers in an archive; gives the source.
fn archive(home: &Home) -> String {
    let layer = |name: &str| image::Layer::new().file(name, name.as_bytes(), 0o644).done();
    let mut image = Image::busybox("localhost/app:1");
    image.layers.extend([layer("one"), layer("two")]);
    let file = home.write("in.tar", &image::archive(&image::oci(&[image])));
    format!("oci-archive:{}", text(&file))
}

#[test]
fn layers_are_encrypted_for_some_and_opened_by_them() {
    let home = Home::new();
    if !keys(&home, &["a", "b", "stranger"]) {
        return;
    }
    let source = archive(&home);
    let path = |name: &str| home.path(name).display().to_string();
    let sealed = format!("oci:{}:app", path("sealed"));
    let key = |name: &str| format!("jwe:{}", path(&format!("{name}.pub")));
    let own = |name: &str| path(&format!("{name}.key"));
    home.run(&["copy", "-q", "--encryption-key", "pgp:me", &source, &sealed]).fails(125, &["pgp", "jwe:"]);
    home.run(&["copy", "-q", "--encrypt-layer", "0", &source, &sealed]).fails(125, &["--encryption-key"]);
    home.run(&[
        "copy",
        "-q",
        "--encryption-key",
        &key("a"),
        "--format",
        "v2s2",
        &source,
        &format!("dir:{}", path("d")),
    ])
    .fails(125, &["OCI format"]);
    home.run(&["copy", "-q", "--encryption-key", &key("a"), "--encryption-key", &key("b"), &source, &sealed]).quiet();
    let raw = home.run(&["inspect", "--raw", &sealed]).ok();
    assert_eq!(raw.matches("+encrypted").count(), 3, "{raw}");
    assert!(raw.contains("org.opencontainers.image.enc.keys.jwe"), "{raw}");

    home.run(&["pull", "-q", &sealed]).fails(125, &["encrypted", "--decryption-key"]);
    home.run(&["pull", "-q", "--decryption-key", &own("stranger"), &sealed]).fails(125, &["none of the keys"]);
    let plain = home.run(&["pull", "-q", &source]).ok();
    home.run(&["rmi", "-f", &plain]).ok();
    for reader in ["a", "b"] {
        let id = home.run(&["pull", "-q", "--decryption-key", &own(reader), &sealed]).ok();
        assert_eq!(id, plain);
        assert_eq!(home.run(&["run", "--rm", &id, "cat", "/one", "/two"]).ok(), "onetwo");
        assert_eq!(std::fs::read_dir(home.path("root/decrypted")).unwrap().count(), 0);
        home.run(&["rmi", "-f", &id]).ok();
    }
    let said = home.run(&["run", "--rm", "--decryption-key", &own("a"), &sealed, "cat", "/two"]).ok();
    assert_eq!(said, "two");

    // Only the topmost layer, from the store.
    let some = format!("oci:{}:app", path("some"));
    home.run(&["push", "-q", "--encryption-key", &key("a"), "--encrypt-layer", "-1", &plain, &some]).quiet();
    assert_eq!(home.run(&["inspect", "--raw", &some]).ok().matches("+encrypted").count(), 1);

    // What was changed on its way is not taken.
    let blobs = home.path("sealed/blobs/sha256");
    let largest = std::fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    home.run(&["rmi", "-f", "-a"]).code(0);
    home.run(&["pull", "-q", "--decryption-key", &own("a"), &sealed]).code(125);
    assert_eq!(home.run(&["images", "-q"]).ok(), "");
}

#[test]
fn encrypted_both_ways_with_debians_skopeo() {
    let home = Home::new();
    if !installed("skopeo") || !keys(&home, &["a", "b"]) {
        return;
    }
    let source = archive(&home);
    let path = |name: &str| home.path(name).display().to_string();
    let (a, b) = (format!("jwe:{}", path("a.pub")), format!("jwe:{}", path("b.pub")));
    let plain = home.run(&["pull", "-q", &source]).ok();
    home.run(&["rmi", "-f", &plain]).ok();
    for (name, recipients) in
        [("one", &["--encryption-key", &a][..]), ("two", &["--encryption-key", &b, "--encryption-key", &a])]
    {
        let ours = format!("oci:{}:app", path(&format!("ours-{name}")));
        let theirs = format!("oci:{}:app", path(&format!("theirs-{name}")));
        let opened = format!("oci:{}:app", path(&format!("opened-{name}")));
        home.run(&[&["copy", "-q"], recipients, &[&source, &ours]].concat()).quiet();
        peer::skopeo(&home, &["copy", "--decryption-key", &path("a.key"), &ours, &opened]);
        let id = home.run(&["pull", "-q", &opened]).ok();
        assert_eq!(id, plain);
        home.run(&["rmi", "-f", &id]).ok();

        peer::skopeo(&home, &[&["copy"], recipients, &[&source, &theirs]].concat());
        home.run(&["pull", "-q", &theirs]).fails(125, &["encrypted"]);
        let id = home.run(&["pull", "-q", "--decryption-key", &path("a.key"), &theirs]).ok();
        assert_eq!(id, plain);
        home.run(&["rmi", "-f", &id]).ok();
    }
}

#[test]
fn keys_of_elliptic_curves_open_both_ways_with_debians_skopeo() {
    let home = Home::new();
    let curves = ["P-256", "P-384", "P-521"];
    if !installed("skopeo") || !keys(&home, &["a", "stranger", curves[0], curves[1], curves[2]]) {
        return;
    }
    let source = archive(&home);
    let path = |name: &str| home.path(name).display().to_string();
    let plain = home.run(&["pull", "-q", &source]).ok();
    home.run(&["rmi", "-f", &plain]).ok();
    // As openssl wrote it before PKCS #8, too, which skopeo does not read.
    let script = "openssl ec -in $1 -out $2 && grep -q 'BEGIN EC PRIVATE KEY' $2";
    let (new, old) = (path("P-384.key"), path("old.key"));
    assert!(Command::new("sh").args(["-ec", script, "sh", &new, &old]).output().unwrap().status.success());
    let jwe = |name: &str| format!("jwe:{}", path(&format!("{name}.pub")));
    for (recipients, their_key, own) in [
        (&["P-256"][..], "P-256.key", "P-256.key"),
        (&["P-384"], "P-384.key", "old.key"),
        (&["P-521"], "P-521.key", "P-521.key"),
        (&["a", "P-256"], "P-256.key", "P-256.key"),
        (&["P-521", "a"], "a.key", "a.key"),
    ] {
        let flags: Vec<String> = recipients.iter().flat_map(|name| ["--encryption-key".into(), jwe(name)]).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let ours = format!("oci:{}:app", path("ours"));
        let theirs = format!("oci:{}:app", path("theirs"));
        let opened = format!("oci:{}:app", path("opened"));
        home.run(&[&["copy", "-q"][..], &flags, &[&source, &ours]].concat()).quiet();
        peer::skopeo(&home, &["copy", "--decryption-key", &path(their_key), &ours, &opened]);
        peer::skopeo(&home, &[&["copy"][..], &flags, &[&source, &theirs]].concat());
        for (from, key) in [(&ours, Some(own)), (&theirs, Some(own)), (&opened, None)] {
            let key = key.map(|own| ["--decryption-key".to_owned(), path(own)]);
            let key: Vec<&str> = key.iter().flatten().map(String::as_str).collect();
            let id = home.run(&[&["pull", "-q"][..], &key, &[from]].concat()).ok();
            assert_eq!(id, plain, "{recipients:?} {from}");
            home.run(&["rmi", "-f", &id]).ok();
        }
        home.run(&["pull", "-q", "--decryption-key", &path("stranger.key"), &ours]).fails(125, &["none of the keys"]);
        for directory in ["ours", "theirs", "opened"] {
            std::fs::remove_dir_all(home.path(directory)).unwrap();
        }
    }
}
