//! Policies read, scopes found, signatures verified.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

fn policy(rules: Value) -> Policy {
    Policy::parse(Path::new("policy.json"), rules.to_string().as_bytes()).unwrap()
}

fn image(name: &str) -> Subject {
    Subject::registry(&name.parse().unwrap())
}

fn none(_: &Digest, _: Wanted) -> Result<Vec<Signature>> {
    Ok(Vec::new())
}

#[test]
fn the_most_specific_scope_decides() {
    let (yes, no) = (json!([{"type": "insecureAcceptAnything"}]), json!([{"type": "reject"}]));
    let policy = policy(json!({"default": no, "transports": {
        "docker": {"docker.io/library": yes, "docker.io/library/bad": no, "docker.io/library/bad:good": yes,
            "*.example.com": yes, "host:5000/a": yes},
        "oci": {"": yes, "/nowhere/secret": no},
    }}));
    for (subject, accepted) in [
        (image("busybox"), true),
        (image("busybox:1"), true),
        (image("bad"), false),
        (image("bad:good"), true),
        (image("docker.io/other/x"), false),
        (image("a.example.com/x"), true),
        (image("a.b.example.com/x/y:z"), true),
        (image("example.com/x"), false),
        (image("host:5000/a/b"), true),
        (image("host:5000/ab"), false),
        (Subject::of(&crate::source::parse("oci:/nowhere/a:b").unwrap()), true),
        (Subject::of(&crate::source::parse("oci:/nowhere/secret/a:b").unwrap()), false),
        (Subject::of(&crate::source::parse("dir:/nowhere").unwrap()), false),
        (Subject::of(&crate::source::parse("docker-archive:/nowhere").unwrap()), false),
    ] {
        assert_eq!(policy.check(&subject, None, &none).is_ok(), accepted, "{subject:?}");
    }
}

#[test]
fn a_scope_that_cannot_be_told_refuses() {
    let yes = json!([{"type": "insecureAcceptAnything"}]);
    let policy = policy(json!({"default": yes, "transports": {
        "docker-daemon": {"": yes, "docker.io/library/bad": [{"type": "reject"}]},
        "containers-storage": {"": yes},
    }}));
    let judged = |text: &str| policy.check(&Subject::of(&crate::source::parse(text).unwrap()), None, &none);
    let error = judged("docker-daemon:good:1").unwrap_err().to_string();
    assert!(error.contains("docker.io/library/bad"), "{error}");
    assert!(judged("containers-storage:good:1").is_ok() && judged("docker-archive:/nowhere").is_ok());
}

