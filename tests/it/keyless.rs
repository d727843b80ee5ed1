//! Signatures without keys of one's own: certificates of minutes (Fulcio) with entries of a log (Rekor), and certificates of one's own
//! authorities. Authorities, certificates and the log are made by openssl; nobody is asked when they are verified.

use crate::home::Home;
use crate::image::{self, Files, Image};
use crate::peer::{installed, text};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::process::Command;

const NAME: &str = "quay.io/x/busybox:1";
/// In the ten minutes of the certificate: 2024-01-01 00:05.
const WITHIN: u64 = 1_704_067_500;
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Authorities `root` and `between`, a `leaf` of ten minutes in 2024 and a `lasting` one, `rekor` and `other`, as `NAME.key` and `NAME.crt`
/// or `NAME.pub`.
const AUTHORITIES: &str = r#"
cat > ca.cnf <<END
[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = optional
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
[between]
basicConstraints = critical,CA:true,pathlen:0
keyUsage = critical,keyCertSign
extendedKeyUsage = codeSigning
[leaf]
keyUsage = critical,digitalSignature
extendedKeyUsage = codeSigning
subjectAltName = critical,email:me@example.com,DNS:sign.example.com
1.3.6.1.4.1.57264.1.1 = DER:68:74:74:70:73:3a:2f:2f:6f:69:64:63:2e:78
1.3.6.1.4.1.57264.1.8 = ASN1:UTF8String:https://oidc.x
[server]
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = critical,email:me@example.com
1.3.6.1.4.1.57264.1.1 = DER:68:74:74:70:73:3a:2f:2f:6f:69:64:63:2e:78
END
: > index
for name in root between leaf lasting server rekor other stranger; do
    openssl ecparam -name prime256v1 -genkey -noout -out $name.key
    openssl pkey -in $name.key -pubout -out $name.pub
    openssl req -new -key $name.key -subj /CN=$name -out $name.csr
done
sign() {
    openssl ca -batch -notext -config ca.cnf -in $1.csr -out $1.crt -extensions $2 -startdate $3 -enddate $4 "$5" "$6" "$7" "$8"
}
sign root root 20230101000000Z 20990101000000Z -selfsign -keyfile root.key -verbose
sign stranger root 20230101000000Z 20990101000000Z -selfsign -keyfile stranger.key -verbose
sign between between 20230101000000Z 20990101000000Z -cert root.crt -keyfile root.key
sign leaf leaf 20240101000000Z 20240101001000Z -cert between.crt -keyfile between.key
sign lasting leaf 20240101000000Z 20990101000000Z -cert between.crt -keyfile between.key
sign server server 20240101000000Z 20240101001000Z -cert between.crt -keyfile between.key
"#;

fn shell(home: &Home, script: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new("sh").args(["-ec", script, "sh"]).args(args).current_dir(home.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The signature of `bytes` by a key, in base64.
fn sign(home: &Home, key: &str, bytes: &[u8]) -> String {
    home.write("signed", bytes);
    let made = shell(home, "openssl dgst -sha256 -sign $1.key signed | base64 -w0", &[key]);
    String::from_utf8(made).unwrap()
}

fn base64(home: &Home, bytes: &[u8]) -> String {
    home.write("encoded", bytes);
    String::from_utf8(shell(home, "base64 -w0 encoded", &[])).unwrap()
}

fn read(home: &Home, name: &str) -> String {
    std::fs::read_to_string(home.path(name)).unwrap()
}

/// An entry of the log `rekor` for a signature of `payload` with the certificate or key `pem`.
fn entry(home: &Home, rekor: &str, pem: &str, payload: &[u8], signature: &str, time: u64) -> String {
    let hash: String = Sha256::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hash}},
        "signature": {"content": signature, "publicKey": {"content": base64(home, pem.as_bytes())}}}});
    let body = base64(home, body.to_string().as_bytes());
    let canonical = format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"c0d2","logIndex":7}}"#);
    let promise = sign(home, rekor, canonical.as_bytes());
    // What is signed is the canonical form, not how it stands there.
    let payload = json!({"logIndex": 7, "body": body, "logID": "c0d2", "integratedTime": time});
    json!({"SignedEntryTimestamp": promise, "Payload": payload}).to_string()
}

/// The files of an image, the entry of its manifest and what is signed of it.
struct Signed {
    files: Files,
    entry: Value,
    payload: Vec<u8>,
}

