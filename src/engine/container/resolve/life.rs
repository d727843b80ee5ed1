//! Restart policy, health checks, and who is told of a start.

use crate::container::life::{Check, Destination, Life, Startup};
use ops::Fault;
use ops::container::Create;
use ops::life::{Health, OnFailure, Restart};
use store::configuration::Healthcheck;

const SECOND: i64 = 1_000_000_000;
/// Podman's: between two checks, and for each.
const INTERVAL: i64 = 30 * SECOND;
/// Podman's: failures in a row that count.
const RETRIES: i64 = 3;
/// Podman's: results that are kept, and bytes of each.
const LOG: (u32, u32) = (5, 500);

/// Decides it; `image` is the image's own health check.
pub fn life(asked: &Create, image: Option<&Healthcheck>) -> Result<Life, Fault> {
    let restart = asked.life.restart.unwrap_or_default();
    if asked.remove && restart != Restart::No {
        return Err(Fault::invalid(
            "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
        ));
    }
    let notify = asked.life.notify.unwrap_or_default();
    let check = check(&asked.life.health, image)?;
    if notify == ops::life::Notify::Healthy && check.is_none() {
        return Err(Fault::invalid("sdnotify policy \"healthy\" requires a healthcheck to be set"));
    }
    Ok(Life {
        restart,
        check,
        timeout: asked.life.timeout,
        notify,
        pid_file: asked.life.pid_file.clone(),
        monitor_pid_file: asked.life.monitor_pid_file.clone(),
    })
}

/// How the health of a container is checked that had `before`, when `asked` is to be changed of it.
pub fn updated(before: Option<&Check>, asked: &Health) -> Result<Option<Check>, Fault> {
    let ends =
        asked.none || asked.command.as_deref().is_some_and(|command| words(command).is_ok_and(|w| w == ["NONE"]));
    let Some(before) = before.filter(|_| !ends) else {
        if !ends && asked.command.is_none() {
            return Err(
                Fault::invalid("the container has no healthcheck that could be changed").hint("add --health-cmd")
            );
        }
        return check(asked, None);
    };
    let (regular, startup) = (&before.regular, before.startup.as_ref());
    let all = Health {
        command: asked.command.clone(),
        none: false,
        interval: asked.interval.or(Some(regular.interval)),
        retries: asked.retries.or(Some(regular.retries)),
        timeout: asked.timeout.or(Some(regular.timeout)),
        start_period: asked.start_period.or(Some(regular.start_period)),
        on_failure: asked.on_failure.or(Some(before.on_failure)),
        // A list whose first word says how the rest is run stays what it is.
        startup_command: asked.startup_command.clone().or(startup.and_then(|s| serde_json::to_string(&s.test).ok())),
        startup_interval: asked.startup_interval.or(startup.map(|s| s.interval)),
        startup_retries: asked.startup_retries.or(startup.map(|s| s.retries)),
        startup_success: asked.startup_success.or(startup.map(|s| s.success)),
        startup_timeout: asked.startup_timeout.or(startup.map(|s| s.timeout)),
        log_count: asked.log_count.or(Some(before.log_count)),
        log_size: asked.log_size.or(Some(before.log_size)),
        log_destination: asked.log_destination.clone().or_else(|| Some(before.log_destination.name())),
    };
    check(&all, Some(regular))
}

fn check(asked: &Health, image: Option<&Healthcheck>) -> Result<Option<Check>, Fault> {
    if asked.none && asked.command.is_some() {
        return Err(Fault::invalid("cannot specify both --no-healthcheck and --health-cmd"));
    }
    let test = match (&asked.command, image) {
        _ if asked.none => return Ok(None),
        (Some(command), _) => words(command)?,
        (None, Some(image)) => image.test.clone(),
        (None, None) => Vec::new(),
    };
    if test.first().is_none_or(|word| word.eq_ignore_ascii_case("NONE")) {
        return match asked {
            Health { on_failure: Some(action), .. } if *action != OnFailure::None => {
                Err(Fault::invalid(format!("cannot set on-failure action to {} without a health check", action.name())))
            }
            Health { startup_command: Some(command), .. } if !is_none(command) => {
                Err(Fault::invalid("startup healthcheck command is set but no healthcheck command is set"))
            }
            _ => Ok(None),
        };
    }
    let inherited = image.cloned().unwrap_or_default();
    // An image's zero inherits, and what is asked may be zero.
    let value = |asked: Option<i64>, image: i64, default: i64| asked.unwrap_or(if image > 0 { image } else { default });
    let regular = Healthcheck {
        test,
        interval: value(asked.interval, inherited.interval, INTERVAL),
        timeout: value(asked.timeout, inherited.timeout, INTERVAL),
        start_period: value(asked.start_period, inherited.start_period, 0),
        start_interval: inherited.start_interval,
        retries: value(asked.retries, inherited.retries, RETRIES),
    };
    limits("healthcheck", regular.timeout, regular.retries, 1)?;
    Ok(Some(Check {
        regular,
        startup: startup(asked)?,
        on_failure: asked.on_failure.unwrap_or_default(),
        log_count: asked.log_count.unwrap_or(LOG.0),
        log_size: asked.log_size.unwrap_or(LOG.1),
        log_destination: destination(asked.log_destination.as_deref().unwrap_or(LOCAL))?,
    }))
}

