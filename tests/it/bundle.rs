//! A bundle and a runtime with state of its own, for tests of the runtime's command line.

use crate::home::{Home, am_root};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A bundle with busybox, and the runtime's state beside it.
pub struct Bench {
    pub home: Home,
    /// The path of the container's cgroup.
    pub cgroup: String,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Fails the test unless it succeeded; gives what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Fails the test unless it ended with `code`, and said `words` in an error.
    #[track_caller]
    pub fn fails(self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(words) && self.err.contains("level=error"), "no {words:?} in {self:?}");
    }
}

impl Bench {
    /// `None`, said loudly, without root.
    pub fn new() -> Option<Bench> {
        if !am_root() {
            return None;
        }
        let home = Home::new();
        let name = home.directory.file_name().unwrap().to_str().unwrap().to_owned();
        std::os::unix::fs::symlink("monopod", home.path("runc")).unwrap();
        let root = home.path("bundle/rootfs");
        for directory in ["bin", "dev", "proc", "sys", "etc", "tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in
            ["sh", "sleep", "echo", "cat", "id", "ls", "test", "tty", "stty", "env", "pwd", "grep", "kill", "true"]
        {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        Some(Bench { home, cgroup: format!("/{name}") })
    }

    /// Writes the specification: `script` by a shell, with `change` made to it.
    pub fn specify(&self, script: &str, change: impl FnOnce(&mut Value)) {
        let bundle = self.home.path("bundle");
        let _ = fs::remove_file(bundle.join("config.json"));
        self.command(&["spec", "--bundle", bundle.to_str().unwrap()]).status().unwrap();
        let text = fs::read(bundle.join("config.json")).unwrap();
        let mut spec: Value = serde_json::from_slice(&text).unwrap();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["root"]["readonly"] = false.into();
        spec["linux"]["cgroupsPath"] = self.cgroup.as_str().into();
        change(&mut spec);
        fs::write(bundle.join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    }

    /// A command of the runtime, with state of its own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.home.path("runc"));
        command.arg("--root").arg(self.home.path("state")).args(words).current_dir(self.home.path("bundle"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs it; what containers that stay write is found in the file `out`.
    pub fn run(&self, words: &[&str]) -> Said {
        let stays = matches!(words.first(), Some(&"create")) || words.contains(&"-d");
        let mut command = self.command(words);
        let output = if stays {
            // Not pipes: they would be open as long as the container.
            let file = |name| fs::File::options().append(true).create(true).open(self.home.path(name)).unwrap();
            let said = self.home.path("said");
            let _ = fs::remove_file(&said);
            let status = command.stdout(file("out")).stderr(file("said")).status().unwrap();
            std::process::Output { status, stdout: Vec::new(), stderr: fs::read(said).unwrap() }
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or_else(|| 1000 + output.status.signal().unwrap_or(0));
        Said { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// What `state` prints.
    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.run(&["state", id]).ok()).unwrap()
    }

    /// Waits until the container has this status.
    pub fn until(&self, id: &str, status: &str) {
        self.home.until(&format!("{id} is {status}"), || self.state(id)["status"] == status);
    }

    /// The directories of the container's cgroup.
    pub fn groups(&self) -> Vec<PathBuf> {
        self.groups_at(&self.cgroup)
    }

    /// Those of the cgroup `path`, from the hierarchies' roots.
    pub fn groups_at(&self, path: &str) -> Vec<PathBuf> {
        let own = |root: PathBuf| Some(root.join(&path[1..])).filter(|path| path.is_dir());
        let below = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        below.chain([PathBuf::from("/sys/fs/cgroup")]).filter_map(own).collect()
    }
}

impl Drop for Bench {
    /// A container that a failed test leaves is not the home's to find.
    fn drop(&mut self) {
        let listed = self.command(&["list", "-q"]).output().map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&listed).lines() {
            self.command(&["delete", "--force", id]).status().ok();
        }
    }
}
