//! Whether the kernel can mount overlay over a directory, found out by doing it where nobody sees it.

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Tries an overlay in `scratch`, an empty directory of the file system in question: two lower directories, upper and
/// work are made in it, mounted detached, and a file of the lower one is removed and a directory replaced through the mount.
/// The scratch directory is left with what was made; the mount is gone.
pub fn probe(scratch: &Path, user_xattr: bool) -> rustix::io::Result<()> {
    let directory = fs::open(scratch, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in ["a", "b", "b/directory", "upper", "work", "merged"] {
        fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    drop(fs::openat(&directory, "b/file", flags, Mode::from_raw_mode(0o644))?);
    match detached(scratch, user_xattr) {
        Ok(root) => exercise(&root),
        // Before Linux 5.2 there is no fsopen(2): mount in a namespace that dies with its thread.
        Err(Errno::NOSYS) => {
            let scratch = scratch.to_owned();
            std::thread::spawn(move || classic(&scratch, user_xattr)).join().unwrap_or(Err(Errno::IO))
        }
        Err(errno) => Err(errno),
    }
}

/// Removes and replaces through the mount: both need marks (whiteout, opaque) on the upper file system.
fn exercise(root: &OwnedFd) -> rustix::io::Result<()> {
    fs::unlinkat(root, "file", AtFlags::empty())?;
    if fs::statat(root, "file", AtFlags::empty()).is_ok() {
        return Err(Errno::IO);
    }
    fs::unlinkat(root, "directory", AtFlags::REMOVEDIR)?;
    fs::mkdirat(root, "directory", Mode::from_raw_mode(0o755))
}

fn detached(scratch: &Path, user_xattr: bool) -> rustix::io::Result<OwnedFd> {
    let context = mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let open = |name: &str| fs::open(scratch.join(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    // A value has at most 255 bytes: long paths go by way of procfs.
    let (lower, upper, work);
    let short = |held: &OwnedFd, name: &str| {
        let path = scratch.join(name);
        if path.as_os_str().len() < 100 && !path.as_os_str().as_encoded_bytes().contains(&b':') {
            path.into_os_string()
        } else {
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(held)).into()
        }
    };
    (lower, upper, work) = ([open("a")?, open("b")?], open("upper")?, open("work")?);
    let mut lowers = short(&lower[0], "a");
    lowers.push(":");
    lowers.push(short(&lower[1], "b"));
    mount::fsconfig_set_string(context.as_fd(), "lowerdir", lowers.as_os_str())?;
    mount::fsconfig_set_string(context.as_fd(), "upperdir", short(&upper, "upper").as_os_str())?;
    mount::fsconfig_set_string(context.as_fd(), "workdir", short(&work, "work").as_os_str())?;
    if user_xattr {
        mount::fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    mount::fsconfig_create(context.as_fd())?;
    mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn classic(scratch: &Path, user_xattr: bool) -> rustix::io::Result<()> {
    let flags = UnshareFlags::FS | UnshareFlags::NEWNS;
    // SAFETY: only this thread's view of mounts and working directory changes, and the thread ends with this function.
    unsafe { rustix::thread::unshare_unsafe(flags)? };
    mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    rustix::process::chdir(scratch)?;
    let options = format!("lowerdir=a:b,upperdir=upper,workdir=work{}", if user_xattr { ",userxattr" } else { "" });
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount::mount("overlay", "merged", "overlay", MountFlags::empty(), options.as_c_str())?;
    exercise(&fs::open("merged", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
