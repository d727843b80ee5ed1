//! The commands and their flags, as data, with help and the version that are made of it.
//!
//! Must not know: what a command does.

use super::flags::{Flag, Reading, Verb, options};
use super::{checkpoint, create, criu, delete, events, exec, list, members, restore, signal, start, template, update};
use crate::OCI_VERSION;
use std::fmt::Write as _;

/// Flags before the command.
pub(crate) const GLOBALS: &[Flag] = &[
    Flag::with("root", "DIRECTORY", "Where the state of containers lives"),
    Flag::with("log", "FILE", "Write messages to this file too"),
    Flag::with("log-format", "FORMAT", "Format of messages: text or json"),
    Flag::switch("debug", "Tell what is done"),
    Flag::with("log-level", "LEVEL", "The least of what is told: debug, warning or error"),
    Flag::switch("systemd-cgroup", "Let systemd make cgroups; cgroupsPath is slice:prefix:name"),
    Flag::with("cgroup-manager", "MANAGER", "Who makes cgroups: cgroupfs or systemd"),
    Flag::with("rootless", "BOOL", "true, false or auto; what may be done is found out whatever is said"),
    Flag::with("criu", "FILE", "The program CRIU, else the one in PATH"),
    Flag::switch("version", "Print the version").letter('v'),
    Flag::switch("version", "Print the version").letter('V'),
];

const BUNDLE: Flag = Flag::with("bundle", "DIRECTORY", "The bundle, else the working directory").letter('b');
const CONFIG: Flag = Flag::with("config", "FILE", "Name of the specification in the bundle").letter('f');
const CONSOLE: Flag = Flag::with("console-socket", "SOCKET", "Send the terminal over this unix socket");
const PID_FILE: Flag = Flag::with("pid-file", "FILE", "Write the process's number to this file");
const PRESERVE: Flag = Flag::with("preserve-fds", "N", "Pass N descriptors from 3 on to the program");
const NO_PIVOT: Flag = Flag::switch("no-pivot", "Do without pivot_root, as in an initramfs");
const NO_KEYRING: Flag = Flag::switch("no-new-keyring", "Keep the session keyring");
const NO_SUBREAPER: Flag = Flag::switch("no-subreaper", "Do not adopt orphans of the container");
const DETACH: Flag = Flag::switch("detach", "Do not wait for the end").letter('d');
const REGEX: Flag = Flag::switch("regex", "All whose ids match CONTAINER, an extended regular expression");
const FORMAT: Flag = Flag::with("format", "FORMAT", "table or json").letter('f');

