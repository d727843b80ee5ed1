//! What a verb is: its words, its rows of flags and what it does; and the table of all of them.

use crate::failure::Failure;
use crate::flag::{Description, Flag, Grammar};
use crate::program::{Program, print};
use std::ffi::OsString;
use std::fmt::Write as _;

mod artifact;
mod attach;
mod cleanup;
mod clone;
mod commit;
mod completion;
mod copy;
mod cp;
mod create;
mod create_flags;
mod diff;
mod disk_usage;
mod events;
mod exec;
mod export;
mod generate;
mod handed_on;
mod health;
mod history;
mod images;
mod import;
mod info;
mod init;
mod inspect;
mod kill;
mod life_flags;
mod load;
mod login;
mod logs;
mod manifest;
mod many;
mod mount;
mod network;
mod pause;
mod port;
mod program_flags;
mod prune;
mod ps;
mod pull;
mod push;
mod refused;
mod registry_flags;
mod rename;
mod resource_flags;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod secret;
mod secure_copy;
mod signing_flags;
mod skopeo;
mod standalone;
mod start;
mod stats;
mod stop;
mod sync;
mod system;
mod tag;
mod top;
mod tree;
mod trust;
mod update;
pub(crate) mod version;
mod volume;
mod volume_files;
mod wait;

/// A verb whose flags fill an `R`.
pub struct Verb<R: 'static> {
    /// Podman's name of the command: `run`, `image inspect`.
    pub path: &'static str,
    /// What follows the options in a usage line.
    pub usage: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Command lines without the program and the verb.
    pub examples: &'static [&'static str],
    /// Flags may follow the first argument.
    pub interspersed: bool,
    /// Its rows of flags.
    pub flags: &'static [&'static [Flag<R>]],
    /// Does it; returns the exit code.
    pub execute: fn(&Program, R, Vec<String>) -> Result<u8, Failure>,
}

/// Any verb.
pub trait AnyVerb: Sync {
    /// Podman's name of the command.
    fn path(&self) -> &'static str;
    /// What follows the options in a usage line.
    fn usage(&self) -> &'static str;
    /// Command lines without the program and the verb.
    fn examples(&self) -> &'static [&'static str];
    /// Flags may follow the first argument.
    fn interspersed(&self) -> bool;
    /// One line for people.
    fn about(&self) -> &'static str;
    /// Its flags, in the order of their names.
    fn flags(&self) -> Vec<Description>;
    /// Its help; `called` is the program and the verb as the user wrote them.
    fn help(&self, called: &str) -> String;
    /// Reads the words after the verb and does it.
    fn invoke(&self, program: Program, called: &str, words: &[OsString]) -> Result<u8, Failure>;
}

impl<R: Default> AnyVerb for Verb<R> {
    fn path(&self) -> &'static str {
        self.path
    }

    fn usage(&self) -> &'static str {
        self.usage
    }

    fn examples(&self) -> &'static [&'static str] {
        self.examples
    }

    fn interspersed(&self) -> bool {
        self.interspersed
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn flags(&self) -> Vec<Description> {
        let mut flags: Vec<_> = self.flags.iter().copied().flatten().map(Flag::describe).collect();
        flags.sort_by_key(|f| f.long);
        flags
    }

    fn help(&self, called: &str) -> String {
        let options = if self.flags.is_empty() { "" } else { " [options]" };
        let usage = format!("{called}{options} {}", self.usage);
        let mut text = format!("{}\n\nUsage:\n  {}\n", self.about, usage.trim_end());
        if !self.examples.is_empty() {
            text.push_str("\nExamples:\n");
            for example in self.examples {
                let _ = writeln!(text, "  {called} {example}");
            }
        }
        if !self.flags.is_empty() {
            text.push_str(&grouped_help(AnyVerb::flags(self)));
        }
        text
    }

    fn invoke(&self, program: Program, called: &str, words: &[OsString]) -> Result<u8, Failure> {
        let (path, interspersed, flags) = (self.path, self.interspersed, self.flags);
        let globals = program.globals();
        let grammar = Grammar { path, called, interspersed, flags, globals };
        let parsed = grammar.read(program.globals.clone(), words)?;
        if parsed.help {
            print(&self.help(called))?;
            return Ok(0);
        }
        let mut program = Program { globals: parsed.globals, ..program };
        program.prepare()?;
        (self.execute)(&program, parsed.request, parsed.arguments)
    }
}

