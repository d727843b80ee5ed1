//! monopod as the first process of a machine: mounts what programs expect, loads modules, runs itself on the words that
//! the kernel passed on, and powers off.
//!
//! The kernel gives what stands after `--` on its command line to `/init` as arguments: they are an ordinary command
//! line of monopod, `run --rm oci-archive:/image.tar` say. The console gets `monopod: exit code N` at the end. Modules
//! that `/lib/modules` holds (`NAME.ko`, uncompressed, at any depth) are loaded in the order of their paths.
//!
//! Must not know: what the command does.

use crate::program::note;
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{WaitOptions, WaitStatus, wait};
use rustix::system::{RebootCommand, finit_module, reboot};
use std::ffi::{CString, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// True if this process is the first of a machine: process 1, called as `/init` or an `init` elsewhere, outside any
/// container (where another program mounted what is needed).
pub fn is_meant(words: &[OsString]) -> bool {
    let name = words.first().map(PathBuf::from).unwrap_or_default();
    std::process::id() == 1 && name.file_name().is_some_and(|n| n == "init")
}

/// Runs the machine. Returns only if it cannot be powered off.
pub fn main(words: &[OsString]) -> u8 {
    for (source, target, kind, flags, data) in MOUNTS {
        if let Err(error) = place(source, target, kind, *flags, data) {
            note(&format!("monopod: cannot mount {kind} on {target}: {error}"));
        }
    }
    if is_in_memory()
        && let Err(error) = place("tmpfs", "/var", "tmpfs", SHARED, "mode=0755")
    {
        note(&format!("monopod: cannot mount tmpfs on /var: {error}"));
    }
    delegate_controllers();
    load_modules();
    let code = run(&words[1..]);
    println!("monopod: exit code {code}");
    rustix::fs::sync();
    let error = reboot(RebootCommand::PowerOff).err();
    note(&format!("monopod: cannot power off: {}", error.map(|e| e.to_string()).unwrap_or_default()));
    code as u8
}

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const SHARED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Source, directory, file system, flags, options.
const MOUNTS: &[(&str, &str, &str, MountFlags, &str)] = &[
    ("proc", "/proc", "proc", PLAIN, ""),
    ("sysfs", "/sys", "sysfs", PLAIN, ""),
    ("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755"),
    ("devpts", "/dev/pts", "devpts", MountFlags::NOSUID.union(MountFlags::NOEXEC), "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "tmpfs", SHARED, "mode=1777"),
    ("tmpfs", "/run", "tmpfs", SHARED, "mode=0755"),
    ("tmpfs", "/tmp", "tmpfs", SHARED, "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", PLAIN, "nsdelegate"),
];

fn place(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(CWD, target, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    match mount(source, target, kind, flags, data.as_c_str()) {
        // The kernel mounted it before (CONFIG_DEVTMPFS_MOUNT).
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error),
    }
}

/// True if the root is the kernel's own ramfs or tmpfs (statfs(2)): ramfs has no attributes, which images need.
fn is_in_memory() -> bool {
    const RAMFS: u64 = 0x8584_58f6;
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs("/").is_ok_and(|root| [RAMFS, TMPFS].contains(&(root.f_type as u64)))
}

/// Lets the groups below the root have every controller there is.
fn delegate_controllers() {
    let root = Path::new("/sys/fs/cgroup");
    let Ok(controllers) = std::fs::read_to_string(root.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        if let Err(error) = std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")) {
            note(&format!("monopod: cannot delegate the controller {controller}: {error}"));
        }
    }
}

fn load_modules() {
    let mut found = Vec::new();
    collect_modules(Path::new("/lib/modules"), &mut found);
    found.sort();
    for path in found {
        let loaded =
            open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).and_then(|file| finit_module(file, c"", 0));
        match loaded {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => note(&format!("monopod: cannot load {path:?}: {error}")),
        }
    }
}

fn collect_modules(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_modules(&path, found),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e == "ko") => found.push(path),
            _ => {}
        }
    }
}

/// Runs monopod on `words`, and reaps whatever else ends meanwhile. Returns its exit code.
fn run(words: &[OsString]) -> i32 {
    // Images and containers are unpacked here: the directories a plain initramfs lacks.
    for directory in ["/var/lib", "/var/tmp"] {
        let _ = std::fs::create_dir_all(directory);
    }
    let _ = std::fs::set_permissions("/var/tmp", PermissionsExt::from_mode(0o1777));
    let started = sys::role::fork(|| {
        // The console is its terminal: interrupts from there reach it. One that is no terminal stays what it is.
        if rustix::process::setsid().is_ok() {
            let _ = rustix::process::ioctl_tiocsctty(std::io::stdin());
        }
        let error = Command::new(sys::role::executable()).args(words).env("HOME", "/").exec();
        note(&format!("monopod: cannot start: {error}"));
        125
    });
    let child = match started {
        Ok(child) => rustix::process::Pid::from_raw(child),
        Err(error) => {
            note(&format!("monopod: cannot start: {error}"));
            return 125;
        }
    };
    let mut code = 125;
    let mut ended = false;
    // After the command, what it left behind (monitors, cleanups) may finish; nobody is left when wait(2) says so.
    loop {
        let options = if ended { WaitOptions::NOHANG } else { WaitOptions::empty() };
        match wait(options) {
            Ok(Some((pid, status))) if Some(pid) == child => {
                code = exit_code(status);
                ended = true;
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return code,
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(125)
}