const CREATE: &[Flag] = &[BUNDLE, CONFIG, CONSOLE, PID_FILE, PRESERVE, NO_PIVOT, NO_KEYRING, NO_SUBREAPER];
const RUN: &[Flag] = &[
    BUNDLE,
    CONFIG,
    CONSOLE,
    PID_FILE,
    PRESERVE,
    NO_PIVOT,
    NO_KEYRING,
    NO_SUBREAPER,
    DETACH,
    Flag::switch("keep", "Do not delete it when it ends"),
];
const EXEC: &[Flag] = &[
    Flag::with("process", "FILE", "What to execute, as the specification's process").letter('p'),
    Flag::switch("tty", "Give it a terminal").letter('t'),
    CONSOLE,
    DETACH,
    PID_FILE,
    PRESERVE,
    Flag::with("cwd", "DIRECTORY", "Working directory"),
    Flag::with("env", "KEY=VALUE", "Set a variable").letter('e'),
    Flag::with("user", "UID[:GID]", "Who executes it").letter('u'),
    Flag::with("additional-gids", "GID", "One more group").letter('g'),
    Flag::with("cap", "CAPABILITY", "One more capability").letter('c'),
    Flag::with("cgroup", "PATH", "A cgroup below the container's to go to"),
    Flag::with("apparmor", "PROFILE", "AppArmor profile"),
    Flag::with("process-label", "LABEL", "SELinux label"),
    Flag::switch("no-new-privs", "Never gain privileges"),
    Flag::switch("ignore-paused", "Also in a paused container, where it waits"),
];
const UPDATE: &[Flag] = &[
    Flag::with("resources", "FILE", "Limits as the specification's linux.resources; - is standard input").letter('r'),
    Flag::with("blkio-weight", "N", "Weight on block devices, 10 to 1000"),
    Flag::with("cpu-period", "MICROSECONDS", "Period of the quota"),
    Flag::with("cpu-quota", "MICROSECONDS", "Processor time in each period"),
    Flag::with("cpu-share", "N", "Weight on processors"),
    Flag::with("cpu-rt-period", "MICROSECONDS", "Period of the realtime quota"),
    Flag::with("cpu-rt-runtime", "MICROSECONDS", "Realtime quota"),
    Flag::with("cpu-burst", "MICROSECONDS", "What may be saved up of the quota"),
    Flag::with("cpu-idle", "N", "1: only when nothing else runs"),
    Flag::with("cpuset-cpus", "LIST", "Processors"),
    Flag::with("cpuset-mems", "LIST", "Memory nodes"),
    Flag::with("memory", "BYTES", "Memory"),
    Flag::with("memory-reservation", "BYTES", "Memory that is protected when it gets short"),
    Flag::with("memory-swap", "BYTES", "Memory and swap together; -1 is unlimited"),
    Flag::with("pids-limit", "N", "Processes"),
    Flag::with("kernel-memory", "BYTES", "Refused: kernels have it no more"),
    Flag::with("kernel-memory-tcp", "BYTES", "Refused: kernels have it no more"),
    Flag::with("l3-cache-schema", "SCHEMA", "Refused: not built"),
    Flag::with("mem-bw-schema", "SCHEMA", "Refused: not built"),
];

const CHECKPOINT: &[Flag] = &[
    criu::IMAGES,
    criu::WORK,
    Flag::with("parent-path", "DIRECTORY", "Files of an earlier one, from there: only what changed since is written"),
    Flag::switch("pre-dump", "Only write memory, and go on"),
    Flag::switch("leave-running", "Go on afterwards, instead of being deleted").letter('R'),
    criu::TCP,
    Flag::switch("tcp-skip-in-flight", "Leave TCP connections out that are being made"),
    criu::SOCKETS,
    criu::SHELL,
    criu::LOCKS,
    Flag::switch("link-remap", "Also with files that have been removed and have another name"),
    criu::DEDUPLICATE,
    criu::LAZY,
    Flag::with("page-server", "ADDRESS:PORT", "Send memory there; with --lazy-pages, be asked for it there"),
    Flag::with("status-fd", "N", "With --lazy-pages, write a zero byte to descriptor N when memory may be asked for"),
    criu::EMPTY,
    criu::CGROUPS,
];
const RESTORE: &[Flag] = &[
    BUNDLE,
    CONFIG,
    criu::IMAGES,
    criu::WORK,
    PID_FILE,
    DETACH,
    NO_SUBREAPER,
    criu::TCP,
    criu::SOCKETS,
    Flag::switch("ext-unix", "The same, as crun's manual has it"),
    criu::SHELL,
    criu::LOCKS,
    criu::DEDUPLICATE,
    criu::LAZY,
    criu::EMPTY,
    criu::CGROUPS,
    Flag::with("lsm-profile", "MODULE:LABEL", "Another label for the processes: apparmor:PROFILE or selinux:LABEL"),
    Flag::with("lsm-mount-context", "LABEL", "Another SELinux label for file systems that had one"),
    Flag::with("console-socket", "SOCKET", "Refused: containers with a terminal are not checkpointed"),
    Flag::switch("no-pivot", "Refused: CRIU changes the root as it does"),
];

const PLAIN: Verb = Verb {
    name: "",
    usage: "CONTAINER",
    about: "",
    flags: &[],
    arguments: (1, 1),
    reading: Reading::Mixed,
    makes: false,
    execute: list::state,
};