/// Flags by what they are about, for verbs that have very many; those that are in none come first.
const TOPICS: &[(&str, &[&str])] = &[
    (
        "Limits",
        &[
            "blkio-",
            "cpu",
            "cgroup-conf",
            "cgroup-parent",
            "cgroups",
            "device-read-",
            "device-write-",
            "memory",
            "oom-",
            "pids-limit",
            "shm-size",
            "ulimit",
        ],
    ),
    (
        "Networks",
        &[
            "add-host",
            "dns",
            "expose",
            "hostname",
            "hosts-file",
            "http-proxy",
            "ip",
            "mac-address",
            "net",
            "no-host",
            "publish",
        ],
    ),
    (
        "Files and devices",
        &[
            "cdi-",
            "chrootdirs",
            "device",
            "gpus",
            "image-volume",
            "init-",
            "mount",
            "read-only",
            "rootfs",
            "secret",
            "tmpfs",
            "volume",
        ],
    ),
    (
        "Users, namespaces and security",
        &[
            "cap-",
            "cgroupns",
            "decryption-key",
            "gidmap",
            "group",
            "hostuser",
            "ipc",
            "no-new",
            "passwd",
            "pid",
            "privileged",
            "seccomp-",
            "security-opt",
            "subgidname",
            "subuidname",
            "sysctl",
            "uidmap",
            "umask",
            "user",
            "uts",
        ],
    ),
    ("Health", &["health-", "no-healthcheck"]),
    (
        "Images",
        &[
            "arch",
            "authfile",
            "cert-dir",
            "creds",
            "os",
            "platform",
            "pull",
            "retry",
            "rmi",
            "signature-policy",
            "tls-verify",
            "variant",
        ],
    ),
];
/// Flags of a verb that need no topics.
const FEW: usize = 40;

/// The flags of a verb, under headings if there are very many.
fn grouped_help(mut flags: Vec<Description>) -> String {
    let mut text = String::new();
    let mut topics = Vec::new();
    if flags.len() > FEW {
        for (title, beginnings) in TOPICS {
            // `pids-limit` is a limit, and `pid` a namespace: the longest beginning says it, and topics are in that order.
            let of = |flag: &Description| {
                beginnings.iter().any(|word| *word == flag.long || (word.len() > 2 && flag.long.starts_with(word)))
            };
            let (these, others) = flags.into_iter().partition::<Vec<_>, _>(of);
            flags = others;
            topics.push((*title, these));
        }
    }
    topics.insert(0, ("Options", flags));
    for (title, flags) in topics.iter().filter(|(_, flags)| !flags.is_empty()) {
        let _ = write!(text, "\n{title}:\n{}", options_help(flags));
    }
    text
}

/// The lines of help for `flags`: names in one column, purposes in the next.
pub fn options_help(flags: &[Description]) -> String {
    let name = |flag: &Description| {
        let short = flag.short.map_or("    ".into(), |short| format!("-{short}, "));
        let aliases: String = flag.aliases.iter().map(|alias| format!(", --{alias}")).collect();
        format!("  {short}--{}{aliases}{}{}", flag.long, if flag.word.is_empty() { "" } else { " " }, flag.word)
    };
    let width = flags.iter().map(|f| name(f).len()).max().unwrap_or(0);
    let mut text = String::new();
    for flag in flags {
        let _ = writeln!(text, "{:width$}   {}", name(flag), flag.help);
    }
    text
}

/// A word of the command line and the verb it leads to.
pub type Entry = (&'static str, &'static dyn AnyVerb);

