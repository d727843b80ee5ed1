//! A repository of a registry that is written to (OCI distribution specification, "Push"; Docker's registry API v2).
//!
//! A blob that is there is not sent; one that another repository of the same registry has is mounted; any other is sent
//! whole, in one request where its digest is known and in a second one where it is only known in the end. An upload that
//! breaks off is begun again.

use super::address::{self, Address};
use super::client::{self, Client, Content};
use super::referrers;
use crate::convert::Form;
use crate::destination::{Blob, Destination, Packing};
use crate::document;
use crate::trust::{self, Signature};
use crate::{Error, Registry, Result};
use types::{Digest, Reference};
use ureq::Body;
use ureq::http::{Method, Response, StatusCode};

/// Blobs that are sent at once.
const THREADS: usize = 4;

/// A repository that an image is written to.
pub struct Pushed<'a> {
    client: Client<'a>,
    name: Reference,
    packing: Packing,
}

impl<'a> Pushed<'a> {
    /// The repository of `name`. Nothing is sent yet.
    ///
    /// # Errors
    /// The configuration blocks it.
    pub fn new(name: &Reference, options: &'a Registry, packing: Packing) -> Result<Pushed<'a>> {
        let name = address::full_name(name);
        options.registries.check(&name)?;
        let domain = name.domain.clone().unwrap_or_default();
        let client = Client::new(options, &domain, &name.path, "pull,push");
        Ok(Pushed { client, name, packing })
    }

    /// Begins an upload, or takes the blob over from another repository: where the bytes go to, or none if there is
    /// nothing left to be sent.
    fn begin(&self, mount: Option<(&Digest, &str)>) -> Result<Option<Address>> {
        let action = "begin an upload";
        let mut path = "blobs/uploads/".to_owned();
        if let Some((digest, from)) = mount {
            self.client.read_also(from);
            path.push_str(&format!("?mount={digest}&from={}", client::escaped(from)));
        }
        let at = self.client.at(&path)?;
        let answer = self.client.send(Method::POST, action, &at, &[], Content::None)?;
        match answer.status() {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => self.location(&at, &answer, action).map(Some),
            _ => Err(self.client.refused(action, answer)),
        }
    }

    fn location(&self, at: &Address, answer: &Response<Body>, action: &str) -> Result<Address> {
        let location = answer.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or("");
        let bad = || self.client.failed(action, format!("it says to go on at {location:?}, which is no address"));
        let next = at.join(location).filter(|_| !location.is_empty()).ok_or_else(bad)?;
        // What is private must not be sent in the clear because an answer says so.
        if at.secure && !next.secure {
            return Err(self.client.failed(action, format!("it says to go on at {next}, without TLS")));
        }
        Ok(next)
    }

    fn attempt(&self, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        let action = format!("send blob {}", blob.name());
        let at = self.begin(None)?.ok_or_else(|| self.client.failed(&action, "it takes no upload".into()))?;
        let mut reader = blob.read()?;
        let headers = [("content-type", "application/octet-stream")];
        if let (Some(digest), Some(size)) = (blob.digest, blob.size) {
            let at = with_digest(&at, &digest);
            let answer =
                self.client.send(Method::PUT, &action, &at, &headers, Content::Stream(&mut reader, Some(size)))?;
            return self.accepted(&action, answer, &digest).map(|()| (digest, size));
        }
        let answer =
            self.client.send(Method::PATCH, &action, &at, &headers, Content::Stream(&mut reader, blob.size))?;
        if !matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED) {
            return Err(self.client.refused(&action, answer));
        }
        let next = self.location(&at, &answer, &action)?;
        let (digest, size) = reader
            .result()
            .ok_or_else(|| Error::Blob { blob: blob.name(), source: std::io::ErrorKind::UnexpectedEof.into() })?;
        let answer = self.client.send(Method::PUT, &action, &with_digest(&next, &digest), &headers, Content::None)?;
        self.accepted(&action, answer, &digest).map(|()| (digest, size))
    }

    fn accepted(&self, action: &str, answer: Response<Body>, digest: &Digest) -> Result<()> {
        if !answer.status().is_success() {
            return Err(self.client.refused(action, answer));
        }
        let said = answer.headers().get("docker-content-digest").and_then(|h| h.to_str().ok());
        match said.and_then(|said| said.parse::<Digest>().ok()).filter(|said| said != digest) {
            Some(said) => Err(self.client.failed(action, format!("it says that it took {said} instead"))),
            None => Ok(()),
        }
    }
}

