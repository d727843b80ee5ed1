//! `image sign` and `image trust`: signatures of images in registries, and which images are accepted.

use super::Verb;
use super::many::each;
use super::registry_flags::{self, HasAccess};
use super::signing_flags::{self, HasSigning};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, text, value};
use crate::format::{indented, table_of};
use crate::program::{plain, print};
use ops::image::{Access, Signing};
use ops::trust::{Set, Sign};
use serde_json::json;
use std::path::PathBuf;

/// What the flags of `image sign` fill.
#[derive(Default)]
pub struct Asked(Sign);

impl HasAccess for Asked {
    fn access(&mut self) -> &mut Access {
        &mut self.0.access
    }
}

impl HasSigning for Asked {
    fn signing(&mut self) -> &mut Signing {
        &mut self.0.signing
    }
}

/// `image sign`.
pub const SIGN: Verb<Asked> = Verb {
    path: "image sign",
    usage: "IMAGE [IMAGE...]",
    about: "Sign images that are in a registry",
    examples: &["--sign-by secret.asc --directory /tmp/signatures docker://localhost:5000/app:1"],
    interspersed: true,
    flags: &[&[
        short('a', switch("all", "Of an image for several platforms, sign all", |r: &mut Asked, on| r.0.all = on)),
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        short(
            'd',
            value("directory", "directory", "Write signatures of OpenPGP below this directory", |r: &mut Asked, v| {
                r.0.directory = Some(v.into());
                Ok(())
            }),
        ),
        signing_flags::by(),
        signing_flags::by_sigstore(),
        signing_flags::passphrase(),
    ]],
    execute: |program, Asked(asked), arguments| {
        if arguments.is_empty() {
            return Err(Failure::new("at least one image must be specified"));
        }
        let engine = program.engine()?;
        each(&arguments, |image| engine.sign_image(&Sign { image: image.to_owned(), ..asked.clone() }).map_err(plain))
    },
};

/// What the flags of `image trust show` fill.
#[derive(Default)]
pub struct Showing {
    policy: Option<PathBuf>,
    json: bool,
    no_heading: bool,
    raw: bool,
}

const POLICY: Flag<Showing> = value("signature-policy", "path", "Show this policy", |r: &mut Showing, v| {
    r.policy = Some(v.into());
    Ok(())
});

/// `image trust show`.
pub const SHOW: Verb<Showing> = Verb {
    path: "image trust show",
    usage: "[SCOPE]",
    about: "Show which images are accepted",
    examples: &["", "--raw", "docker.io"],
    interspersed: true,
    flags: &[&[
        short('j', switch("json", "Print JSON", |r, on| r.json = on)),
        short('n', switch("noheading", "Print no headings", |r, on| r.no_heading = on)),
        switch("raw", "Print the policy as it is", |r, on| r.raw = on),
        POLICY,
    ]],
    execute: |program, asked, arguments| {
        if arguments.len() > 1 {
            return Err(Failure::new(format!("accepts at most 1 arg(s), received {}", arguments.len())));
        }
        let engine = program.engine()?;
        if asked.raw {
            return print(&engine.policy_text(asked.policy.as_deref()).map_err(plain)?).map(|()| 0);
        }
        let mut rules = engine.trust(asked.policy.as_deref()).map_err(plain)?;
        if let Some(scope) = arguments.first() {
            rules.retain(|rule| rule.name == *scope);
        }
        if asked.json {
            let rules: Vec<_> = rules
                .iter()
                .map(|rule| {
                    json!({"transport": rule.transport, "name": rule.name, "type": rule.kind, "keys": rule.keys, "sigstore": rule.store})
                })
                .collect();
            return print(&format!("{}\n", indented(&rules, b"  "))).map(|()| 0);
        }
        let rows: Vec<_> = rules
            .into_iter()
            .map(|rule| vec![rule.transport, rule.name, rule.kind, rule.keys.join(", "), rule.store])
            .collect();
        print(&table_of(&["TRANSPORT", "NAME", "TYPE", "ID", "STORE"], &rows, asked.no_heading)).map(|()| 0)
    },
};

/// What the flags of `image trust set` fill.
#[derive(Default)]
pub struct Setting(Set);

/// `image trust set`.
pub const SET: Verb<Setting> = Verb {
    path: "image trust set",
    usage: "SCOPE",
    about: "Set which images of a registry are accepted, or by default",
    examples: &["--type reject default", "-f public.asc docker.io"],
    interspersed: true,
    flags: &[&[
        short(
            'f',
            value("pubkeysfile", "file", "A file with public keys", |r: &mut Setting, v| {
                r.0.keys.push(v.into());
                Ok(())
            }),
        ),
        value("signature-policy", "path", "Change this policy", |r: &mut Setting, v| {
            r.0.policy = Some(v.into());
            Ok(())
        }),
        short(
            't',
            text("type", "accept, reject, signedBy (default), sigstoreSigned", |r: &mut Setting, v| {
                r.0.kind = Some(v.into());
            }),
        ),
    ]],
    execute: |program, Setting(asked), arguments| {
        let [scope] = <[String; 1]>::try_from(arguments)
            .map_err(|other: Vec<_>| Failure::new(format!("accepts 1 arg(s), received {}", other.len())))?;
        program.engine()?.set_trust(&Set { scope, ..asked }).map_err(plain).map(|()| 0)
    },
};