/// The verbs that need no group, in the order of help.
pub const TOP: &[Entry] = &[
    ("attach", &attach::VERB),
    ("commit", &commit::VERB),
    ("completion", &completion::VERB),
    ("copy", &copy::VERB),
    ("cp", &cp::VERB),
    ("create", &create::VERB),
    ("diff", &diff::VERB),
    ("events", &events::VERB),
    ("exec", &exec::VERB),
    ("export", &export::VERB),
    ("history", &history::VERB),
    ("images", &images::VERB),
    ("import", &import::VERB),
    ("info", &info::VERB),
    ("init", &init::VERB),
    ("inspect", &inspect::VERB),
    ("kill", &kill::VERB),
    ("list-tags", &copy::LIST_TAGS),
    ("load", &load::VERB),
    ("login", &login::LOGIN),
    ("logout", &login::LOGOUT),
    ("logs", &logs::VERB),
    ("mount", &mount::MOUNT),
    ("pause", &pause::PAUSE),
    ("port", &port::VERB),
    ("ps", &ps::VERB),
    ("pull", &pull::VERB),
    ("push", &push::VERB),
    ("rename", &rename::VERB),
    ("restart", &restart::VERB),
    ("rm", &rm::VERB),
    ("rmi", &rmi::VERB),
    ("run", &run::VERB),
    ("save", &save::VERB),
    ("search", &search::VERB),
    ("start", &start::VERB),
    ("stats", &stats::VERB),
    ("stop", &stop::VERB),
    ("sync", &sync::VERB),
    ("tag", &tag::TAG),
    ("top", &top::VERB),
    ("unmount", &mount::UNMOUNT),
    ("unpause", &pause::UNPAUSE),
    ("unshare", &system::UNSHARE),
    ("untag", &tag::UNTAG),
    ("update", &update::VERB),
    ("version", &version::VERB),
    ("wait", &wait::VERB),
];

/// The verbs where the program is called `skopeo`.
pub const SKOPEO: &[Entry] = &[
    ("copy", &copy::VERB),
    ("delete", &skopeo::DELETE),
    ("inspect", &inspect::ELSEWHERE_ALONE),
    ("list-tags", &copy::LIST_TAGS),
    ("login", &login::LOGIN),
    ("logout", &login::LOGOUT),
    ("manifest-digest", &skopeo::MANIFEST_DIGEST),
    ("standalone-sign", &standalone::SIGN),
    ("standalone-verify", &standalone::VERIFY),
    ("sync", &sync::VERB),
];
/// Verbs of that kind by other names.
pub const HIDDEN: &[Entry] = &[("umount", &mount::UNMOUNT)];

/// A group: its name, its purpose, its verbs.
pub struct Group {
    /// Its word.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its verbs.
    pub verbs: &'static [Entry],
    /// Verbs by other names, and those that people do not call.
    pub hidden: &'static [Entry],
}

