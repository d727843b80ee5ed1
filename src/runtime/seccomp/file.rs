//! Profile files: the format of `--security-opt seccomp=FILE`, which Docker and Podman share.
//!
//! It is the OCI specification's, with rules that count only for some capabilities, architectures or kernels (`includes`,
//! `excludes`), a map of an architecture to those whose programs run on it too (`archMap`), and errnos by name.

use super::architecture::Architecture;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;
use std::path::PathBuf;

/// A profile file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not the format.
    #[error("seccomp profile: {0}")]
    Json(#[from] serde_json::Error),
    /// Two ways of saying one thing.
    #[error("seccomp profile: both {0:?} and {1:?} are given, use either")]
    Both(&'static str, &'static str),
    /// A name of an errno that Linux does not have.
    #[error("seccomp profile: unknown errno {0:?}")]
    Errno(String),
    /// Not `MAJOR.MINOR`.
    #[error("seccomp profile: invalid minKernel {0:?}, expected MAJOR.MINOR")]
    Kernel(String),
}

/// Reads a profile file for a process whose bounding set is `capabilities`, on a kernel of version `kernel` (major, minor).
pub fn parse(
    json: &[u8],
    capabilities: u64,
    architecture: Architecture,
    kernel: (u32, u32),
) -> Result<LinuxSeccomp, FileError> {
    let file: File = serde_json::from_slice(json)?;
    let host = Host { capabilities, architecture: architecture.profile_name(), kernel };
    let mut profile = LinuxSeccomp::default();
    let mut architectures = file.architectures.unwrap_or_default();
    if let Some(map) = file.arch_map.filter(|map| !map.is_empty()) {
        if !architectures.is_empty() {
            return Err(FileError::Both("architectures", "archMap"));
        }
        if let Some(entry) = map.into_iter().find(|entry| entry.architecture == architecture.to_oci()) {
            architectures.push(entry.architecture);
            architectures.extend(entry.sub_architectures.unwrap_or_default());
        }
    }
    let mut rules = Vec::new();
    for call in file.syscalls.unwrap_or_default() {
        let names = match (call.name.filter(|n| !n.is_empty()), call.names.filter(|n| !n.is_empty())) {
            (Some(_), Some(_)) => return Err(FileError::Both("name", "names")),
            (Some(name), None) => vec![name],
            (None, names) => names.unwrap_or_default(),
        };
        let errno = errno(call.errno, call.errno_ret)?;
        if !call.includes.unwrap_or_default().holds(&host)? || call.excludes.unwrap_or_default().touches(&host)? {
            continue;
        }
        let mut rule = LinuxSyscall::default();
        rule.set_names(names).set_action(call.action).set_errno_ret(errno);
        rule.set_args(call.args.filter(|arguments| !arguments.is_empty()));
        rules.push(rule);
    }
    profile
        .set_default_action(file.default_action)
        .set_default_errno_ret(errno(file.default_errno, file.default_errno_ret)?)
        .set_architectures(Some(architectures))
        .set_flags(file.flags)
        .set_listener_path(file.listener_path)
        .set_listener_metadata(file.listener_metadata)
        .set_syscalls(Some(rules));
    Ok(profile)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<Family>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Scope>,
    excludes: Option<Scope>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Scope {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

struct Host {
    capabilities: u64,
    architecture: &'static str,
    kernel: (u32, u32),
}

impl Host {
    fn has(&self, capability: &str) -> bool {
        types::capability::number(capability).is_some_and(|number| self.capabilities >> number & 1 == 1)
    }
}

impl Scope {
    /// All that is listed must be so: every capability, one of the architectures, the kernel at least that.
    fn holds(&self, host: &Host) -> Result<bool, FileError> {
        let arches = self.arches.as_deref().unwrap_or_default();
        Ok(self.caps.iter().flatten().all(|capability| host.has(capability))
            && (arches.is_empty() || arches.iter().any(|arch| arch == host.architecture))
            && self.is_old_enough(host)?.unwrap_or(true))
    }

    /// Any one of the listed things is so.
    fn touches(&self, host: &Host) -> Result<bool, FileError> {
        Ok(self.caps.iter().flatten().any(|capability| host.has(capability))
            || self.arches.iter().flatten().any(|arch| arch == host.architecture)
            || self.is_old_enough(host)?.unwrap_or(false))
    }

    fn is_old_enough(&self, host: &Host) -> Result<Option<bool>, FileError> {
        let Some(text) = self.min_kernel.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let version = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        Ok(Some(host.kernel >= version.ok_or_else(|| FileError::Kernel(text.into()))?))
    }
}

/// A name or a number as text comes before the plain number.
fn errno(name: Option<String>, number: Option<u32>) -> Result<Option<u32>, FileError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(number) };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let synonym = match name.as_str() {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        other => other,
    };
    let at = ERRNOS.split_ascii_whitespace().position(|known| known == synonym && known != "-");
    Ok(Some(at.ok_or(FileError::Errno(name))? as u32 + 1))
}

