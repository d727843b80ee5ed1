//! The words of failures, and that the tables of flags agree with what Podman has.

use super::*;

fn run(line: &str) -> (u8, String) {
    let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
    match command(&words) {
        Ok(code) => (code, String::new()),
        Err(failure) => (failure.code, failure.text()),
    }
}

#[test]
fn what_is_wrong_is_said_as_podman_says_it() {
    let version = env!("CARGO_PKG_VERSION");
    let not_yet =
        |flag: &str, verb: &str| format!("{flag} is not supported by monopod {version} yet\nSee '{verb} --help'\n");
    let not_built = |verb: &str| format!("{verb:?} is not built into this version of monopod ({version})\n");
    for (line, wanted) in [
        (
            "monopod frobnicate",
            "unrecognized command `monopod frobnicate`\nTry 'monopod --help' for more information\n",
        ),
        (
            "podman runn",
            "unrecognized command `podman runn`\n\nDid you mean this?\n\trun\n\nTry 'podman --help' for more information\n",
        ),
        (
            "monopod container frobnicate",
            "unrecognized command `monopod container frobnicate`\nTry 'monopod container --help' for more information\n",
        ),
        ("monopod build .", &not_built("build")),
        ("monopod image build x", &not_built("image build")),
        ("monopod farm create", &not_built("farm")),
        ("monopod --foo", "unknown flag: --foo\nSee 'monopod --help'\n"),
        ("monopod --transient-store ps", &not_yet("--transient-store", "monopod")),
        (
            "monopod --storage-driver=btrfs ps",
            "invalid argument \"btrfs\" for \"--storage-driver\" flag: files of containers are stored by overlay, or as \
             copies with vfs: use one of them\nSee 'monopod --help'\n",
        ),
        ("monopod run --foo=1 x", "unknown flag: --foo\nSee 'monopod run --help'\n"),
        ("monopod run -itZ x", "unknown shorthand flag: 'Z' in -itZ\nSee 'monopod run --help'\n"),
        ("monopod run --permissive y", &not_yet("--permissive", "monopod run")),
        ("monopod container run --permissive y", &not_yet("--permissive", "monopod container run")),
        ("monopod run --name", "flag needs an argument: --name\nSee 'monopod run --help'\n"),
        ("monopod run -de", "flag needs an argument: 'e' in -de\nSee 'monopod run --help'\n"),
        (
            "monopod run --rm=x busybox",
            "invalid argument \"x\" for \"--rm\" flag: strconv.ParseBool: parsing \"x\": invalid syntax\n\
             See 'monopod run --help'\n",
        ),
        ("monopod run", "requires at least 1 arg(s), only received 0\n"),
        ("monopod ps --fo", "unknown flag: --fo\nSee 'monopod ps --help'\n"),
        ("monopod ps extra", "`monopod ps` takes no arguments\n"),
        (
            "monopod --cgroup-manager=systemd ps",
            "invalid argument \"systemd\" for \"--cgroup-manager\" flag: monopod makes cgroups itself and does not ask \
             systemd for them: use cgroupfs\nSee 'monopod --help'\n",
        ),
        ("monopod attach a b", "`monopod attach` accepts at most one argument\n"),
        ("monopod logs --since zz x", "parsing --since \"zz\": unable to interpret time value\n"),
        ("monopod kill -s FOO x", "invalid signal: FOO\n"),
        ("monopod start", "start requires at least one argument\n"),
        ("monopod rmi", "image name or ID must be specified\n"),
        ("monopod ps --format {{.ID", "template: 1:5: unclosed action\n"),
    ] {
        assert_eq!(run(line), (125, format!("Error: {wanted}")), "{line}");
    }
}

/// All verbs with the words that lead to them.
fn verbs() -> Vec<(String, &'static dyn AnyVerb)> {
    let top = TOP.iter().map(|(word, verb)| (word.to_string(), *verb));
    let grouped = GROUPS.iter().flat_map(|group| {
        group.verbs.iter().chain(group.hidden).map(|(word, verb)| (format!("{} {word}", group.name), *verb))
    });
    top.chain(grouped).collect()
}

