//! Policies: images are refused and accepted by where they come from and by who signed them. The signatures are made by
//! openssl.

use crate::home::Home;
use crate::image::{self, Files, Image};
use crate::peer::{installed, text};
use serde_json::{Value, json};
use std::process::Command;

fn policy(home: &Home, rules: Value) -> String {
    let path = home.write("policy.json", rules.to_string().as_bytes());
    text(&path).to_owned()
}

#[test]
fn a_policy_refuses_before_anything_is_kept() {
    let home = Home::new();
    let file = home.write("busybox.tar", &image::archive(&image::oci(&[Image::busybox("localhost/busybox:latest")])));
    let source = format!("oci-archive:{}", text(&file));
    let reject = policy(&home, json!({"default": [{"type": "reject"}]}));
    home.run(&["pull", "-q", "--signature-policy", &reject, &source]).fails(125, &["rejected", "policy.json"]);
    home.run(&["load", "-q", "--signature-policy", &reject, "-i", text(&file)]).fails(125, &["rejected"]);
    let bytes = std::fs::read(&file).unwrap();
    home.feed(&["load", "-q", "--signature-policy", &reject], &bytes).fails(125, &["rejected"]);
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    assert_eq!(std::fs::read_dir(home.path("root/layers")).unwrap().count(), 0);
    let scope = text(&home.path("")).trim_end_matches('/').to_owned();
    let rules = json!({"default": [{"type": "reject"}],
        "transports": {"oci-archive": {scope: [{"type": "insecureAcceptAnything"}]}}});
    let accept = policy(&home, rules);
    home.run(&["pull", "-q", "--signature-policy", &accept, &source]).ok();
    assert_eq!(home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet(), "fine");
    home.write("policy.json", b"{\"default\": [{\"type\": \"reject\"}], \"x\": 1}");
    home.run(&["pull", "-q", "--signature-policy", &accept, &source]).fails(125, &["policy.json", "unknown field"]);
    home.run(&["pull", "-q", "--signature-policy", "/nowhere.json", &source]).fails(125, &["/nowhere.json"]);
}

#[test]
fn the_users_own_policy_counts_for_run_pull_and_copy() {
    let home = Home::new();
    let user = home.path("home");
    std::fs::create_dir_all(user.join(".config/containers")).unwrap();
    std::fs::write(user.join(".config/containers/policy.json"), br#"{"default": [{"type": "reject"}]}"#).unwrap();
    let source = home.busybox();
    let home = home.variable("HOME", text(&user));
    home.run(&["run", "--rm", &source, "true"]).fails(125, &["rejected"]);
    home.run(&["pull", "-q", &source]).fails(125, &["rejected"]);
    let target = home.path("copy");
    home.run(&["copy", "-q", &source, &format!("oci:{}", text(&target))]).fails(125, &["rejected"]);
    assert!(!target.exists(), "nothing is written of what is refused");
    std::fs::write(
        user.join(".config/containers/policy.json"),
        br#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    assert_eq!(home.run(&["run", "--rm", &source, "echo", "fine"]).quiet(), "fine");
}

/// Signs `payload` with a new key in `home`; gives the signature in base64.
fn sign(home: &Home, payload: &[u8]) -> String {
    home.write("payload", payload);
    let script = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out key.pub && \
        openssl dgst -sha256 -sign key.pem -out signature payload && base64 -w0 signature";
    let output = Command::new("sh").args(["-c", script]).current_dir(home.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_signature_travels_in_an_archive_and_in_a_directory() {
    if !installed("openssl") {
        return;
    }
    let home = Home::new();
    let mut files = Files::new();
    let mut entry = image::oci_manifest(&mut files, &Image::busybox(""));
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "quay.io/x/busybox:1"});
    let digest = entry["digest"].as_str().unwrap().to_owned();
    let payload = json!({"critical": {"type": "cosign container image signature",
        "identity": {"docker-reference": "quay.io/x/busybox:1"}, "image": {"docker-manifest-digest": digest}}});
    let payload = payload.to_string().into_bytes();
    let signature = sign(&home, &payload);
    let mut layer = image::blob(&mut files, "application/vnd.dev.cosign.simplesigning.v1+json", payload);
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let config = image::blob(&mut files, "application/vnd.oci.image.config.v1+json", b"{\"rootfs\":{}}".to_vec());
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let mut signatures = image::blob(&mut files, kind, manifest.to_string().into_bytes());
    let tag = digest.replace(':', "-") + ".sig";
    signatures["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let write = |name: &str, manifests: Value| {
        let mut files = files.clone();
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        files.push(("index.json".into(), index.to_string().into_bytes()));
        image::directory(&files, &home.path(&format!("{name}.d")));
        home.write(name, &image::archive(&files))
    };
    let signed = write("signed.tar", json!([entry, signatures]));
    let unsigned = write("unsigned.tar", json!([entry]));
    let rule = |name: &str| {
        policy(
            &home,
            json!({"default": [{"type": "sigstoreSigned", "keyPath": home.path("key.pub"),
            "signedIdentity": {"type": "exactReference", "dockerReference": name}}]}),
        )
    };
    let rules = rule("quay.io/x/busybox:1");
    let oci = |path: &std::path::Path| format!("oci:{}.d", path.display());
    for wrong in [format!("oci-archive:{}", text(&unsigned)), oci(&unsigned)] {
        home.run(&["pull", "-q", "--signature-policy", &rules, &wrong]).fails(125, &["no signature exists"]);
    }
    home.run(&["load", "-q", "--signature-policy", &rules, "-i", text(&unsigned)]).fails(125, &["no signature"]);
    home.run(&["load", "-q", "--signature-policy", &rules, "-i", text(&signed)]).ok();
    // What signs is no image, and stands in nobody's way.
    let names = || home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).quiet();
    assert_eq!(names(), "quay.io/x/busybox:1");
    home.run(&["rmi", "busybox:1"]).ok();
    let piped = std::fs::read(&signed).unwrap();
    home.feed(&["load", "-q", "--signature-policy", &rules], &piped).ok();
    home.run(&["rmi", "busybox:1"]).ok();
    for right in [format!("oci-archive:{}", text(&signed)), oci(&signed)] {
        home.run(&["pull", "-q", "--signature-policy", &rules, &right]).ok();
        assert_eq!(home.run(&["run", "--rm", "busybox:1", "echo", "fine"]).quiet(), "fine");
        home.run(&["rmi", "busybox:1"]).ok();
    }
    let rules = rule("quay.io/x/busybox:2");
    home.run(&["pull", "-q", "--signature-policy", &rules, &oci(&signed)]).fails(125, &["quay.io/x/busybox:1"]);
    // Another key.
    sign(&home, b"something else");
    let rules = rule("quay.io/x/busybox:1");
    home.run(&["pull", "-q", "--signature-policy", &rules, &oci(&signed)]).fails(125, &["not made with the key"]);
    assert_eq!(names(), "");
}
