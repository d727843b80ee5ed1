//! The flags of `create` and `run` about the program itself: its environment, who it is, what it finds in /etc, and which ids
//! it has.

use super::create_flags::Asked;
use super::registry_flags;
use crate::flag::{Flag, list, switch, text, value};

/// Refuses an option that Podman has, with the reason.
const fn refused(
    long: &'static str,
    help: &'static str,
    set: fn(&mut Asked, &str) -> Result<(), String>,
) -> Flag<Asked> {
    value(long, "string", help, set)
}

fn pods() -> Result<(), String> {
    Err("pods are not built into this version of monopod; containers share namespaces by --network, --ipc and --pid \
         container:NAME"
        .into())
}

/// The rows.
pub const PROGRAM: &[Flag<Asked>] = &[
    list("env-merge", "Set variables from those of the image (key=${key}-more)", |r, v| {
        r.create.environment_merge.push(v);
    }),
    switch("http-proxy", "Pass the caller's proxy variables (default true)", |r, on| r.create.http_proxy = Some(on)),
    list("unsetenv", "Variables of the image that are not to be there", |r, v| r.create.unset_environment.push(v)),
    switch("unsetenv-all", "No variables of the image", |r, on| r.create.unset_all_environment = on),
    text("tz", "Time zone (local, or a name)", |r, v| r.create.timezone = Some(v.into())),
    text("personality", "Execution domain: LINUX, LINUX32", |r, v| r.create.personality = Some(v.into())),
    text("init-path", "Program of the host's that is process 1 with --init", |r, v| {
        r.create.init_path = Some(v.into())
    }),
    text("systemd", "Prepare for systemd: true (if it is the command), always, false", |r, v| {
        r.create.systemd = Some(v.into());
    }),
    list("requires", "Containers that must run before this one", |r, v| r.create.requires.push(v)),
    switch("passwd", "Add a line for the user to /etc/passwd and /etc/group (default true)", |r, on| {
        r.create.passwd = Some(on);
    }),
    text("passwd-entry", "That line of /etc/passwd ($USERNAME, $UID, $GID, $NAME, $HOME)", |r, v| {
        r.create.passwd_entry = Some(v.into());
    }),
    text("group-entry", "That line of /etc/group ($GROUPNAME, $GID, $USERLIST)", |r, v| {
        r.create.group_entry = Some(v.into());
    }),
    list("hostuser", "Users of the host who get a line in /etc/passwd", |r, v| r.create.host_users.push(v)),
    text("hosts-file", "What /etc/hosts starts from: a file, image, none", |r, v| r.create.hosts_file = Some(v.into())),
    switch("no-hostname", "Make no /etc/hostname", |r, on| r.create.no_hostname = on),
    list("chrootdirs", "Directories inside that get the files of /etc, too", |r, v| {
        r.create.chroot_directories.push(v)
    }),
    list("uidmap", "Ids of users ([flags]container:host[:amount])", |r, v| r.create.uid_maps.push(v)),
    list("gidmap", "Ids of groups ([flags]container:host[:amount])", |r, v| r.create.gid_maps.push(v)),
    text("subuidname", "Whose line of /etc/subuid is the map of users", |r, v| r.create.sub_uid_name = Some(v.into())),
    text("subgidname", "Whose line of /etc/subgid is the map of groups", |r, v| r.create.sub_gid_name = Some(v.into())),
    text("secret", "Hand over a secret (name[,type=mount|env][,target=,uid=,gid=,mode=])", |r, v| {
        r.create.secrets.push(v.into());
    }),
    text("seccomp-policy", "Where the filter comes from: default, image (its label)", |r, v| {
        r.create.seccomp_policy = Some(v.into());
    }),
    registry_flags::auth_file(),
    registry_flags::cert_dir(),
    registry_flags::creds(),
    registry_flags::retry(),
    registry_flags::retry_delay(),
    registry_flags::tls_verify(),
    switch("disable-content-trust", "Accepted for Docker's sake, has no effect", |_, _| {}),
    registry_flags::decryption_key(),
    refused("link-local-ip", "Refused: Podman does not have it either", |_, _| {
        Err("addresses of one link are given by the kernel; use --ip and --ip6".into())
    }),
    refused("rdt-class", "Refused: groups of Intel RDT are not made", |_, _| {
        Err("groups of resctrl (Intel RDT) are not supported; use --cpuset-cpus, --cpu-shares and --cpus".into())
    }),
    refused("pod", "Refused: there are no pods yet", |_, _| pods()),
    refused("pod-id-file", "Refused: there are no pods yet", |_, _| pods()),
];

/// The row that `create` has beyond `run`.
pub const INIT: &[Flag<Asked>] = &[refused("init-ctr", "Refused: there are no pods yet", |_, _| pods())];