#[test]
fn every_built_flag_is_podmans() {
    // Older spellings that Podman still takes, and its table leaves out.
    const OTHERS: [(&str, &str); 4] =
        [("stop", "--timeout"), ("create", "--dns-opt"), ("run", "--dns-opt"), ("mount", "--notruncate")];
    const SKOPEOS: [(&str, &str); 12] = [
        ("inspect", "authfile"),
        ("inspect", "cert-dir"),
        ("inspect", "creds"),
        ("inspect", "tls-verify"),
        ("inspect", "config"),
        ("inspect", "no-tags"),
        ("inspect", "override-arch"),
        ("inspect", "override-os"),
        ("inspect", "override-variant"),
        ("inspect", "raw"),
        ("image sign", "sign-by-sigstore-private-key"),
        ("image sign", "sign-passphrase-file"),
    ];
    // What Podman has no word for.
    const OURS: [(&str, &str); 8] = [
        ("pull", "no-blobs"),
        ("load", "no-blobs"),
        ("inspect", "referrers"),
        ("inspect", "referrer-type"),
        ("skopeo inspect", "referrers"),
        ("skopeo inspect", "referrer-type"),
        ("artifact add", "subject"),
        ("artifact add", "tls-verify"),
    ];
    // Docker's option, and one of newer versions of Docker's `save`.
    const DOCKERS: [(&str, &str); 2] = [("push", "all-tags"), ("save", "platform")];
    let skopeos = SKOPEO.iter().map(|(word, verb)| (format!("skopeo {word}"), *verb));
    for (words, verb) in verbs().into_iter().chain(skopeos) {
        let path = verb.path();
        // What monitors call, and what Podman leaves to systemd.
        if ["container probe", "container again", "system boot", "generate init"].contains(&path) {
            continue;
        }
        assert!(surface::is_command(path), "{words}: {path} is not a command of Podman");
        let mut seen = Vec::new();
        for flag in verb.flags() {
            let known = surface::options(path).unwrap_or_default();
            let long = format!("--{}", flag.long);
            // Podman's `inspect` knows nothing of images elsewhere; Skopeo's does. The other is one that Podman does not show.
            if flag.long == "signature-policy"
                || (path, flag.long) == ("cp", "pause")
                // The table has it for `run` only; podman-create(1) has it too.
                || (path, flag.long) == ("create", "passwd")
                // Podman's table leaves this one out.
                || (path, flag.long) == ("info", "debug")
                // Podman's of before version 5, and Docker's.
                || flag.long == "kernel-memory"
                // An older name of it that Podman takes and does not show.
                || (path, flag.long) == ("generate systemd", "stop-timeout")
                || path == "container clone"
                || SKOPEOS.contains(&(path, flag.long))
                || DOCKERS.contains(&(path, flag.long))
                || OURS.contains(&(path, flag.long))
            {
                continue;
            }
            let row = known.iter().find(|known| known.spellings[0] == long);
            let row = row.unwrap_or_else(|| panic!("{path} {long} is not an option of Podman"));
            if let Some(short) = flag.short {
                assert!(row.spellings.contains(&format!("-{short}").as_str()), "{path} {long}: -{short}");
            }
            for alias in flag.aliases {
                let alias = format!("--{alias}");
                let other = OTHERS.contains(&(path, alias.as_str()));
                assert!(row.spellings.contains(&alias.as_str()) || other, "{path} {alias}");
            }
            assert!(!seen.contains(&flag.long), "{path} {long} is there twice");
            assert!(flag.help.len() < 90 && !flag.help.ends_with('.'), "{path} {long}: {}", flag.help);
            seen.push(flag.long);
        }
    }
}

#[test]
fn every_option_of_podman_that_is_not_built_is_named() {
    let globals: Vec<_> =
        Program::called(Path::new("podman")).globals().iter().copied().flatten().map(|flag| flag.long).collect();
    for (words, verb) in verbs() {
        let flags = verb.flags();
        for known in surface::options(verb.path()).unwrap_or_default() {
            let name = known.spellings[0].trim_start_matches('-');
            if flags.iter().any(|flag| flag.long == name) || globals.contains(&name) {
                continue;
            }
            for spelling in known.spellings {
                // A short name may be another flag's: `rm -f` is --force, not --filter.
                if flags.iter().any(|f| f.short.is_some_and(|short| spelling == format!("-{short}"))) {
                    continue;
                }
                let (code, text) = run(&format!("monopod {words} {spelling}"));
                assert_eq!(code, 125, "{words} {spelling}");
                let named = text.contains(&format!("--{name}")) && text.contains("is not supported by monopod");
                assert!(named, "{words} {spelling}: {text}");
            }
        }
    }
}

#[test]
fn help_names_what_there_is() {
    let text = top_help(&Program::called(Path::new("podman")));
    assert!(text.contains("  podman [options] [command]"), "{text}");
    assert!(text.contains("\n  run         Run a command in a new container\n"), "{text}");
    for (words, verb) in verbs() {
        let text = verb.help(&format!("monopod {words}"));
        assert!(text.contains(&format!("Usage:\n  monopod {words}")), "{text}");
        assert!(text.lines().all(|line| line.len() < 140), "{text}");
        for flag in verb.flags() {
            assert!(text.contains(&format!("--{}", flag.long)), "{words} {}", flag.long);
        }
    }
}
