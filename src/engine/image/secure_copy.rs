//! `image scp`: images between this machine and others on which monopod is installed, through ssh, as a stream.

use crate::Engine;
use ops::image::{Load, Loaded, Save, SecureCopy, Watch};
use ops::{Fault, Kind};
use std::process::{Child, Command, Stdio};

/// The program that reaches other machines.
const SSH: &str = "ssh";

/// One end: another machine, an image there or here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct End {
    host: Option<String>,
    image: Option<String>,
}

impl Engine {
    /// Copies an image to, from or between other machines. Gives what was loaded here, if it came here.
    pub fn secure_copy(&self, asked: &SecureCopy, watch: &Watch<'_>) -> Result<Vec<Loaded>, Fault> {
        let from = end(&asked.source)?;
        let to = asked.destination.as_deref().map(end).transpose()?.unwrap_or_default();
        if to.image.is_some() {
            return Err(Fault::invalid("an image keeps its name: the destination is HOST:: alone"));
        }
        let Some(image) = from.image else { return Err(Fault::invalid("no image was named")) };
        let format = asked.format.as_deref().unwrap_or("oci-archive");
        if !matches!(format, "oci-archive" | "docker-archive") {
            return Err(Fault::invalid(format!("unknown format {format:?}: choose oci-archive or docker-archive")));
        }
        let save = format!("monopod save -q --format {format} {}", quoted(&image));
        match (from.host, to.host) {
            (None, None) => {
                Err(Fault::invalid("no other machine was named").hint("HOST::IMAGE is there, HOST:: takes one"))
            }
            (None, Some(host)) => {
                let save = Save { images: vec![image], format: Some(format.into()), ..Save::default() };
                self.to_save(&save)?;
                // An ssh that ends early is an error to be told, not a signal.
                sys::signals::ignore_broken_pipes().map_err(Fault::internal)?;
                let mut child = ssh(&host, "monopod load -q", Stdio::piped(), Stdio::null())?;
                let Some(pipe) = child.stdin.take() else { return Err(Fault::internal("ssh has no standard input")) };
                let saved = self.save(&save, Box::new(pipe), watch);
                // What ssh says explains more than a pipe that broke.
                ended(child, &host).and(saved)?;
                Ok(Vec::new())
            }
            (Some(host), None) => {
                let mut child = ssh(&host, &save, Stdio::null(), Stdio::piped())?;
                let Some(pipe) = child.stdout.take() else { return Err(Fault::internal("ssh has no standard output")) };
                rustix::stdio::dup2_stdin(&pipe)
                    .map_err(|e| Fault::internal(format!("cannot read from ssh: {}", std::io::Error::from(e))))?;
                drop(pipe);
                let loaded = self.load(&Load::default(), watch);
                if loaded.is_err() {
                    // It may wait for somebody to read what it sends.
                    let _ = child.kill();
                }
                match (ended(child, &host), loaded) {
                    (Ok(()), loaded) => loaded,
                    (Err(fault), Ok(_)) => Err(fault),
                    (Err(ssh), Err(load)) => Err(Fault::new(load.kind, format!("{load}; {ssh}"))),
                }
            }
            (Some(from), Some(to)) => {
                let mut first = ssh(&from, &save, Stdio::null(), Stdio::piped())?;
                let pipe = first.stdout.take().map_or_else(Stdio::null, Stdio::from);
                let second = ssh(&to, "monopod load -q", pipe, Stdio::null());
                let second = second.and_then(|second| ended(second, &to));
                if second.is_err() {
                    let _ = first.kill();
                }
                second.and(ended(first, &from))?;
                Ok(Vec::new())
            }
        }
    }
}

/// `HOST::IMAGE`, `HOST::` or `IMAGE`.
fn end(text: &str) -> Result<End, Fault> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match text.split_once("::") {
        Some(("", _)) => Err(Fault::invalid(format!("{text:?} names no host"))),
        Some((host, _)) if host.starts_with('-') => Err(Fault::invalid(format!("{host:?} is no name of a host"))),
        Some((host, image)) => Ok(End { host: some(host), image: some(image) }),
        None => Ok(End { host: None, image: some(text) }),
    }
}

/// A word for the shell of another machine.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn ssh(host: &str, command: &str, input: Stdio, output: Stdio) -> Result<Child, Fault> {
    let started = Command::new(SSH).args(["--", host, command]).stdin(input).stdout(output).spawn();
    started.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Fault::new(Kind::Unsupported, format!("other machines are reached by {SSH:?}, which is not installed here"))
                .hint("install OpenSSH's client, or carry the image over with save and load")
        }
        _ => Fault::internal(format!("cannot start {SSH:?}: {e}")),
    })
}

fn ended(mut child: Child, host: &str) -> Result<(), Fault> {
    let status = child.wait().map_err(|e| Fault::internal(format!("cannot wait for {SSH:?}: {e}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Fault::internal(format!("{SSH} {host}: {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let of = |text: &str| end(text).map(|end| (end.host, end.image)).map_err(|fault| fault.message);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("a/b:1").unwrap(), (None, some("a/b:1")));
        assert_eq!(of("me@host::a/b:1").unwrap(), (some("me@host"), some("a/b:1")));
        assert_eq!(of("host::").unwrap(), (some("host"), None));
        assert!(of("::a").unwrap_err().contains("no host"));
        assert!(of("-oProxyCommand=x::a").unwrap_err().contains("no name of a host"));
        assert_eq!(quoted("a'; rm -rf ~"), r"'a'\''; rm -rf ~'");
    }
}
