//! A layer as it comes from a registry: when the connection breaks, reading goes on where it broke off.

use super::client::Client;
use std::io::{self, Read};
use types::Digest;
use ureq::BodyReader;
use ureq::http::StatusCode;

/// How often one blob may break off without a byte in between.
const FAILURES: u32 = 5;

/// A blob of `size` bytes.
pub struct Blob<'a> {
    client: &'a Client<'a>,
    digest: Digest,
    size: u64,
    position: u64,
    body: Option<BodyReader<'static>>,
    failures: u32,
}

impl<'a> Blob<'a> {
    /// The blob `digest` of `size` bytes, not asked for yet.
    pub fn new(client: &'a Client<'a>, digest: Digest, size: u64) -> Blob<'a> {
        Blob { client, digest, size, position: 0, body: None, failures: 0 }
    }

    /// Asks for what is missing.
    fn request(&self) -> io::Result<BodyReader<'static>> {
        let range = format!("bytes={}-", self.position);
        let headers: &[(&str, &str)] = if self.position > 0 { &[("range", &range)] } else { &[] };
        let answer = self
            .client
            .get(&format!("read blob {}", self.digest), &format!("blobs/{}", self.digest), headers)
            .map_err(io::Error::other)?;
        let status = answer.status();
        let starts = answer.headers().get("content-range").and_then(|h| h.to_str().ok()).and_then(first_byte);
        let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
        match status {
            StatusCode::PARTIAL_CONTENT if starts == Some(self.position) => {}
            // It does not know ranges: what is there already is read again and left out.
            StatusCode::OK => {
                let again = io::copy(&mut (&mut body).take(self.position), &mut io::sink())?;
                if again < self.position {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            status => return Err(io::Error::other(format!("the registry answers {status} to a range"))),
        }
        Ok(body)
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than expected is enough to see that there are more.
        let left = (self.size - self.position.min(self.size)).saturating_add(1);
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 || self.position > self.size {
            return Ok(0);
        }
        loop {
            let got = match &mut self.body {
                Some(body) => body.read(&mut buffer[..want]),
                None => {
                    self.body = Some(self.request()?);
                    continue;
                }
            };
            let error = match got {
                Ok(0) if self.position < self.size => io::Error::from(io::ErrorKind::UnexpectedEof),
                Ok(got) => {
                    self.position += got as u64;
                    self.failures = 0;
                    return Ok(got);
                }
                Err(e) => e,
            };
            self.body = None;
            self.failures += 1;
            if self.failures > FAILURES {
                return Err(error);
            }
            std::thread::sleep(self.client.pause(self.failures - 1));
        }
    }
}

/// `bytes 5-9/10` begins at 5 (RFC 9110 section 14.4).
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
