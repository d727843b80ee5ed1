//! Other people's programs that tests meet: Debian's docker-registry, and skopeo. Where one is missing, the test says so.

use crate::home::Home;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A registry that goes with the test.
pub struct Registry {
    /// Host and port.
    pub address: String,
    child: Child,
}

impl Registry {
    /// Debian's docker-registry with its files in `home`; `http` is what else stands in that section of its
    /// configuration, `more` what else stands there. `None`, said loudly, where it is not installed.
    pub fn start(home: &Home, http: &str, more: &str) -> Option<Registry> {
        if !installed("docker-registry") {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        // What is said of the storage belongs to the section that is there already.
        let (storage, more) = more.strip_prefix("storage:\n").map_or(("", more), |storage| (storage, ""));
        let config = format!(
            "version: 0.1\nstorage:\n{storage}  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{http}{more}",
            home.path("registry").display()
        );
        let config = home.write("registry.yml", config.as_bytes());
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Registry { address, child: command.spawn().expect("docker-registry can be executed") };
        let end = Instant::now() + Duration::from_secs(40);
        while TcpStream::connect(&registry.address).is_err() {
            assert!(Instant::now() < end, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// True if the program is there; says loudly that the test is skipped otherwise.
pub fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).exists()));
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// Runs skopeo in `home`; gives what it prints.
#[track_caller]
pub fn skopeo(home: &Home, args: &[&str]) -> String {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "--tmpdir"])
        .arg(home.path(""))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("skopeo can be executed");
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The digest of the manifest that skopeo finds.
#[track_caller]
pub fn digest(home: &Home, reference: &str) -> String {
    let manifest = skopeo(home, &["inspect", "--raw", "--tls-verify=false", reference]);
    format!("sha256:{}", crate::image::sha256(manifest.as_bytes()))
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
