//! Finding and listing containers: one query, and two small files for each that runs.

use super::init::no_such;
use crate::Engine;
use crate::database::{Mark, Record};
use ops::container::{List, Namespaces, Size, Status, Summary};
use ops::life::Restart;
use ops::{Fault, Kind};
use types::Id;

impl Engine {
    /// The container named by a name, an id or a prefix of one.
    pub fn find(&self, name: &str) -> Result<Id, Fault> {
        Ok(self.record_of(name)?.id)
    }

    /// True if there is such a container.
    pub fn exists(&self, name: &str) -> Result<bool, Fault> {
        match self.record_of(name) {
            Ok(_) => Ok(true),
            Err(fault) if fault.kind == Kind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The state of a container.
    pub fn status(&self, name: &str) -> Result<Status, Fault> {
        let record = self.record_of(name)?;
        Ok(self.observe(&record).status)
    }

    /// True if the container runs, be it frozen or not.
    pub fn runs(&self, name: &str) -> Result<bool, Fault> {
        let state = self.observe(&self.record_of(name)?);
        Ok(matches!(state.status, Status::Running | Status::Paused))
    }

    pub(crate) fn record_of(&self, name: &str) -> Result<Record, Fault> {
        let mut found = self.database()?.matching(name)?;
        match found.len() {
            0 => Err(no_such(name)),
            1 => Ok(found.remove(0)),
            _ => Err(Fault::new(
                Kind::Conflict,
                format!("more than one result for container name or ID {name:?}: container already exists"),
            )
            .hint("give more digits of the id")),
        }
    }

    /// The containers, newest first. An ended one that nobody has noticed yet is recorded as such on the way.
    pub fn list(&self, asked: &List) -> Result<Vec<Summary>, Fault> {
        let filters = asked.filters.iter().map(|f| self.filter(f)).collect::<Result<Vec<_>, _>>()?;
        let by_status = filters.iter().any(|f| matches!(f, Filter::Status(_) | Filter::Exited(_)));
        let mut all = Vec::new();
        for record in self.database()?.all()? {
            let (record, status) = if record.mark == Mark::Active {
                let state = self.observe(&record);
                match state.over {
                    Some(_) => {
                        // Removed while this list is made.
                        let Some(record) = self.settle(record)? else { continue };
                        let status = self.observe(&record).status;
                        (with_running(record, None), status)
                    }
                    None => {
                        let shown = self.shown(&record, &state);
                        (with_running(record, state.running), shown)
                    }
                }
            } else {
                let status = self.observe(&record).status;
                ((record, 0), status)
            };
            let shown = asked.all
                || by_status
                || asked.last.is_some()
                || matches!(status, Status::Running | Status::Paused | Status::Stopping);
            if shown && Filter::pass(&filters, &record.0, status) {
                let health = self.health(&record.0).map(|h| h.status).unwrap_or_default();
                let by_health = filters.iter().filter(|f| matches!(f, Filter::Health(_)));
                let mut wanted = by_health.peekable();
                let word = if health.is_empty() { "none" } else { &health };
                if wanted.peek().is_some() && !wanted.any(|f| matches!(f, Filter::Health(w) if w == word)) {
                    continue;
                }
                let restarting = self.is_restarting(&record.0);
                all.push(Summary { restarting, health, ..summary(record.0, record.1, status) });
            }
        }
        all.reverse();
        if let Some(last) = asked.last {
            all.truncate(last);
        }
        for container in &mut all {
            if asked.sizes {
                container.size = Some(self.size_of(&container.id)?);
            }
            if asked.namespaces && container.pid > 0 {
                container.namespaces = Some(namespaces(container.pid));
            }
        }
        Ok(all)
    }

    /// Room that the files of a container take.
    pub(crate) fn size_of(&self, id: &Id) -> Result<Size, Fault> {
        let size = self.store()?.snapshot_size(id).map_err(crate::fault::store)?;
        Ok(Size { written: size.written, whole: size.whole })
    }

    fn filter(&self, text: &str) -> Result<Filter, Fault> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Fault::invalid(format!("invalid filter {text:?}: expected KEY=VALUE")))?;
        let owned = value.to_owned();
        let seq = || -> Result<i64, Fault> { Ok(self.record_of(value)?.seq) };
        Ok(match key {
            "id" => Filter::Id(owned),
            "name" => Filter::Name(types::Pattern::parse(value)?),
            "status" => Filter::Status(match value {
                "created" | "configured" => Status::Created,
                "initialized" => Status::Initialized,
                "running" => Status::Running,
                "paused" => Status::Paused,
                "stopping" => Status::Stopping,
                "exited" | "stopped" => Status::Exited,
                "removing" => Status::Removing,
                _ => {
                    return Err(Fault::invalid(format!(
                        "invalid value {value:?} for filter status: unknown container state"
                    )));
                }
            }),
            "exited" => Filter::Exited(
                value
                    .parse()
                    .map_err(|_| Fault::invalid(format!("exited code out of range {value:?}: expected a number")))?,
            ),
            "label" => match value.split_once('=') {
                Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
                None => Filter::Label(owned, None),
            },
            "label!" => match value.split_once('=') {
                Some((key, value)) => Filter::NoLabel(key.to_owned(), Some(value.to_owned())),
                None => Filter::NoLabel(owned, None),
            },
            "until" => {
                let until = crate::moment::parse(value, super::now(), &jiff::tz::TimeZone::system());
                Filter::Until(
                    until.map_err(|e| Fault::invalid(format!("invalid value {value:?} for filter until: {e}")))?,
                )
            }
            "ancestor" => Filter::Image(owned.clone(), self.image_id(value).ok()),
            "volume" => {
                let database = self.database()?;
                let mut users: Vec<i64> = database.users_of_volume(value)?.into_iter().map(|(seq, _)| seq).collect();
                if value.starts_with('/') {
                    users.extend(database.users_of_directory(value)?);
                }
                Filter::Volume(owned, users)
            }
            "network" => Filter::Network(owned),
            "restart-policy" => Filter::Policy(match value {
                // Podman's other word for it.
                "none" | "" => Restart::No.name().to_owned(),
                "no" | "on-failure" | "always" | "unless-stopped" => owned,
                _ => {
                    return Err(Fault::invalid(format!("{value} invalid restart policy")));
                }
            }),
            "health" => match value {
                "starting" | "healthy" | "unhealthy" | "none" => Filter::Health(owned),
                _ => {
                    return Err(Fault::invalid(format!("invalid value {value:?} for filter health"))
                        .hint("use starting, healthy, unhealthy or none"));
                }
            },
            "before" => Filter::Before(seq()?),
            "since" | "after" => Filter::Since(seq()?),
            _ => {
                return Err(Fault::invalid(format!("{key} is an invalid filter"))
                    .hint("use id, name, status, exited, label, ancestor, volume, network, until, before, since, health or restart-policy"));
            }
        })
    }
}

