//! Flags that say how registries are talked to; of every verb that does.

use crate::flag::{Flag, integer, switch, value};
use ops::image::Access;

/// What has them.
pub trait HasAccess {
    /// Where they go.
    fn access(&mut self) -> &mut Access;
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