/// The commands.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        about: "Create a container, with its first process waiting",
        flags: CREATE,
        makes: true,
        execute: create::create,
        ..PLAIN
    },
    Verb { name: "start", about: "Execute the program of a created container", execute: start::start, ..PLAIN },
    Verb { name: "run", about: "Create and start a container", flags: RUN, makes: true, execute: create::run, ..PLAIN },
    Verb {
        name: "exec",
        usage: "CONTAINER [COMMAND [ARGUMENT...]]",
        about: "Execute one more process in a container",
        flags: EXEC,
        arguments: (1, usize::MAX),
        reading: Reading::InOrder,
        makes: true,
        execute: exec::exec,
    },
    Verb {
        name: "kill",
        usage: "CONTAINER [SIGNAL]",
        about: "Send a signal, TERM if none is named",
        flags: &[Flag::switch("all", "To all processes of the container").letter('a'), REGEX],
        arguments: (1, 2),
        execute: signal::kill,
        ..PLAIN
    },
    Verb {
        name: "delete",
        about: "Delete a container that has stopped",
        flags: &[Flag::switch("force", "Kill it first; no failure if there is none").letter('f'), REGEX],
        execute: delete::delete,
        ..PLAIN
    },
    Verb { name: "state", about: "Print the state of a container", execute: list::state, ..PLAIN },
    Verb {
        name: "list",
        usage: "",
        about: "List containers",
        flags: &[FORMAT, Flag::switch("quiet", "Only the ids").letter('q')],
        arguments: (0, 0),
        execute: list::list,
        ..PLAIN
    },
    Verb {
        name: "ps",
        usage: "CONTAINER [ARGUMENT OF ps...]",
        about: "List the processes of a container",
        flags: &[FORMAT],
        arguments: (1, usize::MAX),
        reading: Reading::InOrder,
        execute: members::ps,
        ..PLAIN
    },
    Verb { name: "pause", about: "Stop all processes", execute: signal::pause, ..PLAIN },
    Verb { name: "resume", about: "Let all processes go on", execute: signal::resume, ..PLAIN },
    Verb { name: "update", about: "Change limits", flags: UPDATE, execute: update::update, ..PLAIN },
    Verb {
        name: "events",
        about: "Print what a container uses, and when it ran out of memory",
        flags: &[
            Flag::switch("stats", "Print once what it uses, and end"),
            Flag::with("interval", "DURATION", "How often, else every 5s"),
        ],
        execute: events::events,
        ..PLAIN
    },
    Verb {
        name: "spec",
        usage: "",
        about: "Write a specification to begin with",
        flags: &[
            BUNDLE,
            Flag::with("file", "FILE", "Name of the file").letter('f'),
            Flag::switch("rootless", "For a user without root"),
        ],
        arguments: (0, 0),
        execute: template::spec,
        ..PLAIN
    },
    Verb {
        name: "features",
        usage: "",
        about: "Print what this runtime can do",
        arguments: (0, 0),
        execute: template::features,
        ..PLAIN
    },
    Verb {
        name: "checkpoint",
        about: "Turn the processes of a container into files, by CRIU",
        flags: CHECKPOINT,
        execute: checkpoint::checkpoint,
        ..PLAIN
    },
    Verb {
        name: "restore",
        about: "Make a container of the files of a checkpoint, by CRIU",
        flags: RESTORE,
        execute: restore::restore,
        ..PLAIN
    },
];

/// What `--version` prints; engines read the first line and that of the specification.
pub(crate) fn version(name: &str) -> String {
    let name = name.split(' ').next().unwrap_or("monopod");
    let version = env!("CARGO_PKG_VERSION");
    format!("{name} version {version}\ncommit: monopod-{version}\nspec: {OCI_VERSION}\n")
}

/// What `--help` prints.
pub(crate) fn help(name: &str) -> String {
    let mut text =
        format!("Run containers from bundles, as an OCI runtime\n\nUsage:\n  {name} [options] COMMAND\n\nCommands:\n");
    for verb in VERBS {
        let _ = writeln!(text, "  {:<12}{}", verb.name, verb.about);
    }
    text + "\nOptions:\n" + &options(GLOBALS)
}