/// The groups of verbs.
pub const GROUPS: &[Group] = &[
    Group {
        name: "artifact",
        about: "Manage artifacts",
        verbs: &[
            ("add", &artifact::ADD),
            ("extract", &artifact::EXTRACT),
            ("inspect", &artifact::INSPECT),
            ("ls", &artifact::LIST),
            ("pull", &artifact::PULL),
            ("push", &artifact::PUSH),
            ("rm", &artifact::REMOVE),
        ],
        hidden: &[("list", &artifact::LIST), ("remove", &artifact::REMOVE)],
    },
    Group {
        name: "container",
        about: "Manage containers",
        verbs: &[
            ("attach", &attach::VERB),
            ("checkpoint", &refused::CHECKPOINT),
            ("cleanup", &cleanup::VERB),
            ("clone", &clone::VERB),
            ("commit", &commit::VERB),
            ("cp", &cp::VERB),
            ("create", &create::VERB),
            ("diff", &diff::VERB),
            ("exec", &exec::VERB),
            ("exists", &inspect::CONTAINER_EXISTS),
            ("export", &export::VERB),
            ("init", &init::VERB),
            ("inspect", &inspect::CONTAINER),
            ("kill", &kill::VERB),
            ("list", &ps::VERB),
            ("logs", &logs::VERB),
            ("mount", &mount::MOUNT),
            ("pause", &pause::PAUSE),
            ("port", &port::VERB),
            ("prune", &prune::CONTAINER),
            ("rename", &rename::VERB),
            ("restart", &restart::VERB),
            ("restore", &refused::RESTORE),
            ("rm", &rm::VERB),
            ("run", &run::VERB),
            ("runlabel", &refused::RUNLABEL),
            ("start", &start::VERB),
            ("stats", &stats::VERB),
            ("stop", &stop::VERB),
            ("top", &top::VERB),
            ("unmount", &mount::UNMOUNT),
            ("unpause", &pause::UNPAUSE),
            ("update", &update::VERB),
            ("wait", &wait::VERB),
        ],
        hidden: &[
            ("ps", &ps::VERB),
            ("ls", &ps::VERB),
            ("umount", &mount::UNMOUNT),
            ("probe", &health::PROBE),
            ("again", &health::AGAIN),
        ],
    },
    Group {
        name: "generate",
        about: "Write files by which service managers run containers",
        verbs: &[("init", &generate::INIT), ("systemd", &generate::SYSTEMD)],
        hidden: &[],
    },
    Group {
        name: "healthcheck",
        about: "Manage health checks on containers",
        verbs: &[("run", &health::RUN)],
        hidden: &[],
    },
    Group {
        name: "image",
        about: "Manage images",
        verbs: &[
            ("diff", &diff::IMAGE),
            ("exists", &inspect::IMAGE_EXISTS),
            ("history", &history::VERB),
            ("import", &import::VERB),
            ("inspect", &inspect::IMAGE),
            ("list", &images::VERB),
            ("load", &load::VERB),
            ("mount", &mount::IMAGE_MOUNT),
            ("prune", &prune::IMAGE),
            ("pull", &pull::VERB),
            ("push", &push::VERB),
            ("rm", &rmi::VERB),
            ("save", &save::VERB),
            ("scp", &secure_copy::VERB),
            ("search", &search::VERB),
            ("sign", &trust::SIGN),
            ("tag", &tag::TAG),
            ("tree", &tree::VERB),
            ("unmount", &mount::IMAGE_UNMOUNT),
            ("untag", &tag::UNTAG),
        ],
        hidden: &[("ls", &images::VERB), ("remove", &rmi::VERB), ("umount", &mount::IMAGE_UNMOUNT)],
    },
    Group {
        name: "image trust",
        about: "Manage which images are accepted",
        verbs: &[("set", &trust::SET), ("show", &trust::SHOW)],
        hidden: &[],
    },
    Group {
        name: "manifest",
        about: "Manage lists of images for several platforms",
        verbs: &[
            ("add", &manifest::ADD),
            ("annotate", &manifest::ANNOTATE),
            ("create", &manifest::CREATE),
            ("exists", &manifest::EXISTS),
            ("inspect", &manifest::INSPECT),
            ("push", &manifest::PUSH),
            ("remove", &manifest::REMOVE),
            ("rm", &manifest::RM),
        ],
        hidden: &[],
    },
    Group {
        name: "network",
        about: "Manage networks",
        verbs: &[
            ("connect", &network::CONNECT),
            ("create", &network::CREATE),
            ("disconnect", &network::DISCONNECT),
            ("exists", &network::EXISTS),
            ("inspect", &network::INSPECT),
            ("ls", &network::LIST),
            ("prune", &network::PRUNE),
            ("reload", &network::RELOAD),
            ("rm", &network::REMOVE),
            ("update", &network::UPDATE),
        ],
        hidden: &[("list", &network::LIST), ("remove", &network::REMOVE)],
    },
    Group {
        name: "secret",
        about: "Manage secrets",
        verbs: &[
            ("create", &secret::CREATE),
            ("exists", &secret::EXISTS),
            ("inspect", &secret::INSPECT),
            ("ls", &secret::LIST),
            ("rm", &secret::REMOVE),
        ],
        hidden: &[("list", &secret::LIST), ("remove", &secret::REMOVE)],
    },
    Group {
        name: "volume",
        about: "Manage volumes",
        verbs: &[
            ("create", &volume::CREATE),
            ("exists", &volume::EXISTS),
            ("export", &volume_files::EXPORT),
            ("import", &volume_files::IMPORT),
            ("inspect", &volume::INSPECT),
            ("ls", &volume::LIST),
            ("mount", &volume_files::MOUNT),
            ("prune", &volume::PRUNE),
            ("reload", &volume_files::RELOAD),
            ("rm", &volume::REMOVE),
            ("unmount", &volume_files::UNMOUNT),
        ],
        hidden: &[("list", &volume::LIST), ("remove", &volume::REMOVE), ("umount", &volume_files::UNMOUNT)],
    },
    Group {
        name: "system",
        about: "Manage monopod",
        verbs: &[
            ("boot", &system::BOOT),
            ("check", &system::CHECK),
            ("df", &disk_usage::VERB),
            ("events", &events::VERB),
            ("info", &info::VERB),
            ("migrate", &system::MIGRATE),
            ("prune", &system::PRUNE),
            ("renumber", &system::RENUMBER),
            ("reset", &system::RESET),
        ],
        hidden: &[],
    },
];
