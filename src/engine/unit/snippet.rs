//! What makes a machine's service manager call `system boot` when it has started, and `system boot --stop` when it goes down.

use ops::unit::{File, Manager};

/// The files for `manager`. `words` are the program and its own flags; `user` is who has the containers, if that is not root.
pub fn files(manager: Manager, words: &[String], user: Option<&str>) -> Vec<File> {
    let quoted = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let (start, stop) = match user {
        None => (format!("{quoted} system boot"), format!("{quoted} system boot --stop")),
        Some(user) => {
            let as_user = |words: &str| format!("su - {} -c {}", self::quoted(user), self::quoted(words));
            (as_user(&format!("{quoted} system boot")), as_user(&format!("{quoted} system boot --stop")))
        }
    };
    // Containers of several users are started by a file each.
    let name = user.map_or("monopod".to_owned(), |user| format!("monopod-{user}"));
    let file = |name: String, place: String, text: String, executable: bool| File { name, place, text, executable };
    match manager {
        Manager::Openrc => {
            let place = format!("/etc/init.d/{name}; then: rc-update add {name} default");
            vec![file(name, place, openrc(&start, &stop), true)]
        }
        Manager::Sysv => {
            let place = format!("/etc/init.d/{name}; then: update-rc.d {name} defaults");
            vec![file(name.clone(), place, sysv(&name, &start, &stop), true)]
        }
        Manager::Runit => {
            let place = |part: &str| format!("/etc/sv/{name}/{part}; then: ln -s /etc/sv/{name} /var/service/");
            // What is started stays: a service of runit's is a process that lives.
            let run = format!("#!/bin/sh\nexec 2>&1\n{start}\nexec tail -f /dev/null\n");
            let finish = format!("#!/bin/sh\nexec 2>&1\nexec {stop}\n");
            let parts = [("run", run), ("finish", finish)];
            parts.map(|(part, text)| file(format!("{name}/{part}"), place(part), text, true)).into()
        }
        Manager::Busybox => {
            let text = format!("# Lines for /etc/inittab (busybox init)\n::once:{start}\n::shutdown:{stop}\n");
            vec![file(format!("{name}.inittab"), "at the end of /etc/inittab".into(), text, false)]
        }
        Manager::Systemd => vec![systemd(words, user, name)],
    }
}

const ABOUT: &str = "Containers that are to run after the machine has started";

fn openrc(start: &str, stop: &str) -> String {
    format!(
        "#!/sbin/openrc-run\n\ndescription=\"{ABOUT}\"\n\ndepend() {{\n\tneed localmount\n\tuse net cgroups\n\tafter firewall\n}}\n\n\
         start() {{\n\tebegin \"Starting containers\"\n\t{start} >/dev/null\n\teend $?\n}}\n\n\
         stop() {{\n\tebegin \"Stopping containers\"\n\t{stop} >/dev/null\n\teend $?\n}}\n"
    )
}

fn sysv(name: &str, start: &str, stop: &str) -> String {
    format!(
        "#!/bin/sh\n### BEGIN INIT INFO\n# Provides:          {name}\n# Required-Start:    $local_fs $remote_fs\n\
         # Required-Stop:     $local_fs $remote_fs\n# Should-Start:      $network\n# Should-Stop:       $network\n\
         # Default-Start:     2 3 4 5\n# Default-Stop:      0 1 6\n# Short-Description: {ABOUT}\n### END INIT INFO\n\n\
         case \"$1\" in\nstart)\n\t{start}\n\t;;\nstop)\n\t{stop}\n\t;;\nrestart|force-reload)\n\t\"$0\" stop\n\t\"$0\" start\n\t;;\n\
         *)\n\techo \"Usage: $0 {{start|stop|restart|force-reload}}\" >&2\n\texit 2\n\t;;\nesac\n"
    )
}

fn systemd(words: &[String], user: Option<&str>, name: String) -> File {
    let words = words.iter().map(|word| super::command::escaped(word)).collect::<Vec<_>>().join(" ");
    // A user's own service manager runs it, once it is told to without a login.
    let (place, target, wait) = match user {
        None => {
            (format!("/etc/systemd/system/{name}.service; then: systemctl enable {name}"), "multi-user.target", true)
        }
        Some(user) => (
            format!(
                "~/.config/systemd/user/{name}.service; then: systemctl --user enable {name}, loginctl enable-linger {user}"
            ),
            "default.target",
            false,
        ),
    };
    let network = if wait { "Wants=network-online.target\nAfter=network-online.target\n" } else { "" };
    let text = format!(
        "[Unit]\nDescription={ABOUT}\n{network}\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart={words} system boot\nExecStop={words} system boot --stop\n\n[Install]\nWantedBy={target}\n"
    );
    File { name: format!("{name}.service"), place, text, executable: false }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