/// The address of the end of an upload.
fn with_digest(at: &Address, digest: &Digest) -> Address {
    let separator = if at.path.contains('?') { '&' } else { '?' };
    Address { path: format!("{}{separator}digest={digest}", at.path), ..at.clone() }
}

impl Destination for Pushed<'_> {
    fn title(&self) -> String {
        self.name.to_string()
    }

    fn form(&self) -> Option<Form> {
        None
    }

    fn packing(&self) -> Packing {
        self.packing
    }

    fn threads(&self) -> usize {
        THREADS
    }

    fn has(&self, blob: &Digest, _size: Option<u64>, repositories: &[(String, String)]) -> Result<bool> {
        let action = format!("look for blob {blob}");
        let at = self.client.at(&format!("blobs/{blob}"))?;
        let answer = self.client.send(Method::HEAD, &action, &at, &[], Content::None)?;
        match answer.status() {
            status if status.is_success() => return Ok(true),
            StatusCode::NOT_FOUND => {}
            // Some may write and not read.
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED => return Ok(false),
            _ => return Err(self.client.refused(&action, answer)),
        }
        for (domain, path) in repositories {
            if *domain == self.client.domain && *path != self.client.path {
                // Where it may not be taken from there, an upload was begun for nothing, and the registry forgets it.
                return Ok(self.begin(Some((blob, path))).is_ok_and(|upload| upload.is_none()));
            }
        }
        Ok(false)
    }

    fn write(&self, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        let mut attempt = 0;
        loop {
            match self.attempt(blob) {
                Err(error) if attempt + 1 < self.client.attempts() && client::may_help(&error) => {
                    std::thread::sleep(self.client.pause(attempt));
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn configuration(&self, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        if self.has(&digest, Some(bytes.len() as u64), &[])? {
            return Ok(());
        }
        let open = || -> Result<Box<dyn std::io::Read + Send + '_>> { Ok(Box::new(bytes)) };
        let size = Some(bytes.len() as u64);
        self.write(&Blob { digest: Some(digest), size, open: &open, laborious: false, announced: None, progress: &() })
            .map(drop)
    }

    fn manifest(&self, bytes: &[u8], media_type: &str, top: bool) -> Result<()> {
        let digest = Digest::of(bytes);
        let reference = match (top, &self.name.tag, &self.name.digest) {
            (true, Some(tag), _) => tag.clone(),
            (true, None, Some(wanted)) if *wanted != digest => {
                return Err(self.client.failed(
                    "write the manifest",
                    format!("its digest is {digest}, and the destination names {wanted}"),
                ));
            }
            _ => digest.to_string(),
        };
        let action = format!("write manifest {reference}");
        let at = self.client.at(&format!("manifests/{reference}"))?;
        let answer =
            self.client.send(Method::PUT, &action, &at, &[("content-type", media_type)], Content::Bytes(bytes))?;
        // A registry that lists what refers to others says so.
        let lists = answer.headers().contains_key("oci-subject");
        self.accepted(&action, answer, &digest)?;
        if lists { Ok(()) } else { referrers::list(&self.client, bytes, media_type) }
    }

    fn signatures(&self, manifest: &Digest, signatures: &[Signature], _top: bool) -> Result<()> {
        let of = |simple: bool| {
            let fits = |s: &&Signature| matches!(s, Signature::Simple(_)) == simple;
            signatures.iter().filter(fits).cloned().collect::<Vec<_>>()
        };
        let (simple, attached) = (of(true), of(false));
        if !simple.is_empty() {
            self.client.options.lookaside.write(&self.name, manifest, &simple, self.client.options)?;
        }
        if attached.is_empty() {
            return Ok(());
        }
        let tag = trust::tag(manifest);
        let accept = [("accept", document::OCI_MANIFEST)];
        let before = match self.client.get("read signatures", &format!("manifests/{tag}"), &accept) {
            Ok(mut answer) => Some(
                client::read(answer.body_mut(), document::MANIFEST)
                    .map_err(|why| self.client.failed("read signatures", why))?,
            ),
            Err(Error::ManifestUnknown { .. }) => None,
            Err(error) => return Err(error),
        };
        let made = trust::attachment(before.as_deref(), &attached)?;
        for bytes in made.blobs.iter().chain([&made.configuration]) {
            self.configuration(bytes)?;
        }
        let at = self.client.at(&format!("manifests/{tag}"))?;
        let kind = [("content-type", document::OCI_MANIFEST)];
        let action = "write signatures";
        let answer = self.client.send(Method::PUT, action, &at, &kind, Content::Bytes(&made.manifest))?;
        self.accepted(action, answer, &Digest::of(&made.manifest))
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }
}
