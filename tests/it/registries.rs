//! How registries are reached: logins and where they are kept, certificates, mirrors and short names, proxies.

use crate::home::{Home, Output};
use crate::image::{self, Image};
use crate::peer::{self, Registry, text};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// `me:secret:1`, as htpasswd writes it.
const PASSWORDS: &str = "me:$2b$04$Hk1gtbpp9Gp7hMFGmapEw.wf2WL1U0YSuISfBGHTwRIeRa.j9SxWe\n";

/// A registry that wants a password, and the image `busybox` to be pushed there.
fn closed() -> Option<(Home, Registry)> {
    let home = Home::new();
    let file = home.write("passwords", PASSWORDS.as_bytes());
    let auth = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", file.display());
    let registry = Registry::start(&home, "", &auth)?;
    let archive = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("localhost/busybox:1")])));
    home.run(&["load", "-q", "-i", text(&archive)]).ok();
    // Nothing that the machine's user is logged in to.
    let file = home.path("auth.json");
    Some((home.variable("REGISTRY_AUTH_FILE", text(&file)), registry))
}

#[test]
fn log_in_push_pull_and_out() {
    let Some((home, registry)) = closed() else { return };
    let (address, auth) = (registry.address.as_str(), home.path("auth.json"));
    let name = format!("{address}/a/busybox:1");
    home.run(&["push", "-q", "busybox:1", &name]).fails(125, &["unauthorized"]);
    home.run(&["login", "-u", "me", "-p", "wrong", address]).fails(125, &[": invalid username/password"]);
    assert!(!auth.exists(), "a login that failed is not kept");
    home.run(&["login", "--get-login", address]).fails(125, &["not logged into"]);
    home.run(&["login", "--password-stdin", address]).fails(125, &["--username"]);

    let said = home.feed(&["login", "-v", "-u", "me", "--password-stdin", address], b"secret:1\n").ok();
    assert_eq!(said, format!("Used: {}\nLogin Succeeded!", auth.display()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&auth.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(home.run(&["login", "--get-login", address]).quiet(), "me");
    assert!(home.run(&["login", address]).ok().contains("Already logged in"));
    home.run(&["push", "-q", "busybox:1", &name]).quiet();
    home.run(&["rmi", &name]).fails(1, &["image not known"]);
    home.run(&["pull", "-q", &name]).ok();
    if peer::installed("skopeo") {
        let auth = ["--authfile", text(&auth)];
        peer::skopeo(&home, &[&["inspect"], &auth[..], &["--tls-verify=false", &format!("docker://{name}")]].concat());
    }
    home.run(&["pull", "-q", "--creds", "me:wrong", &name]).fails(125, &[": unauthorized: authentication required"]);

    home.run(&["logout", address]).ok();
    home.run(&["logout", address]).fails(125, &["not logged into"]);
    home.run(&["pull", "-q", &name]).fails(125, &["unauthorized"]);
    // The password is a secret.
    home.feed(&["secret", "create", "me", "-"], b"secret:1\n").ok();
    home.run(&["login", "--secret", "me", "-p", "x", address]).fails(125, &["--secret"]);
    home.run(&["login", "--secret", "nobody", address]).fails(125, &["nobody"]);
    home.run(&["login", "--secret", "me", "-u", "you", address]).fails(125, &["invalid username/password"]);
    home.run(&["login", "--secret", "me", address]).ok();
    assert_eq!(home.run(&["login", "--get-login", address]).quiet(), "me");
    home.run(&["logout", address]).ok();
    // Kept as Docker keeps it, and found there.
    let docker = home.path("config.json");
    home.run(&["login", "--compat-auth-file", text(&docker), "-u", "me", "-p", "secret:1", address]).ok();
    home.run(&["pull", "-q", "--authfile", text(&docker), &name]).ok();
    home.run(&["logout", "--all", "--compat-auth-file", text(&docker)]).ok();
    home.run(&["pull", "-q", "--authfile", text(&docker), &name]).fails(125, &["unauthorized"]);
}

#[test]
fn a_program_keeps_the_login() {
    let Some((home, registry)) = closed() else { return };
    let kept = home.path("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{0};;\nget) [ -e {0} ] && cat {0} || {{ echo credentials not found in native keychain; exit 1; }};;\nerase) rm {0};;\nesac\n",
        kept.display()
    );
    std::fs::create_dir(home.path("bin")).unwrap();
    let program = home.write("bin/docker-credential-tests", script.as_bytes());
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let home = home.variable("PATH", &path);
    home.write("auth.json", format!(r#"{{"credHelpers":{{"{}":"tests"}}}}"#, registry.address).as_bytes());
    let name = format!("{}/busybox:1", registry.address);
    home.run(&["push", "-q", "busybox:1", &name]).fails(125, &["unauthorized"]);
    home.run(&["login", "-u", "me", "-p", "secret:1", &registry.address]).ok();
    assert!(std::fs::read_to_string(&kept).unwrap().contains("secret:1"));
    assert!(!std::fs::read_to_string(home.path("auth.json")).unwrap().contains("auths"));
    home.run(&["push", "-q", "busybox:1", &name]).quiet();
    home.run(&["logout", &registry.address]).ok();
    assert!(!kept.exists());
    home.write("bin/docker-credential-tests", b"#!/bin/sh\necho broken; exit 3\n");
    home.run(&["pull", "-q", &name]).fails(125, &["docker-credential-tests", "broken"]);
}

/// An authority, a certificate for 127.0.0.1 and one for clients, made by openssl in `home`.
fn certificates(home: &Home) -> bool {
    if !peer::installed("openssl") {
        return false;
    }
    let script = "set -e; cd $1
        for k in ca server client; do openssl ecparam -genkey -name prime256v1 -noout -out $k.key; done
        openssl req -x509 -new -key ca.key -subj /CN=tests -days 2 -out ca.crt
        for k in server client; do
            openssl req -new -key $k.key -subj /CN=$k -out $k.csr
            printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >ext
            openssl x509 -req -in $k.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $k.crt
        done";
    let output = Command::new("sh").args(["-c", script, "sh", text(&home.path(""))]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn certificates_are_checked_and_shown() {
    let home = Home::new();
    if !certificates(&home) {
        return;
    }
    let path = |name: &str| home.path(name).display().to_string();
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n    clientcas:\n      - {}\n",
        path("server.crt"),
        path("server.key"),
        path("ca.crt")
    );
    let Some(registry) = Registry::start(&home, &tls, "") else { return };
    let archive = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("localhost/busybox:1")])));
    home.run(&["load", "-q", "-i", text(&archive)]).ok();
    let name = format!("{}/busybox:1", registry.address);
    let directory = home.path("certs");
    std::fs::create_dir(&directory).unwrap();
    let push = |flags: &[&str]| home.run(&[&["push", "-q", "--retry", "0"], flags, &["busybox:1", &name]].concat());
    push(&[]).fails(125, &["certificate"]);
    let flags = ["--cert-dir", text(&directory)];
    std::fs::copy(home.path("ca.crt"), directory.join("ca.crt")).unwrap();
    // It is believed now, and does not believe us.
    push(&flags).fails(125, &[&registry.address]);
    std::fs::copy(home.path("client.crt"), directory.join("client.cert")).unwrap();
    push(&flags).fails(125, &["client.key"]);
    std::fs::copy(home.path("client.key"), directory.join("client.key")).unwrap();
    push(&flags).quiet();
    home.run(&["pull", "-q", "--cert-dir", text(&directory), &name]).ok();
    std::fs::write(directory.join("bad.crt"), "nothing").unwrap();
    push(&flags).fails(125, &["bad.crt"]);
}

#[test]
fn mirrors_short_names_and_blocked_registries() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let archive = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("localhost/busybox:1")])));
    let to = format!("docker://{}/mirror/tool:1", registry.address);
    home.run(&["copy", "-q", &format!("oci-archive:{}", archive.display()), &to]).quiet();
    let config = format!(
        "unqualified-search-registries = [\"somewhere.invalid\"]\n[[registry]]\nlocation = \"somewhere.invalid\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:1\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}/mirror\"\ninsecure = true\n\
         [[registry]]\nlocation = \"bad.invalid\"\nblocked = true\n\
         [aliases]\n\"nick\" = \"somewhere.invalid/tool\"\n",
        registry.address
    );
    let file = home.write("registries.conf", config.as_bytes());
    let home = home.variable("CONTAINERS_REGISTRIES_CONF", text(&file));
    // The second mirror has it, and the image gets the name that was asked for.
    home.run(&["pull", "-q", "--retry", "0", "somewhere.invalid/tool:1"]).ok();
    let names = |home: &Home| home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).quiet();
    assert_eq!(names(&home), "somewhere.invalid/tool:1");
    home.run(&["rmi", "somewhere.invalid/tool:1"]).ok();
    for name in ["tool:1", "nick:1"] {
        assert_eq!(home.run(&["run", "--rm", name, "echo", "fine"]).ok(), "fine", "{name}");
        assert_eq!(names(&home), "somewhere.invalid/tool:1");
        home.run(&["rmi", "somewhere.invalid/tool:1"]).ok();
    }
    let said =
        home.run(&["pull", "-q", "--retry", "0", "somewhere.invalid/other:1"]).fails(125, &["somewhere.invalid"]);
    assert!(!said.err.contains(&registry.address), "the registry itself is to be blamed: {}", said.err);
    home.run(&["pull", "-q", "bad.invalid/x"]).fails(125, &["blocked"]);
    home.run(&["pull", "-q", "--all-tags", &format!("{}/mirror/tool", registry.address)]).ok();
    assert_eq!(names(&home), format!("{}/mirror/tool:1", registry.address));
    home.write("registries.conf", b"unqualified-search-registries = [\"a.invalid\", \"b.invalid\"]");
    home.run(&["pull", "-q", "tool"]).fails(125, &["short-name", "a.invalid, b.invalid"]);
    home.write("registries.conf", b"nonsense");
    home.run(&["pull", "-q", "tool"]).fails(125, &["registries.conf"]);
}

