//! Certificates for registries: those of the host, and those that a directory holds for one registry
//! (containers-certs.d(5)): `*.crt` are authorities to be trusted beside the host's, `NAME.cert` with `NAME.key` are
//! shown to the registry.
//!
//! Must not know: what is sent.

use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// What the directory of a registry holds.
#[derive(Default)]
pub struct Certificates {
    authorities: Vec<Certificate<'static>>,
    own: Option<ClientCert>,
}

impl Certificates {
    /// Reads those of `directories` that exist; the first with a certificate to show provides it.
    ///
    /// # Errors
    /// Files that are none, and a certificate without its key or a key without its certificate.
    pub fn read(directories: &[PathBuf]) -> Result<Certificates> {
        let mut found = Certificates::default();
        for directory in directories {
            let failed = |source| Error::File { action: "read", path: directory.clone(), source };
            let entries = match std::fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(source) => return Err(failed(source)),
            };
            let mut paths = Vec::new();
            for entry in entries {
                paths.push(entry.map_err(failed)?.path());
            }
            paths.sort();
            for path in &paths {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => found.authorities.extend(certificates(path)?),
                    Some("cert") => {
                        let key = key(&path.with_extension("key"))?;
                        let chain = certificates(path)?;
                        found.own.get_or_insert_with(|| ClientCert::new_with_certs(&chain, key));
                    }
                    Some("key") if !path.with_extension("cert").exists() => {
                        return Err(bad(path, "the certificate of this key, with the extension `.cert`, is missing"));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// How TLS is spoken; without `verify`, whoever answers is believed.
    pub fn config(&self, verify: bool) -> TlsConfig {
        TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .disable_verification(!verify)
            // Reading the host's takes as long as all the rest of a short command: not for nothing.
            .root_certs(if verify { self.roots() } else { RootCerts::WebPki })
            .client_cert(self.own.clone())
            .build()
    }

    /// The host's roots and those of the directory; the web's where the host has none.
    fn roots(&self) -> RootCerts {
        let native = rustls_native_certs::load_native_certs();
        let mut roots: Vec<Certificate<'static>> =
            native.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
        if roots.is_empty() && self.authorities.is_empty() {
            return RootCerts::WebPki;
        }
        roots.extend(self.authorities.iter().cloned());
        roots.into()
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for item in parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(path, &e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(bad(path, "it holds no certificate in PEM"));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKey<'static>> {
    PrivateKey::from_pem(&read(path)?).map_err(|_| bad(path, "it holds no private key in PEM"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::File { action: "read", path: path.into(), source })
}

fn bad(path: &Path, why: &str) -> Error {
    Error::Document { what: "certificate", name: path.display().to_string(), why: why.into() }
}
