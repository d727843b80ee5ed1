//! The two engines that are compared: how each is called, as root and as another user.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An engine with a root and a run root of its own.
pub struct Engine {
    /// The words before the verb.
    pub prefix: Vec<String>,
    /// The words that make the caller another user; empty for root.
    pub as_user: Vec<String>,
}

/// The user of the rootless rows.
const STRANGER: &str = "61233";

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| word.to_string()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Directories for an engine named `name` below `work`, owned by who calls it.
fn directories(work: &Path, name: &str, rootless: bool) -> [PathBuf; 4] {
    let paths = ["root", "run", "tmp", "home"].map(|part| work.join(name).join(part));
    for path in &paths {
        std::fs::create_dir_all(path).expect("own directory");
        if rootless {
            let id = STRANGER.parse().expect("a number");
            std::os::unix::fs::chown(path, Some(id), Some(id)).expect("root may chown");
        }
    }
    paths
}

fn user(home: &Path, run: &Path, rootless: bool) -> Vec<String> {
    if !rootless {
        return Vec::new();
    }
    let mut list = words(&["setpriv", "--reuid", STRANGER, "--regid", STRANGER, "--clear-groups", "env", "-i"]);
    list.extend([
        format!("HOME={}", text(home)),
        format!("XDG_RUNTIME_DIR={}", text(run)),
        "PATH=/usr/bin:/bin".into(),
    ]);
    list.extend(std::env::var("CONTAINERS_CONF").map(|path| format!("CONTAINERS_CONF={path}")));
    list
}

impl Engine {
    /// monopod, as a copy of `file` that every user can reach.
    pub fn monopod(file: &Path, work: &Path, rootless: bool) -> Engine {
        let [root, run, _, home] = directories(work, if rootless { "monopod-user" } else { "monopod" }, rootless);
        let copy = work.join("monopod.file");
        if !copy.exists() {
            std::fs::copy(file, &copy).expect("the file can be copied");
        }
        let prefix = vec![text(&copy), "--root".into(), text(&root), "--runroot".into(), text(&run)];
        Engine { prefix, as_user: user(&home, &run, rootless) }
    }

    /// Debian's podman with crun; none if they are not installed.
    pub fn podman(work: &Path, rootless: bool) -> Option<Engine> {
        for program in ["podman", "crun", "conmon"] {
            Command::new(program).arg("--version").stdout(Stdio::null()).status().ok()?;
        }
        let [root, run, tmp, home] = directories(work, if rootless { "podman-user" } else { "podman" }, rootless);
        let mut prefix = words(&["podman", "--root"]);
        prefix.extend([text(&root), "--runroot".into(), text(&run), "--tmpdir".into(), text(&tmp)]);
        prefix.extend(words(&["--runtime", "crun", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]));
        Some(Engine { prefix, as_user: user(&home, &run, rootless) })
    }

    /// The words of a verb with its arguments.
    pub fn verb(&self, args: &[&str]) -> Vec<String> {
        let mut list = self.prefix.clone();
        list.extend(words(args));
        list
    }

    /// Runs a verb that is not measured; gives its output.
    pub fn run(&self, args: &[&str]) -> Result<String, String> {
        let mut list = self.as_user.clone();
        list.extend(self.verb(args));
        let output = Command::new(&list[0]).args(&list[1..]).stdin(Stdio::null()).current_dir("/").output();
        let output = output.map_err(|e| format!("{}: {e}", list[0]))?;
        if !output.status.success() {
            return Err(format!("`{}`: {}", list.join(" "), String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nothing that runs may be left behind, whatever went wrong before.
        self.run(&["rm", "-f", "-a", "-t", "0"]).ok();
    }
}
