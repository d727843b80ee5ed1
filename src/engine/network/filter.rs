//! Which networks are listed or pruned (podman-network-ls(1), podman-network-prune(1)). Values of one key are alternatives,
//! but for labels, of which each must be there.

use network::Definition;
use ops::Fault;
use types::Pattern;

/// One condition.
pub(super) enum Filter {
    Name(Pattern),
    Id(Pattern),
    Driver(String),
    /// Key, value if one was given, and whether it must be there or not.
    Label(String, Option<String>, bool),
    /// Made before: nanoseconds since 1970.
    Until(i128),
    /// Whether a container is in it.
    Dangling(bool),
}

impl Filter {
    /// Reads `KEY=VALUE`.
    pub fn parse(text: &str) -> Result<Filter, Fault> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Fault::invalid(format!("invalid filter {text:?}: expected KEY=VALUE")))?;
        Ok(match key {
            "name" => Filter::Name(Pattern::parse(value)?),
            // Its beginning, or a pattern of one's own.
            "id" if value.bytes().all(|b| b.is_ascii_hexdigit()) => Filter::Id(Pattern::parse(&format!("^{value}"))?),
            "id" => Filter::Id(Pattern::parse(value)?),
            "driver" => Filter::Driver(value.to_owned()),
            "label" | "label!" => {
                let (name, wanted) = match value.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (value, None),
                };
                Filter::Label(name.to_owned(), wanted, key == "label")
            }
            "until" => Filter::Until(
                crate::moment::parse(value, crate::container::now(), &jiff::tz::TimeZone::system())
                    .map_err(|e| Fault::invalid(format!("invalid value {value:?} for filter until: {e}")))?
                    .into(),
            ),
            "dangling" => Filter::Dangling(match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => {
                    return Err(Fault::invalid(format!(
                        "{value:?} is not a valid value for the \"dangling\" filter - must be true or false"
                    )));
                }
            }),
            _ => {
                return Err(Fault::invalid(format!("invalid filter {key:?}"))
                    .hint("use name, id, driver, label, label!, until or dangling"));
            }
        })
    }

    /// Whether a network passes all of them; `used` are the names of those that containers are in.
    pub fn pass(filters: &[Filter], network: &Definition, used: &[String]) -> bool {
        filters.iter().all(|filter| {
            let same = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
            match filter {
                Filter::Label(..) => filter.holds(network, used),
                _ => filters.iter().filter(same).any(|other| other.holds(network, used)),
            }
        })
    }

    fn holds(&self, network: &Definition, used: &[String]) -> bool {
        match self {
            Filter::Name(name) => name.is_in(&network.name),
            Filter::Id(id) => id.is_in(&network.id),
            Filter::Driver(driver) => network.driver == *driver,
            Filter::Label(key, value, wanted) => {
                let has = network.labels.get(key).is_some_and(|v| value.as_ref().is_none_or(|wanted| wanted == v));
                has == *wanted
            }
            Filter::Until(time) => {
                network.created.parse::<jiff::Timestamp>().is_ok_and(|created| created.as_nanosecond() < *time)
            }
            Filter::Dangling(wanted) => used.contains(&network.name) != *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let network = Definition {
            labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())].into(),
            ..Definition::default_network()
        };
        let pass = |filters: &[&str], used: &[String]| {
            let filters: Vec<Filter> = filters.iter().map(|f| Filter::parse(f).ok().unwrap()).collect();
            Filter::pass(&filters, &network, used)
        };
        for filters in [
            &[][..],
            &["name=pod"],
            &["name=^podman$", "driver=bridge"],
            &["name=x", "name=p.d"],
            &["id=2f259b"],
            &["label=a", "label=b="],
            &["label=a=1", "label!=c"],
            &["until=2023-01-02T00:00:00Z"],
            &["dangling=true"],
        ] {
            assert!(pass(filters, &[]), "{filters:?}");
        }
        for filters in [
            &["name=^pod$"][..],
            &["id=f259b"],
            &["driver=brid"],
            &["label=a", "label=c"],
            &["label!=a"],
            &["until=2022-12-31T00:00:00Z"],
            &["dangling=false"],
        ] {
            assert!(!pass(filters, &[]), "{filters:?}");
        }
        assert!(pass(&["dangling=0"], &["podman".to_owned()]));
        for wrong in ["name", "size=1", "dangling=x", "until=x"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
