//! Signatures: made here and verified by others, made by others and verified here, and carried along.

use crate::home::Home;
use crate::image::{self, Image};
use crate::peer::{self, Registry, installed, text};
use serde_json::json;
use std::process::Command;

/// Keys of GnuPG's in `home`: `gpg/`, and exported `secret.asc` and `public.asc`. `None`, said loudly, without GnuPG.
fn keys(home: &Home) -> Option<String> {
    if !installed("gpg") {
        return None;
    }
    let script = "set -e; cd $1; mkdir -m 700 gpg; export GNUPGHOME=$PWD/gpg
        do_gpg() { gpg --batch --quiet --pinentry-mode loopback --passphrase '' \"$@\"; }
        do_gpg --quick-generate-key tests@example.org ed25519 sign never 2>err
        do_gpg --armor --export-secret-keys >secret.asc; do_gpg --armor --export >public.asc
        gpg --batch --with-colons --list-keys | sed -n 's/^fpr:*\\([0-9A-F]*\\):/\\1/p'
        gpgconf --kill all";
    let output = Command::new("sh").args(["-c", script, "sh", text(&home.path(""))]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn policy(home: &Home, name: &str, rule: serde_json::Value) -> String {
    text(&home.write(name, json!({"default": [rule]}).to_string().as_bytes())).to_owned()
}

fn archive(home: &Home) -> String {
    let layer = image::Layer::new().file("which", b"signed", 0o644).done();
    let file = home.write("in.tar", &image::archive(&image::oci(&[Image::of("localhost/app:1", vec![layer])])));
    format!("oci-archive:{}", text(&file))
}

#[test]
fn openpgp_both_ways_with_debians_tools() {
    let home = Home::new();
    let Some(fingerprint) = keys(&home) else { return };
    let source = archive(&home);
    let (secret, public) = (home.path("secret.asc"), home.path("public.asc"));
    let identity = json!({"type": "exactReference", "dockerReference": "example.org/app:1"});
    let rule = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": public, "signedIdentity": identity});
    let rules = policy(&home, "policy.json", rule);
    let dir = format!("dir:{}", text(&home.path("d")));
    home.run(&["copy", "-q", "--sign-by", text(&secret), &source, &dir]).fails(125, &["--sign-identity"]);
    home.run(&["copy", "-q", "--sign-by", text(&secret), "--sign-identity", "example.org/app:1", &source, &dir])
        .quiet();
    if installed("skopeo") {
        let gpg = home.path("gpg").display().to_string();
        let skopeo = |args: &[&str]| {
            let output = Command::new("skopeo").args(args).env("GNUPGHOME", &gpg).output().unwrap();
            assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let manifest = home.path("d/manifest.json");
        let (made, theirs) = (home.path("d/signature-1"), home.path("theirs"));
        let said = skopeo(&["standalone-verify", text(&manifest), "example.org/app:1", &fingerprint, text(&made)]);
        assert!(said.contains("Signature verified"), "{said}");
        // Debian's tools accept the whole of it by the same policy, and we theirs.
        skopeo(&["--policy", &rules, "copy", &dir, &format!("dir:{}", text(&home.path("by-skopeo")))]);
        assert_eq!(std::fs::read(home.path("by-skopeo/signature-1")).unwrap(), std::fs::read(&made).unwrap());
        skopeo(&["standalone-sign", "--output", text(&theirs), text(&manifest), "example.org/app:1", &fingerprint]);
        std::fs::rename(&theirs, &made).unwrap();
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &gpg).status();
    }
    home.run(&["pull", "-q", "--signature-policy", &rules, &dir]).ok();
    // From the store on, through a pipe and an archive, it is still signed; and nothing else is accepted.
    let saved = home.path("saved.tar");
    let id = home.run(&["images", "-q"]).ok();
    home.run(&["save", "-q", "--format", "oci-archive", "-o", text(&saved), &id]).quiet();
    home.run(&["rmi", &id]).ok();
    home.run(&["load", "-q", "--signature-policy", &rules, "-i", text(&saved)]).ok();
    home.run(&["rmi", &id]).ok();
    home.feed(&["load", "-q", "--signature-policy", &rules], &std::fs::read(&saved).unwrap()).ok();
    home.run(&["rmi", &id]).ok();
    home.run(&["pull", "-q", "--signature-policy", &rules, &source]).fails(125, &["no signature exists"]);
    std::fs::write(home.path("d/manifest.json"), std::fs::read_to_string(home.path("d/manifest.json")).unwrap() + " ")
        .unwrap();
    home.run(&["pull", "-q", "--signature-policy", &rules, &dir]).fails(125, &["of manifest sha256:"]);
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
}

/// A key of cosign's without a passphrase, made by openssl.
fn sigstore_key(home: &Home) -> bool {
    let script = "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key.pem && openssl ec -in key.pem -pubout -out key.pub";
    installed("openssl")
        && Command::new("sh").args(["-c", script]).current_dir(home.path("")).output().unwrap().status.success()
}

#[test]
fn sigstore_is_attached_in_registries_and_carried_on() {
    let home = Home::new();
    if !sigstore_key(&home) {
        return;
    }
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let source = archive(&home);
    let rule = json!({"type": "sigstoreSigned", "keyPath": home.path("key.pub"), "signedIdentity": {"type": "matchRepository"}});
    let rules = policy(&home, "policy.json", rule);
    let to = format!("{}/app:1", registry.address);
    home.run(&["pull", "-q", &source]).ok();
    home.run(&["push", "-q", "app:1", &to]).quiet();
    home.run(&["pull", "-q", "--signature-policy", &rules, &to]).fails(125, &["no signature exists"]);
    let key = home.path("key.pem");
    home.run(&["push", "-q", "--sign-by-sigstore-private-key", text(&key), "app:1", &to]).quiet();
    home.run(&["rmi", "-f", "app:1"]).ok();
    home.run(&["pull", "-q", "--signature-policy", &rules, &to]).ok();
    // What was verified is carried on, here into an archive and to another place of the registry.
    let saved = format!("oci-archive:{}:x", text(&home.path("saved.tar")));
    home.run(&["push", "-q", &to, &saved]).quiet();
    let again = format!("docker://{}/app:2", registry.address);
    home.run(&["copy", "-q", "--dest-tls-verify=false", &saved, &again]).quiet();
    home.run(&["rmi", "-f", &to]).ok();
    home.run(&["pull", "-q", "--signature-policy", &rules, &again]).ok();
    let name = again.trim_start_matches("docker://").to_owned();
    // A manifest that is signed is not changed behind anybody's back.
    home.run(&["push", "-q", "--format", "v2s2", &name, &to]).fails(125, &["--remove-signatures"]);
    home.run(&["push", "-q", "--format", "v2s2", "--remove-signatures", &name, &to]).quiet();
    // The key by a file of parameters.
    let parameters = |more: &str| {
        let contents = format!("# a key of ours\nprivateKeyFile: \"{}\"\n{more}", text(&key));
        text(&home.write("parameters.yaml", contents.as_bytes())).to_owned()
    };
    let third = format!("{}/third:1", registry.address);
    let push = |file: &str| home.run(&["push", "-q", "--sign-by-sigstore", file, &name, &third]);
    push(&parameters("rekorURL: https://rekor.invalid\n")).fails(125, &["rekorURL"]);
    push(&parameters("fulcio:\n  fulcioURL: x\n")).fails(125, &["fulcio"]);
    push(&parameters("other: x\n")).fails(125, &["other"]);
    push(&parameters("")).quiet();
    home.run(&["pull", "-q", "--signature-policy", &rules, &third]).ok();
    // Debian's skopeo has no sigstore in it: by cosign's specification, openssl verifies what lies in the registry.
    if installed("skopeo") {
        let digest = peer::digest(&home, &again).replace(':', "-");
        let signatures = format!("docker://{}/app:{digest}.sig", registry.address);
        peer::skopeo(
            &home,
            &["copy", "--src-tls-verify=false", &signatures, &format!("dir:{}", text(&home.path("sig")))],
        );
        let manifest = std::fs::read(home.path("sig/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
        let payload = home.path("sig").join(layer["digest"].as_str().unwrap().trim_start_matches("sha256:"));
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
        home.write("signature", signature.as_bytes());
        let script = "base64 -d signature >raw && openssl dgst -sha256 -verify key.pub -signature raw \"$1\"";
        let mut verify = Command::new("sh");
        verify.args(["-c", script, "sh", text(&payload)]).current_dir(home.path(""));
        let output = verify.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn images_are_signed_where_they_are_and_policies_are_set() {
    let home = Home::new();
    if keys(&home).is_none() {
        return;
    }
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let name = format!("{}/app:1", registry.address);
    let source = archive(&home);
    home.run(&["copy", "-q", &source, &format!("docker://{name}")]).quiet();
    // What the policy does not accept is not run, and what is signed beside the registry is.
    let rules = home.path("policy.json");
    let flags = ["--signature-policy", text(&rules)];
    let (secret, public) = (home.path("secret.asc"), home.path("public.asc"));
    let set = |args: &[&str]| home.run(&[&["image", "trust", "set"], &flags[..], args].concat());
    set(&["--type", "reject", "default"]).quiet();
    set(&["default"]).fails(125, &["public key"]);
    set(&["--type", "perhaps", "default"]).fails(125, &["perhaps"]);
    set(&["-f", text(&public), &registry.address]).quiet();
    let shown = home.run(&[&["image", "trust", "show"], &flags[..]].concat()).ok();
    assert!(shown.contains("all") && shown.contains("reject") && shown.contains("signed"), "{shown}");
    assert!(shown.contains(&registry.address) && shown.contains(text(&public)), "{shown}");
    let raw = home.run(&[&["image", "trust", "show", "--raw"], &flags[..]].concat()).ok();
    assert_eq!(raw.trim(), std::fs::read_to_string(&rules).unwrap().trim());
    let signatures = home.path("signatures");
    std::fs::create_dir(&signatures).unwrap();
    let user = home.path("home");
    std::fs::create_dir_all(user.join(".config/containers/registries.d")).unwrap();
    let place = format!("docker:\n  {}:\n    lookaside: file://{}\n", registry.address, signatures.display());
    std::fs::write(user.join(".config/containers/registries.d/x.yaml"), place).unwrap();
    let home = home.variable("HOME", text(&user));
    home.run(&[&["pull", "-q"], &flags[..], &[&name]].concat()).fails(125, &["no signature exists"]);
    home.run(&[&["run", "--rm"], &flags[..], &[&name, "true"]].concat()).fails(125, &["no signature exists"]);
    home.run(&["image", "sign", &name]).fails(125, &["--sign-by"]);
    home.run(&["image", "sign", "--sign-by", text(&public), "-d", text(&signatures), &name])
        .fails(125, &["no secret key"]);
    home.run(&["image", "sign", "--sign-by", text(&secret), "-d", text(&signatures), &name]).quiet();
    home.run(&[&["pull", "-q"], &flags[..], &[&name]].concat()).ok();
}

#[test]
fn manifests_in_files_are_signed_and_verified_as_skopeo_does() {
    let home = Home::new();
    let Some(fingerprint) = keys(&home) else { return };
    let (secret, public) = (home.path("secret.asc"), home.path("public.asc"));
    let manifest = home.write("manifest.json", b"{\"schemaVersion\": 2}");
    let other = home.write("other.json", b"{\"schemaVersion\": 3}");
    let made = home.path("made");
    let called = home.path("skopeo");
    std::os::unix::fs::symlink(crate::home::built(), &called).unwrap();
    let skopeo = |args: &[&str]| {
        let mut command = Command::new(&called);
        command.args(["--root", text(&home.path("root")), "--runroot", text(&home.path("run"))]).args(args);
        crate::home::Output::of(command)
    };
    let (name, file) = ("example.org/app:1", text(&manifest));
    skopeo(&["standalone-sign", file, name, text(&secret)]).fails(125, &["--output"]);
    skopeo(&["standalone-sign", file, name, text(&secret), "-o", text(&made)]).quiet();
    let verify = |manifest: &str, name: &str, keys: &str| {
        let public = ["--public-key-file", text(&public)];
        skopeo(&[&["standalone-verify", manifest, name, keys, text(&made)][..], &public].concat())
    };
    let said = verify(file, name, &fingerprint).ok();
    let digest = image::sha256(&std::fs::read(&manifest).unwrap());
    assert_eq!(said, format!("Signature verified using fingerprint {fingerprint}, digest sha256:{digest}"));
    verify(file, name, "any").ok();
    verify(file, "example.org/app:2", "any").fails(125, &["example.org/app:1"]);
    verify(file, name, &"0".repeat(40)).fails(125, &[&fingerprint]);
    verify(text(&other), name, "any").fails(125, &["error verifying signature"]);
    if installed("skopeo") {
        let output = Command::new("skopeo")
            .args(["standalone-verify", file, name, &fingerprint, text(&made)])
            .env("GNUPGHOME", home.path("gpg"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
