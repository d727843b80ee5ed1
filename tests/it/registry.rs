//! Images from a registry: a small one of our own, over plain HTTP on this machine, with and without a password.

use crate::home::Home;
use crate::image::{self, Files, Image};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// Serves `files` of an OCI layout as `/v2/busybox`; asks for `user:password` if `closed`. Gives its address.
fn serve(files: Files, closed: bool) -> String {
    let mut pages: HashMap<String, (String, Vec<u8>)> = HashMap::new();
    for (name, bytes) in files {
        if let Some(digest) = name.strip_prefix("blobs/sha256/") {
            let media = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
            let media = media
                .and_then(|v| v["mediaType"].as_str().map(String::from))
                .unwrap_or("application/octet-stream".into());
            if media.contains("manifest") {
                pages.insert("/v2/busybox/manifests/latest".into(), (media.clone(), bytes.clone()));
                pages.insert(format!("/v2/busybox/manifests/sha256:{digest}"), (media.clone(), bytes.clone()));
            }
            pages.insert(format!("/v2/busybox/blobs/sha256:{digest}"), (media, bytes));
        }
    }
    pages.insert("/v2/".into(), ("application/json".into(), b"{}".to_vec()));
    crate::home::own_network();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let pages = Arc::new(pages);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let pages = pages.clone();
            std::thread::spawn(move || answer(stream, &pages, closed));
        }
    });
    address
}

fn answer(stream: TcpStream, pages: &HashMap<String, (String, Vec<u8>)>, closed: bool) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    // A connection is used for many requests.
    loop {
        let request = lines.next()?.ok()?;
        let mut words = request.split(' ');
        let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
        let mut known = !closed;
        loop {
            let header = lines.next()?.ok()?;
            if header.is_empty() {
                break;
            }
            // `user:password` in base 64.
            known |= header.to_ascii_lowercase().starts_with("authorization: basic")
                && header.ends_with("dXNlcjpwYXNzd29yZA==");
        }
        let (status, extra, media, body) = match pages.get(&path) {
            _ if !known => ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"tests\"\r\n", "text/plain", &[][..]),
            Some((media, body)) => ("200 OK", "", media.as_str(), body.as_slice()),
            None => ("404 Not Found", "", "application/json", &br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#[..]),
        };
        let length = body.len();
        write!(out, "HTTP/1.1 {status}\r\n{extra}Content-Type: {media}\r\nContent-Length: {length}\r\n\r\n").ok()?;
        if method != "HEAD" {
            out.write_all(body).ok()?;
        }
    }
}

#[test]
fn pull_and_run() {
    let address = serve(image::oci(&[Image::busybox("latest")]), false);
    let home = Home::new();
    let name = format!("{address}/busybox:latest");
    home.run(&["pull", "-q", "--tls-verify=false", &name]).ok();
    assert_eq!(home.run(&["run", "--rm", &name, "echo", "fine"]).quiet(), "fine");
    home.run(&["pull", "-q", "--tls-verify=false", &format!("{address}/busybox:other")]).fails(125, &["other"]);
    home.run(&["pull", "-q", "127.0.0.1:1/busybox"]).fails(125, &["127.0.0.1:1"]);
}

#[test]
fn a_registry_with_a_password() {
    let address = serve(image::oci(&[Image::busybox("latest")]), true);
    let home = Home::new();
    let name = format!("{address}/busybox:latest");
    home.run(&["pull", "-q", "--tls-verify=false", &name]).fails(125, &[&address]);
    home.run(&["pull", "-q", "--tls-verify=false", "--creds", "user:password", &name]).ok();
    assert_eq!(home.run(&["images", "--format", "{{.Repository}}"]).quiet(), format!("{address}/busybox"));
}

#[test]
fn a_registry_that_serves_another_blob() {
    let mut files = image::oci(&[Image::busybox("latest")]);
    let (_, bytes) = files.iter_mut().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let address = serve(files, false);
    let home = Home::new();
    home.run(&["pull", "-q", "--tls-verify=false", &format!("{address}/busybox:latest")]).fails(125, &["sha256:"]);
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
}
