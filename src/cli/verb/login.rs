//! `login` and `logout`: credentials for registries.

use super::Verb;
use super::registry_flags::{self, HasAccess};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, note, plain, print};
use ops::image::{Access, Login, Logout};
use std::io::BufRead;

/// What the flags of `login` fill.
#[derive(Default)]
pub struct Asked {
    login: Login,
    get_login: bool,
    password_stdin: bool,
    secret: Option<String>,
    verbose: bool,
}

impl HasAccess for Asked {
    fn access(&mut self) -> &mut Access {
        &mut self.login.access
    }
}

const FLAGS: &[Flag<Asked>] = &[
    registry_flags::auth_file(),
    registry_flags::cert_dir(),
    registry_flags::tls_verify(),
    value("compat-auth-file", "string", "Keep the login in this file, as Docker's config.json has it", |r, v| {
        r.login.compat_auth_file = Some(v.into());
        Ok(())
    }),
    switch("get-login", "Print who is logged in", |r, on| r.get_login = on),
    short(
        'p',
        value("password", "string", "Password (all users of this machine can see it)", |r, v| {
            r.login.password = Some(v.into());
            Ok(())
        }),
    ),
    switch("password-stdin", "Take the password from standard input", |r, on| r.password_stdin = on),
    value(
        "secret",
        "string",
        "The password is this secret (and the user is called like it, without --username)",
        |r, v| {
            r.secret = Some(v.into());
            Ok(())
        },
    ),
    short(
        'u',
        value("username", "string", "User", |r, v| {
            r.login.user = Some(v.into());
            Ok(())
        }),
    ),
    short('v', switch("verbose", "Print where the login is kept", |r, on| r.verbose = on)),
];

/// `login`.
pub const LOGIN: Verb<Asked> = Verb {
    path: "login",
    usage: "REGISTRY",
    about: "Log in to a registry",
    examples: &["quay.io", "--username me --password-stdin localhost:5000"],
    interspersed: true,
    flags: &[FLAGS],
    execute: login,
};

fn registry(arguments: Vec<String>) -> Result<String, Failure> {
    match <[String; 1]>::try_from(arguments) {
        Ok([registry]) => {
            let plain = registry.strip_prefix("https://").or(registry.strip_prefix("http://"));
            Ok(plain.unwrap_or(&registry).trim_end_matches('/').to_owned())
        }
        Err(none) if none.is_empty() => Err(Failure::new("please provide a registry to login to")),
        Err(several) => Err(Failure::new(format!("accepts at most 1 arg(s), received {}", several.len()))),
    }
}

fn login(program: &Program, mut asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let registry = registry(arguments)?;
    let engine = program.engine()?;
    let known = engine.logged_in(&registry, &asked.login.access).map_err(plain)?;
    if asked.get_login {
        let user = known.ok_or_else(|| Failure::new(format!("not logged into {registry}")))?;
        print(&format!("{user}\n"))?;
        return Ok(0);
    }
    if asked.password_stdin {
        if asked.login.password.is_some() {
            return Err(Failure::new("--password and --password-stdin cannot be used together"));
        }
        if asked.login.user.is_none() {
            return Err(Failure::new("Must provide --username with --password-stdin"));
        }
        asked.login.password = Some(line()?);
    }
    if let Some(name) = &asked.secret {
        if asked.password_stdin || asked.login.password.is_some() {
            return Err(Failure::new("--secret cannot be used together with --password or --password-stdin"));
        }
        let secret = engine.secret(name).map_err(plain)?;
        let data = engine.secret_data(&secret).map_err(plain)?;
        let text = String::from_utf8(data).map_err(|_| Failure::new(format!("the secret {name:?} is no text")))?;
        asked.login.password = Some(text.trim_end_matches('\n').to_owned());
        asked.login.user.get_or_insert_with(|| name.clone());
    }
    let complete = asked.login.user.is_some() && asked.login.password.is_some();
    let mut kept = false;
    if !complete && asked.login.user.is_none() && asked.login.password.is_none() && known.is_some() {
        note(&format!("Authenticating with existing credentials for {registry}"));
        kept = true;
    } else if !complete {
        ask(&mut asked.login, known.as_deref())?;
    }
    asked.login.registry = registry.clone();
    let done = match engine.login(&asked.login) {
        Err(fault) if kept => {
            note(&format!("Existing credentials are invalid, please enter valid username and password: {fault}"));
            ask(&mut asked.login, known.as_deref())?;
            kept = false;
            engine.login(&asked.login).map_err(plain)?
        }
        other => other.map_err(plain)?,
    };
    if asked.verbose {
        print(&format!("Used: {}\n", done.file.display()))?;
    }
    print(match kept {
        true => "Existing credentials are valid. Already logged in to ",
        false => "Login Succeeded!\n",
    })?;
    if kept {
        print(&format!("{registry}\n"))?;
    }
    Ok(0)
}

/// Asks for what is missing.
fn ask(login: &mut Login, known: Option<&str>) -> Result<(), Failure> {
    if login.user.is_none() {
        let offer = known.filter(|user| !user.is_empty()).map(|user| format!(" ({user})")).unwrap_or_default();
        print(&format!("Username{offer}: "))?;
        let user = line()?;
        let user = if user.is_empty() { known.unwrap_or("").to_owned() } else { user };
        if user.is_empty() {
            return Err(Failure::new("a username is needed"));
        }
        login.user = Some(user);
    }
    if login.password.is_none() {
        print("Password: ")?;
        let quiet = sys::terminal::Raw::silent(rustix::stdio::stdin());
        let password = line();
        drop(quiet);
        print("\n")?;
        login.password = Some(password?);
    }
    Ok(())
}

/// A line of standard input without its end.
fn line() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_line(&mut text);
    read.map_err(|e| Failure::new(format!("cannot read standard input: {e}")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What the flags of `logout` fill.
#[derive(Default)]
pub struct Leaving {
    logout: Logout,
    all: bool,
}

/// `logout`.
pub const LOGOUT: Verb<Leaving> = Verb {
    path: "logout",
    usage: "REGISTRY",
    about: "Log out of a registry",
    examples: &["quay.io", "--all"],
    interspersed: true,
    flags: &[&[
        short('a', switch("all", "Forget the logins of all registries", |r: &mut Leaving, on| r.all = on)),
        value("authfile", "string", "File with credentials of registries", |r, v| {
            r.logout.auth_file = Some(v.into());
            Ok(())
        }),
        value("compat-auth-file", "string", "The same, as Docker's config.json has it", |r, v| {
            r.logout.compat_auth_file = Some(v.into());
            Ok(())
        }),
    ]],
    execute: |program, mut asked, arguments| {
        if asked.all {
            if !arguments.is_empty() {
                return Err(Failure::new("--all takes no arguments"));
            }
            program.engine()?.logout(&asked.logout).map_err(plain)?;
            print("Removed login credentials for all registries\n")?;
            return Ok(0);
        }
        let registry = registry(arguments)?;
        asked.logout.registry = Some(registry.clone());
        program.engine()?.logout(&asked.logout).map_err(plain)?;
        print(&format!("Removed login credentials for {registry}\n"))?;
        Ok(0)
    },
};
