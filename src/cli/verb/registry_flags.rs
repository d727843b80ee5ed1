//! Flags that say how registries are talked to; of every verb that does.

use crate::flag::{Flag, integer, switch, value};
use ops::image::Access;

/// What has them.
pub trait HasAccess {
    /// Where they go.
    fn access(&mut self) -> &mut Access;
}

/// What `--no-blobs` does.
pub const NO_BLOBS: &str = "Keep unpacked files alone, of which layers are made again when saved";

/// `--decryption-key`.
pub const fn decryption_key<R: HasAccess>() -> Flag<R> {
    value("decryption-key", "string", "Open encrypted layers with the private key in this file", |r: &mut R, v| {
        r.access().decryption_keys.push(v.into());
        Ok(())
    })
}

/// `--authfile`.
pub const fn auth_file<R: HasAccess>() -> Flag<R> {
    value("authfile", "string", "File with credentials of registries", |r: &mut R, v| {
        r.access().auth_file = Some(v.into());
        Ok(())
    })
}

/// `--cert-dir`.
pub const fn cert_dir<R: HasAccess>() -> Flag<R> {
    value(
        "cert-dir",
        "string",
        "Directory with certificates: *.crt to trust, *.cert and *.key to show",
        |r: &mut R, v| {
            r.access().certificates = Some(v.into());
            Ok(())
        },
    )
}

/// `--creds`.
pub const fn creds<R: HasAccess>() -> Flag<R> {
    value("creds", "[username[:password]]", "Credentials for the registry", |r: &mut R, v| {
        r.access().credentials = Some(v.into());
        Ok(())
    })
}

/// `--daemon-host`.
pub const fn daemon_host<R: HasAccess>() -> Flag<R> {
    value("daemon-host", "HOST", "Where the Docker daemon of `docker-daemon:` listens", |r: &mut R, v| {
        r.access().daemon = Some(v.into());
        Ok(())
    })
}

/// `--no-creds`.
pub const fn no_creds<R: HasAccess>() -> Flag<R> {
    switch("no-creds", "Show the registry no credentials", |r: &mut R, on| r.access().anonymous = on)
}

/// `--username`, beside `--password`.
pub const fn username<R: HasAccess>() -> Flag<R> {
    value("username", "string", "User of the registry", |r: &mut R, v| {
        set_user(r.access(), v);
        Ok(())
    })
}

/// `--password`, beside `--username`.
pub const fn password<R: HasAccess>() -> Flag<R> {
    value("password", "string", "Password of the registry (all users of this machine can see it)", |r: &mut R, v| {
        set_password(r.access(), v);
        Ok(())
    })
}

/// The user of what is otherwise given as `USER:PASSWORD`.
pub fn set_user(access: &mut Access, user: &str) {
    let password = access.credentials.as_deref().and_then(|c| Some(c.split_once(':')?.1)).unwrap_or("");
    access.credentials = Some(format!("{user}:{password}"));
}

/// The password of the same.
pub fn set_password(access: &mut Access, password: &str) {
    let user = access.credentials.as_deref().and_then(|c| Some(c.split_once(':')?.0)).unwrap_or("");
    access.credentials = Some(format!("{user}:{password}"));
}

/// `--retry-times`, Skopeo's name of `--retry`.
pub const fn retry_times<R: HasAccess>() -> Flag<R> {
    value("retry-times", "int", "How often a request that failed is tried again (default 3)", |r: &mut R, v| {
        r.access().retry = Some(integer(v)?);
        Ok(())
    })
}

/// `--retry`.
pub const fn retry<R: HasAccess>() -> Flag<R> {
    value("retry", "uint", "How often a request that failed is tried again (default 3)", |r: &mut R, v| {
        r.access().retry = Some(integer(v)?);
        Ok(())
    })
}

/// `--retry-delay`.
pub const fn retry_delay<R: HasAccess>() -> Flag<R> {
    value("retry-delay", "string", "How long to wait before that, e.g. 2s", |r: &mut R, v| {
        r.access().retry_delay = Some(types::span::parse(v).map_err(|e| e.to_string())?);
        Ok(())
    })
}

/// `--signature-policy`.
pub const fn signature_policy<R: HasAccess>() -> Flag<R> {
    value("signature-policy", "path", "File that says which images are accepted", |r: &mut R, v| {
        r.access().signature_policy = Some(v.into());
        Ok(())
    })
}

/// `--tls-verify`.
pub const fn tls_verify<R: HasAccess>() -> Flag<R> {
    switch("tls-verify", "Demand TLS and check certificates (default true)", |r: &mut R, on| {
        r.access().tls_verify = Some(on);
    })
}
