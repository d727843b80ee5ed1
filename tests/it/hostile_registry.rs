//! A registry that misbehaves on purpose: each time one clear error, in bounded time and memory, and a store as before.

use crate::home::Home;
use crate::image::{self, Files, Image};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is answered: status, headers beside the length, body; and how the body is bent.
struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// What `Content-Length` says; none means the truth.
    length: Option<u64>,
    /// After the body, spaces without end.
    endless: bool,
}

impl Answer {
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into(), length: None, endless: false }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// Answers a path, and what is asked for of it: from which byte on.
type Handler = dyn Fn(&str, Option<usize>) -> Answer + Send + Sync;

/// A registry on this machine, which answers the paths it is asked for. Gives its address and a count of requests.
fn serve(handler: impl Fn(&str) -> Answer + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    serve_parts(move |path, _| handler(path))
}

/// The same, which is told of ranges.
fn serve_parts(handler: impl Fn(&str, Option<usize>) -> Answer + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    crate::home::own_network();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (handler, count): (Arc<Handler>, _) = (Arc::new(handler), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (handler, count) = (handler.clone(), counted.clone());
            std::thread::spawn(move || converse(stream, &*handler, &count));
        }
    });
    (address, count)
}

fn converse(stream: TcpStream, handler: &Handler, count: &AtomicUsize) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    if !request.starts_with("GET ") && !request.starts_with("HEAD ") {
        return None; // An attempt at TLS, for one.
    }
    let mut from = None;
    loop {
        let header = lines.next()?.ok()?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(range) = header.strip_prefix("range: bytes=") {
            from = range.strip_suffix('-').and_then(|from| from.parse().ok());
        }
    }
    count.fetch_add(1, Ordering::Relaxed);
    let answer = handler(request.split(' ').nth(1)?, from);
    let length = answer.length.unwrap_or(answer.body.len() as u64);
    write!(out, "HTTP/1.1 {}\r\n", answer.status).ok()?;
    for (name, value) in &answer.headers {
        write!(out, "{name}: {value}\r\n").ok()?;
    }
    if !answer.endless {
        write!(out, "Content-Length: {length}\r\n").ok()?;
    }
    write!(out, "Connection: close\r\n\r\n").ok()?;
    out.write_all(&answer.body).ok()?;
    if answer.endless {
        while out.write_all(&[b' '; 65536]).is_ok() {}
    }
    if answer.length.is_some() {
        // It says that more will come, and nothing does.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    None
}

/// The paths of an honest registry with the image `a/b:1`.
fn pages() -> BTreeMap<String, (String, Vec<u8>)> {
    let files: Files = image::oci(&[Image::busybox("1")]);
    let mut pages = BTreeMap::from([("/v2/".to_owned(), (String::new(), b"{}".to_vec()))]);
    for (name, bytes) in files {
        let Some(digest) = name.strip_prefix("blobs/sha256/") else { continue };
        let parsed = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default();
        match parsed["mediaType"].as_str() {
            Some(kind) => {
                pages.insert("/v2/a/b/manifests/1".into(), (kind.into(), bytes.clone()));
                pages.insert(format!("/v2/a/b/manifests/sha256:{digest}"), (kind.into(), bytes));
            }
            None => drop(pages.insert(format!("/v2/a/b/blobs/sha256:{digest}"), ("x/y".into(), bytes))),
        }
    }
    pages
}

fn honest(pages: &BTreeMap<String, (String, Vec<u8>)>, path: &str) -> Answer {
    match pages.get(path) {
        Some((kind, body)) => Answer::new("200 OK", body.clone()).header("Content-Type", kind.clone()),
        None => Answer::new("404 Not Found", "{}"),
    }
}

/// Pulls `a/b:1` from a registry that answers what `bend` makes of its honest answers. The pull fails with `words`, and
/// the store is as before.
#[track_caller]
fn refused(bend: impl Fn(&str, Answer) -> Answer + Send + Sync + 'static, words: &[&str]) -> usize {
    let pages = pages();
    let (address, count) = serve(move |path| bend(path, honest(&pages, path)));
    refused_by(&address, words);
    count.load(Ordering::Relaxed)
}

/// Most memory that a pull may have, in bytes: that of the machine is not a stranger's.
const MEMORY: u32 = 150 << 20;