#[test]
fn authorities_that_a_variable_names() {
    let home = Home::new();
    if !certificates(&home) {
        return;
    }
    let path = |name: &str| home.path(name).display().to_string();
    let tls = format!("  tls:\n    certificate: {}\n    key: {}\n", path("server.crt"), path("server.key"));
    let Some(registry) = Registry::start(&home, &tls, "") else { return };
    home.load();
    let name = format!("{}/busybox:1", registry.address);
    let push = ["push", "-q", "--retry", "0", "busybox", &name];
    home.run(&push).fails(125, &["certificate"]);
    let authority = path("ca.crt");
    let home = home.variable("SSL_CERT_FILE", &authority);
    home.run(&push).quiet();
    home.run(&["pull", "-q", &name]).ok();
}

/// A proxy through which everything goes to `to`; and the first lines of what it was asked.
fn proxy(to: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, to) = (Arc::new(Mutex::new(Vec::new())), to.to_owned());
    let log = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, to) = (log.clone(), to.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone()?);
                let mut line = String::new();
                reader.read_line(&mut line)?;
                log.lock().unwrap().push(line.trim_end().to_owned());
                while line.trim_end() != "" {
                    line.clear();
                    reader.read_line(&mut line)?;
                }
                let (mut back, mut there) = (stream, TcpStream::connect(to)?);
                back.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                let mut from = there.try_clone()?;
                let backward = std::thread::spawn(move || {
                    let done = std::io::copy(&mut from, &mut back);
                    back.shutdown(std::net::Shutdown::Both).ok();
                    done
                });
                std::io::copy(&mut reader, &mut there)?;
                there.shutdown(std::net::Shutdown::Both).ok();
                backward.join().ok();
                Ok::<_, std::io::Error>(())
            });
        }
    });
    (address, asked)
}