/// From 1 on (asm-generic/errno.h); a hyphen where there is none.
const ERRNOS: &str = "
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
    EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM
    ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG
    EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET
    ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG
    ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
    EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
    EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN
    ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL
    EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
    ENOTRECOVERABLE ERFKILL EHWPOISON";

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
            {"name": "chroot", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "errnoRet": 9, "excludes": {"caps": ["CAP_SYS_PACCT"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {"minKernel": "4.8"}},
            {"names": ["breakpoint"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}}
        ]}"#;

    fn names(profile: &LinuxSeccomp) -> Vec<&str> {
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names()).map(String::as_str).collect()
    }

    #[test]
    fn rules_count_where_they_say() {
        let profile = parse(PROFILE.as_bytes(), 0, Architecture::X86_64, (4, 7)).unwrap();
        assert_eq!(names(&profile), ["read", "write", "acct"]);
        assert_eq!(profile.default_errno_ret(), Some(38));
        assert_eq!(profile.syscalls().as_ref().unwrap()[1].errno_ret(), Some(1));
        assert_eq!(profile.architectures().as_ref().unwrap().len(), 3);
        let all = 1 << 18 | 1 << 20; // SYS_CHROOT, SYS_PACCT
        let profile = parse(PROFILE.as_bytes(), all, Architecture::Aarch64, (5, 0)).unwrap();
        assert_eq!(names(&profile), ["read", "write", "chroot", "ptrace", "breakpoint"]);
        assert_eq!(profile.architectures().as_deref(), Some(&[Arch::ScmpArchAarch64, Arch::ScmpArchArm][..]));
    }

    #[test]
    fn bad_files_are_refused_with_what_is_wrong() {
        let parse = |text: &str| parse(text.as_bytes(), 0, Architecture::X86_64, (6, 0)).unwrap_err().to_string();
        assert!(parse("{").starts_with("seccomp profile: "));
        assert!(parse(r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#).contains("SCMP_ACT_MAYBE"));
        let rule = |rule: &str| parse(&format!(r#"{{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{rule}]}}"#));
        assert!(rule(r#"{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}"#).contains("\"name\""));
        assert!(rule(r#"{"names": ["b"], "action": "SCMP_ACT_ERRNO", "errno": "EWHAT"}"#).contains("EWHAT"));
        assert!(rule(r#"{"names": [], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}"#).contains("new"));
    }

    #[test]
    fn errnos_by_name() {
        for (name, number) in [
            ("EPERM", 1),
            ("EAGAIN", 11),
            ("EWOULDBLOCK", 11),
            ("ENOSYS", 38),
            ("ENOTSUP", 95),
            ("EHWPOISON", 133),
            ("7", 7),
        ] {
            assert_eq!(errno(Some(name.into()), Some(99)).unwrap(), Some(number), "{name}");
        }
        assert_eq!(errno(Some(String::new()), Some(99)).unwrap(), Some(99));
        assert!(errno(Some("-".into()), None).is_err());
    }
}
