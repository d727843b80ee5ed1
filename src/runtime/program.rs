//! Finding the program inside the root, as the user who will execute it, and the texts it is given.

use crate::error::Error;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// A program that is ready to be executed.
#[derive(Debug)]
pub struct Program {
    /// What the user called it.
    pub name: String,
    /// Its path.
    pub path: CString,
    /// Arguments, with the name first.
    pub arguments: Vec<CString>,
    /// `K=V` texts.
    pub environment: Vec<CString>,
}

/// Finds `arguments[0]`: by its path if it has a slash, else in the environment's `PATH`.
pub fn find(arguments: &[String], environment: &[String]) -> Result<Program, Error> {
    let name = arguments.first().cloned().unwrap_or_default();
    let not_found = || Error::NotFound { program: name.clone() };
    let path = if name.contains('/') {
        check(OsStr::new(&name)).map_err(|e| fail(&name, e))?;
        name.clone().into_bytes()
    } else {
        let list = value(environment, "PATH").unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut refused = None;
        let mut found = None;
        for directory in list.split(':').filter(|_| !name.is_empty()) {
            let directory = if directory.is_empty() { "." } else { directory };
            let candidate = format!("{directory}/{name}");
            match check(OsStr::new(&candidate)) {
                Ok(()) => {
                    found = Some(candidate.into_bytes());
                    break;
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match (found, refused) {
            (Some(path), _) => path,
            // A directory of that name in PATH is no program, as for shells.
            (None, Some(error)) if error != Errno::PERM => return Err(fail(&name, error)),
            _ => return Err(not_found()),
        }
    };
    let path = CString::new(path).map_err(|_| not_found())?;
    let arguments = arguments.iter().map(|text| CString::new(text.as_bytes())).collect::<Result<_, _>>();
    // To leave one out, or half of it, would execute something else.
    let arguments = arguments.map_err(|_| Error::Execute { program: name.clone(), source: Errno::INVAL })?;
    // A stranger's image may hold entries that are none: only K=V counts.
    let environment = texts(environment.iter().filter(|e| e.find('=').is_some_and(|at| at > 0)));
    Ok(Program { name, path, arguments, environment })
}

/// The value of `key` in `K=V` texts; the last one counts.
pub fn value<'a>(environment: &'a [String], key: &str) -> Option<&'a str> {
    environment.iter().rev().find_map(|entry| entry.strip_prefix(key)?.strip_prefix('='))
}

fn texts<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<CString> {
    texts.filter_map(|text| CString::new(text.as_bytes()).ok()).collect()
}

/// `EPERM` for what is no regular file, `EACCES` for what this user may not execute.
fn check(path: &OsStr) -> Result<(), Errno> {
    let status = rustix::fs::stat(path.as_bytes())?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Errno::PERM);
    }
    rustix::fs::accessat(CWD, path.as_bytes(), Access::EXEC_OK, AtFlags::empty())
}

fn fail(name: &str, error: Errno) -> Error {
    match error {
        Errno::NOENT | Errno::NOTDIR => Error::NotFound { program: name.to_owned() },
        source => Error::NotExecutable { program: name.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_as_shells_find() {
        let env = |path: &str| vec![format!("PATH={path}"), "A=B".into(), "NOVALUE".into(), "=x".into()];
        let find = |name: &str, path: &str| super::find(&[name.to_owned(), "x".into()], &env(path));
        let found = find("sh", "/nowhere:/bin").unwrap();
        assert_eq!(found.path.to_str(), Ok("/bin/sh"));
        assert_eq!(found.environment.len(), 2);
        assert_eq!(find("/bin/sh", "").unwrap().name, "/bin/sh");
        for (name, code) in
            [("nope", 127), ("/nope", 127), ("", 127), ("/etc/passwd/x", 127), ("/etc", 126), ("/etc/passwd", 126)]
        {
            assert_eq!(find(name, "/bin").unwrap_err().code(), code, "{name:?}");
        }
        assert_eq!(find("etc", "/").unwrap_err().code(), 127);
        assert_eq!(super::find(&["sh".into(), "a\0b".into()], &env("/bin")).unwrap_err().code(), 126);
    }

    #[test]
    fn the_last_value_counts() {
        let environment = ["A=1".to_owned(), "AB=2".into(), "A=3=4".into()];
        assert_eq!(value(&environment, "A"), Some("3=4"));
        assert_eq!(value(&environment, "C"), None);
    }
}