/// The pull from this registry fails so.
#[track_caller]
fn refused_by(address: &str, words: &[&str]) {
    let mut home = Home::new();
    home.through = vec!["prlimit".into(), format!("--data={MEMORY}")];
    let name = format!("{address}/a/b:1");
    home.run(&["pull", "-q", "--retry", "1", "--retry-delay", "1ms", &name]).fails(125, words);
    for part in ["blobs/sha256", "layers", "work"] {
        let left = std::fs::read_dir(home.path("root").join(part)).expect("parts of the store").count();
        assert_eq!(left, 0, "{part} is not empty");
    }
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
}

fn is_blob(path: &str) -> bool {
    path.contains("/blobs/")
}

fn is_layer(path: &str, answer: &Answer) -> bool {
    is_blob(path) && answer.body.len() > 100_000
}

#[test]
fn bodies_that_lie() {
    let flip = |path: &str, mut answer: Answer| {
        if is_layer(path, &answer) {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        answer
    };
    refused(flip, &["sha256:"]);
    let short = |path: &str, mut answer: Answer| {
        if is_layer(path, &answer) {
            answer.length = Some(answer.body.len() as u64);
            let half = answer.body.len() / 2;
            answer.body.truncate(half);
        }
        answer
    };
    refused(short, &["sha256:"]);
    let long = |path: &str, mut answer: Answer| {
        if is_layer(path, &answer) {
            answer.body.extend([0; 1000]);
        }
        answer
    };
    refused(long, &["size"]);
    let endless = |path: &str, answer: Answer| match is_layer(path, &answer) {
        true => Answer { endless: true, ..answer },
        false => answer,
    };
    refused(endless, &["size"]);
}

/// The part of a body from `from` on, which is said to be that from `said` on.
fn part(said: usize, body: &[u8], from: usize) -> Answer {
    let range = format!("bytes {said}-{}/{}", body.len() - 1, body.len());
    Answer::new("206 Partial Content", &body[from..]).header("Content-Range", range)
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    // The layer breaks off in the middle, and goes on as `rest` makes it.
    let broken = |rest: fn(Vec<u8>, usize) -> Answer| {
        let (pages, asked) = (pages(), asked.clone());
        asked.lock().unwrap().clear();
        let (address, _) = serve_parts(move |path, from| {
            let mut answer = honest(&pages, path);
            if !is_layer(path, &answer) {
                return answer;
            }
            asked.lock().unwrap().push(from);
            match from {
                Some(from) => rest(answer.body, from),
                None => {
                    answer.length = Some(answer.body.len() as u64);
                    let half = answer.body.len() / 2;
                    answer.body.truncate(half);
                    answer
                }
            }
        });
        address
    };
    let address = broken(|body, from| part(from, &body, from));
    let home = Home::new();
    let name = format!("{address}/a/b:1");
    home.run(&["pull", "-q", "--retry-delay", "1ms", &name]).ok();
    assert_eq!(home.run(&["run", "--rm", "--network", "none", &name, "echo", "fine"]).quiet(), "fine");
    assert!(matches!(asked.lock().unwrap()[..], [None, Some(from)] if from > 0), "{asked:?}");
    // What it says of the rest is not true, or the rest is not.
    refused_by(&broken(|body, from| part(0, &body, from)), &["206", "range"]);
    refused_by(
        &broken(|body, from| part(from, &[&body[..from], &vec![1; body.len() - from]].concat(), from)),
        &["sha256:"],
    );
    refused_by(&broken(|body, from| part(from, &[&body[..], &[0; 100]].concat(), from)), &["size"]);
    refused_by(&broken(|_, _| Answer::new("416 Range Not Satisfiable", "")), &["416"]);
    refused_by(&broken(|_, _| Answer::new("200 OK", "short")), &["sha256:"]);
}

#[test]
fn documents_that_never_end() {
    for document in ["/manifests/1", "/blobs/"] {
        // A hundred megabytes of JSON, and more: what is accepted of it is bounded, and so is our memory.
        let bend = move |path: &str, answer: Answer| match path.contains(document) {
            true => Answer { endless: true, body: b"{\"a\":[".to_vec(), ..answer },
            false => answer,
        };
        refused(
            bend,
            if document == "/blobs/" { &["configuration", "more than"] } else { &["more than 4194304 bytes"] },
        );
    }
    refused(
        |path, answer| match path {
            "/v2/a/b/manifests/1" => {
                Answer { body: [&br#"{"schemaVersion":2,"manifests":"#[..], &b"[".repeat(1 << 20)].concat(), ..answer }
            }
            _ => answer,
        },
        &["manifest sha256:", "parsing"],
    );
}

#[test]
fn redirects_to_where_nothing_is_to_be_had() {
    for (location, word) in [
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("gopher://127.0.0.1/x", "gopher"),
        ("http://user:secret@127.0.0.1/x", "http://user"),
        ("/v2/a/b/manifests/1", "redirects"),
    ] {
        let asked = refused(
            move |path, answer| match path.contains("/manifests/1") {
                true => Answer::new("307 Temporary Redirect", "").header("Location", location),
                false => answer,
            },
            &[word],
        );
        assert!(asked < 30, "{location}: {asked} requests");
    }
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    crate::home::own_network();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap().to_string();
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut out = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                log.lock().unwrap().push(line.to_ascii_lowercase());
            }
            let _ = out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (address, _) = serve(move |path| match path {
        "/v2/" => Answer::new("401 Unauthorized", "").header("WWW-Authenticate", "Basic realm=\"x\""),
        path => Answer::new("302 Found", "").header("Location", format!("http://{other}{path}")),
    });
    let home = Home::new();
    let name = format!("{address}/a/b:1");
    home.run(&["pull", "-q", "--retry", "0", "--creds", "me:secret", &name]).fails(125, &["a/b:1"]);
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && !seen.iter().any(|line| line.starts_with("authorization")), "{seen:?}");
}

#[test]
fn logins_that_lead_in_circles() {
    let asked = refused(
        |_, _| Answer::new("401 Unauthorized", "").header("WWW-Authenticate", "Basic realm=\"x\""),
        &["unauthorized"],
    );
    assert!(asked < 10, "{asked} requests");
    let (address, count) = serve(|path| match path.starts_with("/token") {
        true => Answer::new("200 OK", r#"{"token":"never-good-enough"}"#),
        false => Answer::new("401 Unauthorized", "").header("WWW-Authenticate", "Bearer realm=\"/token\""),
    });
    let home = Home::new();
    home.run(&["pull", "-q", &format!("{address}/a/b:1")]).fails(125, &["/token"]);
    assert!(count.load(Ordering::Relaxed) < 10);
    for realm in ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://192.0.2.1/token"] {
        let (address, _) = serve(move |_| {
            Answer::new("401 Unauthorized", "").header("WWW-Authenticate", format!("Bearer realm=\"{realm}\""))
        });
        home.run(&["pull", "-q", "--creds", "me:secret", &format!("{address}/a/b:1")]).fails(125, &["no address"]);
    }
}

#[test]
fn names_and_types_that_deceive() {
    let digest = |text: &'static str| {
        move |path: &str, answer: Answer| match path {
            "/v2/a/b/manifests/1" => {
                let mut manifest: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                manifest["layers"][0]["digest"] = text.into();
                Answer { body: manifest.to_string().into_bytes(), ..answer }
            }
            _ => answer,
        }
    };
    refused(digest("sha256:../../../../etc/passwd"), &["digest"]);
    refused(digest("../../x:00"), &["digest"]);
    let media = |kind: &'static str| {
        move |path: &str, answer: Answer| match path {
            "/v2/a/b/manifests/1" => {
                let mut manifest: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                manifest["mediaType"] = kind.into();
                Answer { body: manifest.to_string().into_bytes(), ..answer }
            }
            _ => answer,
        }
    };
    refused(media("application/vnd.oci.image.index.v1+json"), &["does not fit its contents"]);
    refused(media("text/html"), &["media type"]);
    let schema = |path: &str, answer: Answer| match path {
        "/v2/a/b/manifests/1" => {
            Answer { body: br#"{"schemaVersion":1,"name":"a/b","fsLayers":[]}"#.to_vec(), ..answer }
        }
        _ => answer,
    };
    refused(schema, &["schema 1 is not supported"]);
    let said = |path: &str, answer: Answer| match path {
        "/v2/a/b/manifests/1" => answer.header("Docker-Content-Digest", format!("sha256:{}", "0".repeat(64))),
        _ => answer,
    };
    refused(said, &["digest"]);
    // Tags that a registry lists are names of files nowhere, but they are checked all the same.
    let (address, _) = serve(|path| match path {
        "/v2/" => Answer::new("200 OK", "{}"),
        _ => Answer::new("200 OK", r#"{"name":"a/b","tags":["../../x","fine","-no",""]}"#),
    });
    let home = Home::new();
    let tags = home.run(&["list-tags", &format!("docker://{address}/a/b")]).ok();
    assert!(tags.contains("fine") && !tags.contains("..") && !tags.contains("-no"), "{tags}");
    // Pages that lead to themselves.
    let (address, _) = serve(|path| match path {
        "/v2/" => Answer::new("200 OK", "{}"),
        _ => Answer::new("200 OK", r#"{"tags":[]}"#).header("Link", "</v2/a/b/tags/list?x>; rel=\"next\""),
    });
    home.run(&["list-tags", &format!("docker://{address}/a/b")]).fails(125, &["pages"]);
}

#[test]
fn too_many_requests_are_waited_for() {
    let pages = pages();
    let refused = AtomicUsize::new(0);
    let (address, _) =
        serve(move |path| match path.contains("/blobs/") && refused.fetch_add(1, Ordering::Relaxed) < 2 {
            true => Answer::new("429 Too Many Requests", "").header("Retry-After", "0"),
            false => honest(&pages, path),
        });
    let home = Home::new();
    let name = format!("{address}/a/b:1");
    home.run(&["pull", "-q", &name]).ok();
    assert_eq!(home.run(&["run", "--rm", &name, "echo", "fine"]).quiet(), "fine");
}

/// A pull that is killed at any moment leaves a store that the next pull completes.
#[test]
fn a_killed_pull_leaves_nothing_in_the_way() {
    let pages = pages();
    let (address, _) = serve(move |path| {
        if is_blob(path) {
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        honest(&pages, path)
    });
    let home = Home::new();
    let name = format!("{address}/a/b:1");
    for delay in [1, 3, 6, 10, 15, 22, 30] {
        let running = home.start(&["pull", "-q", &name]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        running.kill();
    }
    home.run(&["pull", "-q", &name]).ok();
    assert_eq!(home.run(&["run", "--rm", &name, "echo", "fine"]).quiet(), "fine");
    assert_eq!(std::fs::read_dir(home.path("root/work")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(home.path("root/blobs/sha256")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(home.path("root/layers")).unwrap().count(), 1);
}

#[test]
fn lists_of_referrers_that_lie() {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let home = Home::new();
    let ask = |address: &str| home.run(&["inspect", "--referrers", &format!("docker://{address}/a/b:1")]);
    let with = |answer: fn(&str) -> Option<Answer>| {
        let pages = pages();
        serve(move |path| answer(path).filter(|_| path.contains("/referrers/")).unwrap_or_else(|| honest(&pages, path)))
            .0
    };
    let good = "0".repeat(64);
    // Two pages, and what is no list is none.
    let address = with(|path| {
        let entry = format!(r#"{{"manifests":[{{"digest":"sha256:{}","mediaType":"x"}}]}}"#, "0".repeat(64));
        let answer = Answer::new("200 OK", entry).header("Content-Type", INDEX);
        let next = format!("<{path}?page>; rel=\"next\"");
        Some(if path.contains("?page") { answer } else { answer.header("Link", next) })
    });
    assert_eq!(ask(&address).ok().matches(&good).count(), 2);
    let address = with(|_| Some(Answer::new("200 OK", "<html>").header("Content-Type", "text/html")));
    assert!(ask(&address).ok().contains("\"manifests\": []"));
    let address = with(|_| {
        let body = r#"{"manifests":[{"digest":"sha256:../../x","mediaType":"x"}]}"#;
        Some(Answer::new("200 OK", body).header("Content-Type", INDEX))
    });
    ask(&address).fails(125, &["digest"]);
    let address = with(|_| {
        let answer = Answer::new("200 OK", "{\"manifests\":[").header("Content-Type", INDEX);
        Some(Answer { endless: true, ..answer })
    });
    ask(&address).fails(125, &["more than"]);
    let address = with(|path| {
        let answer = Answer::new("200 OK", "{}").header("Content-Type", INDEX);
        Some(answer.header("Link", format!("<{path}>; rel=\"next\"")))
    });
    ask(&address).fails(125, &["pages"]);
}
