//! Pulls from a registry: Debian's docker-registry where it is installed, and one of our own that redirects, breaks off,
//! wants tokens and lies.

mod build;

use build::{Blobs, Image, Packing, Scratch, native};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use transfer::{Loaded, Options, Registry, fetch, source};

/// What was asked: the line, and the headers in lower case.
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);
type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server on a free port of the loopback address. An answer with `x-cut: N` breaks off after N bytes of its body.
fn serve(handler: Arc<Handler>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handler = handler.clone();
            std::thread::spawn(move || answer(stream, &*handler));
        }
    });
    address
}

fn answer(stream: TcpStream, handler: &Handler) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() || !line.starts_with("GET ") {
        return; // An attempt at TLS, for one.
    }
    let path = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let (status, extra, body) = handler(&Request { path, headers });
    let cut = extra.iter().find(|(name, _)| *name == "x-cut").map_or(body.len(), |(_, at)| at.parse().unwrap());
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in &extra {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = stream;
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&body[..cut]);
}

/// The documents and blobs of a registry by path.
fn contents(image: &Image) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut blobs = Blobs::default();
    let manifest = image.put(&mut blobs);
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    let mut paths = BTreeMap::new();
    for (found, bytes) in &blobs.0 {
        let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
        if found.to_string() == digest {
            for reference in ["1", digest.as_str()] {
                paths.insert(format!("/v2/a/b/manifests/{reference}"), (kind.clone(), bytes.clone()));
            }
        } else {
            paths.insert(format!("/v2/a/b/blobs/{found}"), ("application/octet-stream".into(), bytes.clone()));
        }
    }
    paths
}