impl Signed {
    fn new() -> Signed {
        let mut files = Files::new();
        let mut entry = image::oci_manifest(&mut files, &Image::busybox(""));
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": NAME});
        let payload = json!({"critical": {"type": "cosign container image signature",
            "identity": {"docker-reference": NAME}, "image": {"docker-manifest-digest": entry["digest"]}}});
        Signed { files, entry, payload: payload.to_string().into_bytes() }
    }

    /// An archive with one signature, which has these annotations.
    fn archive(&self, home: &Home, name: &str, annotations: Value) -> String {
        let mut files = self.files.clone();
        let mut layer = image::blob(&mut files, PAYLOAD, self.payload.clone());
        layer["annotations"] = annotations;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let config = image::blob(&mut files, "application/vnd.oci.image.config.v1+json", b"{\"rootfs\":{}}".to_vec());
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        let mut signatures = image::blob(&mut files, kind, manifest.to_string().into_bytes());
        let tag = self.entry["digest"].as_str().unwrap().replace(':', "-") + ".sig";
        signatures["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        let index = json!({"schemaVersion": 2, "manifests": [self.entry, signatures]});
        files.push(("index.json".into(), index.to_string().into_bytes()));
        format!("oci-archive:{}", text(&home.write(name, &image::archive(&files))))
    }
}

/// Pulls under a policy that demands `rule` (and the name), and takes the image away again.
fn judged(home: &Home, mut rule: Value, source: &str) -> std::result::Result<(), String> {
    rule["type"] = json!("sigstoreSigned");
    rule["signedIdentity"] = json!({"type": "exactReference", "dockerReference": NAME});
    let policy = home.write("policy.json", json!({"default": [rule]}).to_string().as_bytes());
    let output = home.run(&["pull", "-q", "--signature-policy", text(&policy), source]);
    if output.code == 0 {
        home.run(&["rmi", "busybox:1"]).ok();
        return Ok(());
    }
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    Err(output.code(125).err)
}

#[test]
fn certificates_of_minutes_count_by_what_a_log_says_of_the_time() {
    let home = Home::new();
    if !installed("openssl") {
        return;
    }
    shell(&home, AUTHORITIES, &[]);
    let image = Signed::new();
    let path = |name: &str| home.path(name).display().to_string();
    let annotations = |who: &str, rekor: &str, time: u64| {
        let (signature, pem) = (sign(&home, who, &image.payload), read(&home, &format!("{who}.crt")));
        let entry = entry(&home, rekor, &pem, &image.payload, &signature, time);
        let chain = read(&home, "between.crt") + &read(&home, "root.crt");
        json!({"dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/bundle": entry,
            "dev.sigstore.cosign/certificate": pem, "dev.sigstore.cosign/chain": chain})
    };
    let rule = |ca: &str, issuer: &str, email: &str, rekor: &str| json!({"fulcio": {"caPath": path(ca), "oidcIssuer": issuer, "subjectEmail": email}, "rekorPublicKeyPath": path(rekor)});
    let right = || rule("root.crt", "https://oidc.x", "me@example.com", "rekor.pub");
    let good = annotations("leaf", "rekor", WITHIN);
    let source = image.archive(&home, "good.tar", good.clone());
    judged(&home, right(), &source).unwrap();
    let in_policy = json!({
        "fulcio": {"caData": base64(&home, read(&home, "root.crt").as_bytes()), "oidcIssuer": "https://oidc.x", "subjectEmail": "me@example.com"},
        "rekorPublicKeyDatas": [base64(&home, read(&home, "other.pub").as_bytes()), base64(&home, read(&home, "rekor.pub").as_bytes())],
    });
    judged(&home, in_policy, &source).unwrap();
    // Somebody else than the policy says.
    for (rule, why) in [
        (rule("stranger.crt", "https://oidc.x", "me@example.com", "rekor.pub"), "not accepted"),
        (rule("root.crt", "https://oidc.y", "me@example.com", "rekor.pub"), "https://oidc.x"),
        (rule("root.crt", "https://oidc.x", "you@example.com", "rekor.pub"), "me@example.com"),
        (rule("root.crt", "https://oidc.x", "me@example.com", "other.pub"), "log that is demanded"),
        (rule("key.none", "https://oidc.x", "me@example.com", "rekor.pub"), "key.none"),
    ] {
        let told = judged(&home, rule.clone(), &source).unwrap_err();
        assert!(told.contains(why), "{rule}: {told}");
    }
    // What does not belong together.
    let without = |name: &str| {
        let mut less = good.clone();
        less.as_object_mut().unwrap().remove(name);
        less
    };
    let mut other_payload = good.clone();
    other_payload["dev.sigstore.cosign/bundle"] =
        entry_of_other_payload(&home, good["dev.cosignproject.cosign/signature"].as_str().unwrap()).into();
    let mut other_signature = good.clone();
    other_signature["dev.cosignproject.cosign/signature"] = sign(&home, "leaf", &image.payload).into();
    for (bent, why) in [
        (annotations("leaf", "rekor", WITHIN + 3600), "not accepted"),
        (annotations("leaf", "rekor", WITHIN - 3600), "not accepted"),
        (annotations("leaf", "rekor", WITHIN - 10 * 365 * 86400), "none of the policy's certificates"),
        (annotations("leaf", "other", WITHIN), "log that is demanded"),
        (annotations("server", "rekor", WITHIN), "not accepted"),
        (without("dev.sigstore.cosign/bundle"), "in a log"),
        (without("dev.sigstore.cosign/certificate"), "no certificate"),
        (without("dev.sigstore.cosign/chain"), "not accepted"),
        (other_payload, "another payload"),
        (other_signature, "another signature"),
    ] {
        let source = image.archive(&home, "bent.tar", bent);
        let told = judged(&home, right(), &source).unwrap_err();
        assert!(told.contains(why), "{why}: {told}");
    }
    // A policy that makes no sense refuses everything.
    let mut rule = right();
    rule.as_object_mut().unwrap().remove("rekorPublicKeyPath");
    assert!(judged(&home, rule, &source).unwrap_err().contains("rekorPublicKeyPath"));
}

/// An entry for what is not the payload.
fn entry_of_other_payload(home: &Home, signature: &str) -> String {
    entry(home, "rekor", &read(home, "leaf.crt"), b"something else", signature, WITHIN)
}

#[test]
fn a_key_may_have_to_be_in_a_log_and_certificates_may_be_of_ones_own() {
    let home = Home::new();
    if !installed("openssl") {
        return;
    }
    shell(&home, AUTHORITIES, &[]);
    let image = Signed::new();
    let path = |name: &str| home.path(name).display().to_string();
    let signature = sign(&home, "other", &image.payload);
    let entry = entry(&home, "rekor", &read(&home, "other.pub"), &image.payload, &signature, WITHIN);
    let logged = json!({"dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/bundle": entry});
    let alone = json!({"dev.cosignproject.cosign/signature": signature});
    let (logged, alone) = (image.archive(&home, "logged.tar", logged), image.archive(&home, "alone.tar", alone));
    let rule = json!({"keyPaths": [path("leaf.pub"), path("other.pub")], "rekorPublicKeyPath": path("rekor.pub")});
    judged(&home, rule.clone(), &logged).unwrap();
    assert!(judged(&home, rule, &alone).unwrap_err().contains("in a log"));
    let rule = json!({"keyPath": path("leaf.pub"), "rekorPublicKeyPath": path("rekor.pub")});
    assert!(judged(&home, rule, &logged).unwrap_err().contains("another key"));

    let of = |who: &str| {
        json!({"dev.cosignproject.cosign/signature": sign(&home, who, &image.payload),
            "dev.sigstore.cosign/certificate": read(&home, &format!("{who}.crt"))})
    };
    let (lasting, past) = (image.archive(&home, "l.tar", of("lasting")), image.archive(&home, "p.tar", of("leaf")));
    let rule = |more: Value| {
        let mut pki = json!({"caRootsPath": path("root.crt"), "caIntermediatesPath": path("between.crt")});
        pki.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "pki": pki })
    };
    let mine = || rule(json!({"subjectEmail": "me@example.com", "subjectHostname": "sign.example.com"}));
    judged(&home, mine(), &lasting).unwrap();
    assert!(judged(&home, mine(), &past).unwrap_err().contains("not accepted"));
    for (rule, why) in [
        (rule(json!({"subjectEmail": "you@example.com"})), "me@example.com"),
        (rule(json!({"subjectHostname": "other.example.com"})), "other.example.com"),
        (rule(json!({"caRootsPath": path("stranger.crt"), "subjectEmail": "me@example.com"})), "not accepted"),
        (rule(json!({})), "subjectHostname"),
    ] {
        let told = judged(&home, rule.clone(), &lasting).unwrap_err();
        assert!(told.contains(why), "{rule}: {told}");
    }
}
