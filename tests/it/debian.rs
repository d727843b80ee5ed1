//! A real distribution's root file system, made by debootstrap, as root and as users without it.

use crate::home::{Home, Who, am_root};
use crate::image::{self, Image, Layer};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The archive of a minimal Debian: made once, kept among the build's files.
fn rootfs() -> Option<PathBuf> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian.tar");
    if kept.exists() {
        return Some(kept);
    }
    if !am_root() || Command::new("debootstrap").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no debootstrap");
        return None;
    }
    let script = "set -e; d=$(mktemp -d /var/tmp/monopod-it-debian.XXXXXX); trap 'rm -rf $d' EXIT; \
        debootstrap --variant=minbase bookworm $d $(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1) >&2; \
        tar -C $d --numeric-owner --sort=name --exclude='./dev/*' -cf $0.part .; mv $0.part $0";
    let done = Command::new("sh").args(["-c", script]).arg(&kept).status().ok()?.success();
    if !done {
        eprintln!("SKIPPED: debootstrap failed");
    }
    done.then_some(kept)
}

#[test]
fn a_debian_root_file_system() {
    let Some(rootfs) = rootfs() else { return };
    let layer = std::fs::read(rootfs).unwrap();
    let top = Layer::new().file("top", b"x", 0o644).done();
    let archive = image::archive(&image::oci(&[Image::of("localhost/debian", vec![layer, top])]));
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        let file = home.write("debian.tar", &archive);
        let reference = format!("oci-archive:{}", file.display());
        let script = "set -e; . /etc/os-release; echo $ID; dpkg -s libc6 | grep -c '^Status: install ok'; \
            stat -c '%U:%G %a' /etc/shadow /usr/bin/passwd; apt-get --version | head -1 | cut -d' ' -f1; \
            su -s /bin/sh -c 'echo as other' daemon || echo single";
        let out = home.run(&["run", "--rm", &reference, "sh", "-c", script]).code(0).out;
        let mut lines = out.lines();
        assert_eq!(lines.next(), Some("debian"), "{who:?}: {out}");
        assert_eq!(lines.next(), Some("1"));
        assert_eq!(lines.next(), Some(if who == Who::Single { "root:root 640" } else { "root:shadow 640" }), "{who:?}");
        assert_eq!(lines.next(), Some("root:root 4755"), "{who:?}");
        assert_eq!(lines.next(), Some("apt"));
    }
}