fn found(paths: &BTreeMap<String, (String, Vec<u8>)>, request: &Request) -> Answer {
    if request.path == "/v2/" {
        return (200, vec![], vec![]);
    }
    match paths.get(&request.path) {
        Some((kind, bytes)) => (200, vec![("Content-Type", kind.clone())], bytes.clone()),
        None => (404, vec![], br#"{"errors":[{"code":"UNKNOWN","message":"no such thing"}]}"#.to_vec()),
    }
}

fn pull(scratch: &Scratch, name: &str, registry: Registry) -> transfer::Result<Loaded> {
    let store = scratch.store();
    fetch(&store, &source::parse(name)?, &Options { registry, ..Options::default() }, &())
}

fn image() -> Image {
    let long = "text ".repeat(20_000);
    Image::new(&["one", "two", &long, "four", "five"], Packing::Plain)
}

#[test]
fn a_pull_and_the_same_again() {
    let paths = contents(&image());
    let address = serve(Arc::new(move |request| found(&paths, request)));
    let scratch = Scratch::new();
    let name = format!("docker://{address}/a/b:1");
    let loaded = pull(&scratch, &name, Registry::default()).unwrap();
    assert_eq!(loaded, Loaded { id: image().id(), names: vec![format!("{address}/a/b:1")], known: false });
    assert!(pull(&scratch, &name, Registry::default()).unwrap().known);
    let error = pull(&scratch, &format!("docker://{address}/a/b:none"), Registry::default()).unwrap_err().to_string();
    assert!(error.contains("manifest unknown") && error.contains("/a/b:none"), "{error}");
}

#[test]
fn broken_connections_are_resumed() {
    for ranges in [true, false] {
        let paths = contents(&image());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let address = serve(Arc::new(move |request| {
            let (status, mut headers, mut body) = found(&paths, request);
            let total = body.len();
            let start = match request.headers.get("range") {
                Some(range) => {
                    log.lock().unwrap().push(range.clone());
                    range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
                }
                None => 0,
            };
            if status != 200 || total < 50_000 {
                return (status, headers, body);
            }
            if ranges && start > 0 {
                headers.push(("Content-Range", format!("bytes {start}-{}/{total}", total - 1)));
                body.drain(..start);
                return (206, headers, body);
            }
            if start == 0 {
                headers.push(("x-cut", "30000".into()));
            }
            (status, headers, body)
        }));
        let scratch = Scratch::new();
        let loaded = pull(&scratch, &format!("docker://{address}/a/b:1"), Registry::default());
        assert_eq!(loaded.unwrap().id, image().id(), "ranges {ranges}");
        assert_eq!(*asked.lock().unwrap(), ["bytes=30000-"], "ranges {ranges}");
    }
}

#[test]
fn tokens_are_fetched_and_credentials_stay_with_their_host() {
    let paths = contents(&image());
    let elsewhere: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let log = elsewhere.clone();
    let blobs = paths.clone();
    // Blobs are on another host, which must not see the token.
    let storage = serve(Arc::new(move |request| {
        log.lock().unwrap().push(request.headers.get("authorization").cloned());
        found(&blobs, request)
    }));
    let own: Arc<Mutex<String>> = Arc::default();
    let realm = own.clone();
    let address = serve(Arc::new(move |request| {
        let authorization = request.headers.get("authorization").map_or("", String::as_str);
        if request.path.starts_with("/token?") {
            let expected = "/token?service=this&scope=repository:a/b:pull";
            assert_eq!(request.path, expected);
            // user:secret
            return match authorization {
                "Basic dXNlcjpzZWNyZXQ=" => (200, vec![], br#"{"token":"let.me-in"}"#.to_vec()),
                _ => (401, vec![], vec![]),
            };
        }
        if authorization != "Bearer let.me-in" {
            let asked = format!(r#"Bearer realm="http://{}/token",service="this""#, realm.lock().unwrap());
            return (401, vec![("WWW-Authenticate", asked)], vec![]);
        }
        if request.path.contains("/blobs/") {
            return (307, vec![("Location", format!("http://{storage}{}", request.path))], vec![]);
        }
        found(&paths, request)
    }));
    *own.lock().unwrap() = address.clone();
    let name = format!("docker://{address}/a/b:1");
    let scratch = Scratch::new();
    let error = pull(&scratch, &name, Registry::default()).unwrap_err().to_string();
    assert!(error.contains("unauthorized") && error.contains("without credentials"), "{error}");

    let auth = format!(r#"{{"auths":{{"{address}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
    let files = vec![scratch.path("missing.json"), scratch.write("auth.json", auth.as_bytes())];
    let loaded = pull(&scratch, &name, Registry { auth_files: files, ..Registry::default() });
    assert_eq!(loaded.unwrap().id, image().id());
    let seen = elsewhere.lock().unwrap().clone();
    assert!(seen.len() >= 5 && seen.iter().all(Option::is_none), "{seen:?}");

    let scratch = Scratch::new();
    let credentials = Some(("user".into(), "secret".into()));
    assert_eq!(pull(&scratch, &name, Registry { credentials, ..Registry::default() }).unwrap().id, image().id());
}

#[test]
fn lies_are_refused() {
    let image = image();
    let real = contents(&image);
    for path in real.keys() {
        let mut paths = real.clone();
        let bytes = &mut paths.get_mut(path).unwrap().1;
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        let address = serve(Arc::new(move |request| found(&paths, request)));
        let scratch = Scratch::new();
        let reference = path.rsplit('/').next().unwrap();
        let name = match path.contains("/manifests/sha256:") {
            true => format!("docker://{address}/a/b@{reference}"),
            false => format!("docker://{address}/a/b:1"),
        };
        pull(&scratch, &name, Registry::default()).expect_err(path);
        assert_eq!(scratch.left(), Vec::<std::path::PathBuf>::new(), "{path}");
        assert_eq!(scratch.store().images().unwrap(), []);
    }
}

#[test]
fn answers_that_never_end_are_cut() {
    let address = serve(Arc::new(|request| match request.path.as_str() {
        "/v2/" => (200, vec![], vec![]),
        _ => (200, vec![], vec![b' '; 5 << 20]),
    }));
    let error = pull(&Scratch::new(), &format!("docker://{address}/a/b:1"), Registry::default()).unwrap_err();
    assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
}

#[test]
fn a_platform_is_chosen() {
    let other = Image { architecture: "s390x", ..Image::new(&["other"], Packing::Gzip) };
    let mut paths = BTreeMap::new();
    let mut list = Vec::new();
    for image in [&other, &image()] {
        let mut descriptor = image.put(&mut Blobs::default());
        descriptor["platform"] = serde_json::json!({"os": "linux", "architecture": image.architecture});
        list.push(descriptor);
        paths.extend(contents(image));
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": list});
    let kind = "application/vnd.docker.distribution.manifest.list.v2+json".to_owned();
    paths.insert("/v2/a/b/manifests/1".into(), (kind, serde_json::to_vec(&index).unwrap()));
    let address = serve(Arc::new(move |request| found(&paths, request)));
    let on = |platform: &str| {
        let scratch = Scratch::new();
        let options = Options { platform: Some(platform.parse().unwrap()), ..Options::default() };
        let source = source::parse(&format!("docker://{address}/a/b:1")).unwrap();
        fetch(&scratch.store(), &source, &options, &()).map(|loaded| loaded.id)
    };
    assert_eq!(on("linux/s390x").unwrap(), other.id());
    assert_eq!(on(&format!("linux/{}", native())).unwrap(), image().id());
    assert!(on("linux/mips").unwrap_err().to_string().contains("there is linux/s390x"));
}

/// Debian's docker-registry, ended with the test.
struct Debian(std::process::Child);

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn debians_registry() {
    let program = "/usr/bin/docker-registry";
    if !std::path::Path::new(program).exists() {
        eprintln!("SKIPPED: {program} is not installed (apt install docker-registry)");
        return;
    }
    let scratch = Scratch::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        scratch.path("registry").display()
    );
    let config = scratch.write("config.yml", config.as_bytes());
    let child = std::process::Command::new(program)
        .arg("serve")
        .arg(config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _running = Debian(child);
    for _ in 0..200 {
        if TcpStream::connect(&address).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let image = image();
    for (path, (kind, bytes)) in contents(&image) {
        match path.contains("/manifests/") {
            true => {}
            false => {
                let digest = path.rsplit('/').next().unwrap().to_owned();
                let location = request(&address, "POST", "/v2/a/b/blobs/uploads/", "", &[]);
                let separator = if location.contains('?') { '&' } else { '?' };
                request(&address, "PUT", &format!("{location}{separator}digest={digest}"), &kind, &bytes);
            }
        }
    }
    let (kind, manifest) = &contents(&image)["/v2/a/b/manifests/1"];
    request(&address, "PUT", "/v2/a/b/manifests/1", kind, manifest);
    let loaded = pull(&scratch, &format!("docker://{address}/a/b:1"), Registry::default()).unwrap();
    assert_eq!(loaded.id, image.id());
    assert!(pull(&scratch, &format!("docker://{address}/a/b:2"), Registry::default()).is_err());
}

/// Sends a request; the path of the answer's `Location` is returned.
fn request(address: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    let location = answer.lines().find_map(|l| l.strip_prefix("Location: ")).unwrap_or("");
    let location = location.split_once("://").map_or(location, |(_, rest)| rest);
    location.find('/').map_or(String::new(), |at| location[at..].trim().to_owned())
}