/// One condition. Those of one key are alternatives, but for labels, which must all be there.
enum Filter {
    Id(String),
    Name(types::Pattern),
    Status(Status),
    Exited(i32),
    Label(String, Option<String>),
    NoLabel(String, Option<String>),
    Image(String, Option<String>),
    Volume(String, Vec<i64>),
    Network(String),
    Policy(String),
    /// Looked at where it is known, last of all.
    Health(String),
    Until(i64),
    Before(i64),
    Since(i64),
}

impl Filter {
    fn pass(filters: &[Filter], record: &Record, status: Status) -> bool {
        filters.iter().enumerate().all(|(at, filter)| {
            if matches!(filter, Filter::Label(..) | Filter::NoLabel(..)) {
                return filter.holds(record, status);
            }
            let same = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
            // The first of a key speaks for all of them.
            filters[..at].iter().any(|f| same(&f)) || filters.iter().filter(same).any(|f| f.holds(record, status))
        })
    }

    fn holds(&self, record: &Record, status: Status) -> bool {
        let label = |key: &str, value: &Option<String>| {
            record.labels.iter().any(|(k, v)| k == key && value.as_ref().is_none_or(|wanted| wanted == v))
        };
        match self {
            Filter::Id(id) => record.id.as_str().starts_with(id),
            Filter::Name(name) => name.is_in(&record.name),
            Filter::Status(Status::Stopping) => status == Status::Stopping,
            Filter::Status(wanted) => *wanted == status,
            Filter::Exited(code) => status == Status::Exited && record.exit_code == *code,
            Filter::Label(key, value) => label(key, value),
            Filter::NoLabel(key, value) => !label(key, value),
            Filter::Image(name, id) => {
                id.as_ref().is_some_and(|id| *id == record.image_id)
                    || record.image == *name
                    || record.image_id.starts_with(name.as_str())
            }
            Filter::Volume(path, users) => record.mounts.contains(path) || users.contains(&record.seq),
            Filter::Network(name) => record.networks.contains(name),
            Filter::Policy(name) => record.policy.name() == name,
            Filter::Health(_) => true,
            Filter::Until(time) => record.created < *time,
            Filter::Before(seq) => record.seq < *seq,
            Filter::Since(seq) => record.seq > *seq,
        }
    }
}

fn with_running(mut record: Record, running: Option<monitor::record::Running>) -> (Record, i32) {
    match running {
        Some(running) => {
            if running.started_ns != 0 {
                record.started = running.started_ns;
                record.finished = 0;
            }
            (record, running.pid)
        }
        None => (record, 0),
    }
}

/// The namespaces of a process, which may have ended meanwhile.
fn namespaces(pid: i32) -> Namespaces {
    let number = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap_or_default();
        let text = link.to_string_lossy();
        let inside = text.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
        inside.unwrap_or_default().to_owned()
    };
    Namespaces {
        cgroup: number("cgroup"),
        ipc: number("ipc"),
        mount: number("mnt"),
        network: number("net"),
        pid: number("pid"),
        user: number("user"),
        uts: number("uts"),
    }
}

fn summary(record: Record, pid: i32, status: Status) -> Summary {
    const SECOND: i64 = 1_000_000_000;
    Summary {
        id: record.id,
        name: record.name,
        image: record.image,
        image_id: record.image_id,
        command: record.command,
        created: record.created / SECOND,
        status,
        started: record.started / SECOND,
        finished: record.finished / SECOND,
        exit_code: record.exit_code,
        pid,
        remove: record.remove,
        labels: record.labels,
        mounts: record.mounts,
        networks: record.networks,
        ports: record.ports,
        size: None,
        namespaces: None,
        restarts: record.restarts,
        restarting: false,
        health: String::new(),
    }
}