#[test]
fn what_is_not_understood_is_an_error() {
    let yes = r#"[{"type":"insecureAcceptAnything"}]"#;
    let bad = [
        "".to_owned(),
        "{}".into(),
        r#"{"default":[]}"#.into(),
        r#"{"default":[{"type":"other"}]}"#.into(),
        r#"{"default":[{"type":"reject","keyPath":"/x"}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned"}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned","keyData":"","keyPath":"/x"}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned","keyData":"","fulcio":{}}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned","keyPaths":[]}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned","keyPath":"/x","rekorPublicKeyPath":"/x","rekorPublicKeyData":""}]}"#
            .into(),
        r#"{"default":[{"type":"sigstoreSigned","pki":{"caRootsPath":"/x","subjectEmail":"m"},"rekorPublicKeyPath":"/x"}]}"#
            .into(),
        r#"{"default":[{"type":"sigstoreSigned","pki":{"caRootsPath":"/x"}}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned","pki":{"subjectEmail":"m"}}]}"#.into(),
        r#"{"default":[{"type":"sigstoreSigned","keyData":"","signedIdentity":{"type":"matchAll"}}]}"#.into(),
        format!(r#"{{"default":{yes},"more":1}}"#),
        format!(r#"{{"default":{yes},"transports":{{"docker":{{"a":{yes},"a":{yes}}}}}}}"#),
        format!(r#"{{"default":{yes},"transports":{{"docker":{{"a":[]}}}}}}"#),
    ];
    for text in bad {
        assert!(Policy::parse(Path::new("p"), text.as_bytes()).is_err(), "{text}");
    }
    for gpg in [
        r#"{"type":"signedBy","keyType":"GPGKeys"}"#,
        r#"{"type":"signedBy","keyPath":"/x"}"#,
        r#"{"type":"signedBy","keyType":"X509","keyPath":"/x"}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x","keyData":""}"#,
    ] {
        assert!(Policy::parse(Path::new("p"), format!(r#"{{"default":[{gpg}]}}"#).as_bytes()).is_err(), "{gpg}");
    }
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Signer {
        let random = ring::rand::SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Signer(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap())
    }

    /// As a policy has it.
    fn key(&self) -> String {
        let mut der = vec![0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8];
        der.extend([0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0]);
        der.extend(self.0.public_key().as_ref());
        STANDARD.encode(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)))
    }

    fn sign(&self, payload: &Value) -> Signature {
        let payload = payload.to_string().into_bytes();
        let signature = self.0.sign(&ring::rand::SystemRandom::new(), &payload).unwrap().as_ref().to_vec();
        // As it comes: a layer of a manifest.
        let digest = Digest::of(&payload);
        let manifest = json!({"config": {"digest": digest, "size": 1}, "layers": [
            {"mediaType": "text/plain", "digest": digest, "size": payload.len()},
            {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest, "size": payload.len(),
             "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(&signature)}}]});
        let read = of_manifest(manifest.to_string().as_bytes(), &|_, _| Ok(payload.clone())).unwrap();
        assert_eq!(read.len(), 1);
        assert!(of_manifest(manifest.to_string().as_bytes(), &|_, _| Ok(b"other".to_vec())).is_err());
        read[0].clone()
    }
}

fn payload_named(name: &str, digest: &Digest) -> Value {
    json!({"optional": null, "critical": {"type": "cosign container image signature",
        "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}}})
}

#[test]
fn signatures_are_of_the_key_the_manifest_and_the_name() {
    let (mine, other) = (Signer::new(), Signer::new());
    let digest = Digest::of(b"manifest");
    let judge = |identity: Value, subject: &str, signature: Signature| {
        let mut rule = json!({"type": "sigstoreSigned", "keyData": mine.key()});
        if !identity.is_null() {
            rule["signedIdentity"] = identity;
        }
        let subject = match subject.contains(':') && subject.starts_with("oci") {
            true => Subject::of(&crate::source::parse(subject).unwrap()),
            false => image(subject),
        };
        policy(json!({"default": [rule]})).check(&subject, Some(&digest), &|_, _| Ok(vec![signature.clone()])).is_ok()
    };
    let signed = |name: &str| mine.sign(&payload_named(name, &digest));
    let by_digest = format!("q.io/a/b@{digest}");
    let matches = |kind: &str| json!({"type": kind});
    let reference = json!({"type": "exactReference", "dockerReference": "q.io/a/b:1"});
    let repository = json!({"type": "exactRepository", "dockerRepository": "q.io/a/b"});
    let remap = json!({"type": "remapIdentity", "prefix": "mirror.io/m", "signedPrefix": "q.io"});
    for (identity, subject, name, accepted) in [
        (Value::Null, "q.io/a/b:1", "q.io/a/b:1", true),
        (Value::Null, "q.io/a/b:1", "q.io/a/b:2", false),
        (Value::Null, "q.io/a/b:1", "q.io/a/b", false),
        (Value::Null, &by_digest, "q.io/a/b:2", true),
        (Value::Null, &by_digest, "q.io/a/c:2", false),
        (matches("matchExact"), &by_digest, "q.io/a/b:2", false),
        (matches("matchExact"), "q.io/a/b:2", "q.io/a/b:2", true),
        (matches("matchRepository"), "q.io/a/b:2", "q.io/a/b", true),
        (matches("matchRepository"), "q.io/a/b:2", "q.io/a", false),
        (matches("matchRepository"), "oci:/nowhere", "q.io/a/b", false),
        (reference.clone(), "oci:/nowhere", "q.io/a/b:1", true),
        (reference, "oci:/nowhere", "q.io/a/b:2", false),
        (repository.clone(), "oci:/nowhere", "q.io/a/b:2", true),
        (repository, "oci:/nowhere", "not a name", false),
        (remap.clone(), "mirror.io/m/a/b:1", "q.io/a/b:1", true),
        (remap.clone(), "mirror.io/ma/b:1", "q.io/a/b:1", false),
        (remap, "q.io/a/b:1", "q.io/a/b:1", true),
    ] {
        assert_eq!(judge(identity.clone(), subject, signed(name)), accepted, "{identity} {subject} {name}");
    }
    let name = "q.io/a/b:1";
    assert!(!judge(Value::Null, name, other.sign(&payload_named(name, &digest))), "another key");
    assert!(!judge(Value::Null, name, mine.sign(&payload_named(name, &Digest::of(b"other")))), "another manifest");
    let mut odd = payload_named(name, &digest);
    odd["critical"]["type"] = json!("something else");
    assert!(!judge(Value::Null, name, mine.sign(&odd)));
    let mut odd = payload_named(name, &digest);
    odd["critical"]["more"] = json!(1);
    assert!(!judge(Value::Null, name, mine.sign(&odd)), "what is critical is understood");
    let mut bent = signed(name);
    match &mut bent {
        Signature::Sigstore(signature) => signature.payload.push(b' '),
        Signature::Simple(_) => unreachable!("it is of sigstore"),
    }
    assert!(!judge(Value::Null, name, bent), "not what was signed");
}

#[test]
fn a_signature_of_gnupg_is_of_the_key_the_manifest_and_the_name() {
    let bytes = |text: &str| STANDARD.decode(text).unwrap();
    let key = openpgp::SecretKey::read(&bytes(openpgp::made::ED_SEC), None).unwrap();
    let digest = Digest::of(b"manifest");
    let name: Reference = "q.io/a/b:1".parse().unwrap();
    let now = openpgp::now().max(1_795_500_000);
    let signed =
        |kind: &str, digest: &Digest| Signature::Simple(key.sign(&payload(kind, &name, digest, now), now).unwrap());
    let judge = |public: &str, subject: &str, signature: Signature| {
        let rule = json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": STANDARD.encode(bytes(public))});
        let find = |_: &Digest, wanted| {
            assert_eq!(wanted, Wanted::Simple);
            Ok(vec![signature.clone()])
        };
        policy(json!({"default": [rule]})).check(&image(subject), Some(&digest), &find).map(|found| found.len())
    };
    let (own, other) = (openpgp::made::ED_PUB, openpgp::made::RSA_PUB);
    let right = signed(SIMPLE_KIND, &digest);
    assert_eq!(judge(own, "q.io/a/b:1", right.clone()).unwrap(), 1);
    assert!(judge(own, "q.io/a/b:2", right.clone()).unwrap_err().to_string().contains("q.io/a/b:1"));
    assert!(judge(other, "q.io/a/b:1", right.clone()).is_err());
    assert!(judge(own, "q.io/a/b:1", signed(SIMPLE_KIND, &Digest::of(b"other"))).is_err());
    assert!(judge(own, "q.io/a/b:1", signed(SIGSTORE_KIND, &digest)).is_err());
    // As files, and as the layers of a manifest.
    let Signature::Sigstore(of_sigstore) = Signer::new().sign(&payload_of(&digest)) else {
        panic!("it is of sigstore")
    };
    for signature in [right, Signature::Sigstore(of_sigstore)] {
        assert_eq!(Signature::parse(&signature.filed()).unwrap(), signature);
        let made = attachment(None, std::slice::from_ref(&signature)).unwrap();
        let again = attachment(Some(&made.manifest), std::slice::from_ref(&signature)).unwrap();
        assert_eq!(again.manifest, made.manifest, "what is there already is there once");
        let read = of_manifest(&made.manifest, &|d, _| {
            Ok(made.blobs.iter().find(|blob| Digest::of(blob) == d.digest).unwrap().clone())
        });
        assert_eq!(read.unwrap(), [signature]);
    }
    for bad in [&b""[..], b"\0other\nx", b"\0sigstore-json\n{}"] {
        assert!(Signature::parse(bad).is_err());
    }
}

fn payload_of(digest: &Digest) -> Value {
    payload_named("q.io/a/b:1", digest)
}