#[test]
fn proxies_and_those_who_are_spoken_to_directly() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let (address, asked) = proxy(&registry.address);
    home.load();
    let name = "registry.invalid:5000/app:1";
    let mut home = home;
    for variable in ["HTTP_PROXY", "HTTPS_PROXY"] {
        home = home.variable(variable, &address);
    }
    let through = |args: &[&str], none: &str| {
        let mut command = home.command(args);
        command.env("NO_PROXY", none).stdin(std::process::Stdio::null());
        Output::of(command)
    };
    through(&["push", "-q", "--tls-verify=false", "busybox", name], "other.invalid").quiet();
    let pull = ["pull", "-q", "--retry", "0", "--tls-verify=false", name];
    through(&pull, "valid,registry.invalid:5001,10.0.0.0/8").ok();
    let seen = asked.lock().unwrap().len();
    assert!(seen > 0 && asked.lock().unwrap().iter().all(|line| line == "CONNECT registry.invalid:5000 HTTP/1.1"));
    // Without it nobody knows where that is.
    for none in ["registry.invalid", "x, .invalid", "*.invalid", "registry.invalid:5000", "invalid", "*"] {
        through(&pull, none).fails(125, &["registry.invalid:5000"]);
    }
    assert_eq!(asked.lock().unwrap().len(), seen);
    // What is on this machine never goes through one.
    through(&["push", "-q", "busybox", &format!("{}/app:2", registry.address)], "").quiet();
    assert_eq!(asked.lock().unwrap().len(), seen);
}