/// Podman's: where results are kept.
const LOCAL: &str = "local";

/// `local`, `events_logger`, or a directory of the host.
fn destination(text: &str) -> Result<Destination, Fault> {
    match text {
        LOCAL | "" => Ok(Destination::Local),
        "events_logger" => Ok(Destination::Events),
        path if path.starts_with('/') => Ok(Destination::Directory(path.into())),
        _ => Err(Fault::invalid(format!("invalid health log destination {text:?}"))
            .hint("use local, events_logger, or the absolute path of a directory")),
    }
}

fn startup(asked: &Health) -> Result<Option<Startup>, Fault> {
    if asked.startup_command.as_deref().is_some_and(is_none) {
        return Ok(None);
    }
    let Some(command) = &asked.startup_command else {
        let others = [asked.startup_interval, asked.startup_retries, asked.startup_success, asked.startup_timeout];
        if others.iter().any(Option::is_some) {
            return Err(Fault::invalid("options of the startup healthcheck need one").hint("add --health-startup-cmd"));
        }
        return Ok(None);
    };
    let startup = Startup {
        test: words(command)?,
        interval: asked.startup_interval.filter(|i| *i > 0).unwrap_or(INTERVAL),
        timeout: asked.startup_timeout.unwrap_or(INTERVAL),
        retries: asked.startup_retries.unwrap_or(0),
        success: asked.startup_success.unwrap_or(0).max(1),
    };
    limits("startup healthcheck", startup.timeout, startup.retries, 0)?;
    Ok(Some(startup))
}

/// The word that is no check.
fn is_none(command: &str) -> bool {
    words(command).is_ok_and(|words| words == ["NONE"])
}

fn limits(what: &str, timeout: i64, retries: i64, least: i64) -> Result<(), Fault> {
    if timeout < SECOND {
        return Err(Fault::invalid(format!("{what}-timeout must be at least 1 second")));
    }
    if retries < least {
        return Err(Fault::invalid(format!("{what}-retries must be greater than 0")));
    }
    Ok(())
}

/// As Docker has it: a first word says how the rest is run. Text is for a shell, and a JSON list of several words is a
/// program with its arguments.
fn words(text: &str) -> Result<Vec<String>, Fault> {
    let list = serde_json::from_str::<Vec<String>>(text).ok();
    let first = match &list {
        Some(list) => list.first().map(String::as_str),
        None => text.split(' ').next(),
    };
    let keyword = first.unwrap_or_default().to_ascii_uppercase();
    let words: Vec<String> = match (keyword.as_str(), list) {
        ("NONE", _) => vec!["NONE".into()],
        ("CMD-SHELL" | "CMD", Some(list)) => list,
        ("CMD", None) => text.split_whitespace().map(Into::into).collect(),
        ("CMD-SHELL", None) => vec![keyword.clone(), text[keyword.len()..].trim_start().to_owned()],
        (_, Some(list)) if list.len() > 1 => [vec!["CMD".to_owned()], list].concat(),
        (_, Some(list)) => [vec!["CMD-SHELL".to_owned()], list].concat(),
        (_, None) => vec!["CMD-SHELL".into(), text.to_owned()],
    };
    let empty = words.len() < 2 || words[1].is_empty();
    match empty && words[0] != "NONE" {
        true => Err(Fault::invalid("must define a healthcheck command for all healthchecks")),
        false => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ops::life;

    fn asked(health: Health) -> Create {
        Create { life: life::Life { health, ..life::Life::default() }, ..Create::default() }
    }

    #[test]
    fn commands_of_checks() {
        for (text, wanted) in [
            ("echo hi", &["CMD-SHELL", "echo hi"][..]),
            ("[\"ls\", \"-l\"]", &["CMD", "ls", "-l"]),
            ("[\"ls -l\"]", &["CMD-SHELL", "ls -l"]),
            ("[\"CMD\", \"ls\"]", &["CMD", "ls"]),
            ("CMD ls -l", &["CMD", "ls", "-l"]),
            ("CMD-SHELL ls | wc", &["CMD-SHELL", "ls | wc"]),
            ("none", &["NONE"]),
        ] {
            assert_eq!(words(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "[]", "CMD", "[\"CMD-SHELL\"]", "CMD-SHELL "] {
            assert!(words(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_image_gives_what_is_not_asked() {
        let image = Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            interval: 5 * SECOND,
            retries: 7,
            ..Healthcheck::default()
        };
        let of = |health| life(&asked(health), Some(&image)).unwrap().check;
        let check = of(Health::default()).unwrap();
        assert_eq!((check.regular.interval, check.regular.timeout, check.regular.retries), (5 * SECOND, INTERVAL, 7));
        let check = of(Health { interval: Some(0), ..Health::default() }).unwrap();
        assert_eq!((check.regular.interval, check.regular.test.len()), (0, 2));
        assert_eq!(of(Health { none: true, ..Health::default() }), None);
        assert_eq!(of(Health { command: Some("none".into()), ..Health::default() }), None);
        assert_eq!(life(&asked(Health::default()), None).unwrap(), Life::default());
    }

    #[test]
    fn what_is_not_changed_of_a_check_stays() {
        let first = Health {
            command: Some("cat /ok".into()),
            interval: Some(0),
            retries: Some(9),
            on_failure: Some(OnFailure::Kill),
            startup_command: Some("test -e /up".into()),
            startup_success: Some(4),
            log_count: Some(0),
            log_destination: Some("/var/log".into()),
            ..Health::default()
        };
        let before = check(&first, None).unwrap().unwrap();
        assert_eq!(updated(Some(&before), &Health::default()).unwrap().unwrap(), before);
        let other = Health { command: Some("true".into()), startup_retries: Some(2), ..Health::default() };
        let mut wanted = before.clone();
        wanted.regular.test = vec!["CMD-SHELL".into(), "true".into()];
        wanted.startup.as_mut().unwrap().retries = 2;
        assert_eq!(updated(Some(&before), &other).unwrap().unwrap(), wanted);
        for end in
            [Health { none: true, ..Health::default() }, Health { command: Some("none".into()), ..Health::default() }]
        {
            assert_eq!(updated(Some(&before), &end).unwrap(), None);
            assert_eq!(updated(None, &end).unwrap(), None);
        }
        let no_startup = Health { startup_command: Some("none".into()), ..Health::default() };
        assert_eq!(updated(Some(&before), &no_startup).unwrap().unwrap().startup, None);
        assert!(updated(None, &first).unwrap().is_some());
        assert!(updated(None, &Health { interval: Some(SECOND), ..Health::default() }).is_err());
        assert!(updated(Some(&before), &Health { retries: Some(0), ..Health::default() }).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let command = Some("true".to_owned());
        for health in [
            Health { none: true, command: command.clone(), ..Health::default() },
            Health { on_failure: Some(OnFailure::Kill), ..Health::default() },
            Health { startup_command: command.clone(), ..Health::default() },
            Health { command: command.clone(), log_destination: Some("here".into()), ..Health::default() },
            Health { command: command.clone(), retries: Some(0), ..Health::default() },
            Health { command: command.clone(), timeout: Some(SECOND / 2), ..Health::default() },
            Health { command, startup_interval: Some(SECOND), ..Health::default() },
        ] {
            assert!(life(&asked(health.clone()), None).is_err(), "{health:?}");
        }
        let mut both = asked(Health::default());
        both.remove = true;
        both.life.restart = Some(Restart::Always);
        assert!(life(&both, None).is_err());
        both.life.restart = Some(Restart::No);
        assert!(life(&both, None).is_ok());
    }
}
