//! Podman's commands and the names of their options, so that one that is not built can be told from one that does not
//! exist. The table is `static/podman-surface.tsv`: command, tab, options separated by commas (`--long`, `--long/-s`, `--long/--other`).

const TABLE: &str = include_str!("../../static/podman-surface.tsv");

/// One option of Podman: all its spellings, with their dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// `--volume`, `-v`.
    pub spellings: Vec<&'static str>,
}

/// The options of the command `path` (`run`, `image inspect`, `(global)`); `None` if Podman has no such command.
pub fn options(path: &str) -> Option<Vec<Known>> {
    let row = TABLE.lines().find_map(|line| line.split_once('\t').filter(|(command, _)| *command == path))?.1;
    if let Some(other) = row.strip_prefix("(same as podman ").and_then(|r| r.strip_suffix(')')) {
        return options(other);
    }
    let known = |text: &'static str| Known { spellings: text.split('/').collect() };
    Some(row.split(',').filter(|text| text.starts_with("--")).map(known).collect())
}

/// True if Podman has the command, or a group of commands, called `path`.
pub fn is_command(path: &str) -> bool {
    TABLE
        .lines()
        .any(|line| line.strip_prefix(path).is_some_and(|rest| rest.starts_with('\t') || rest.starts_with(' ')))
}

/// The long name of Podman's option `spelling` (`--publish`, `-p`) of the command `path`, if it has it.
pub fn option(path: &str, spelling: &str) -> Option<&'static str> {
    let own = options(path).unwrap_or_default();
    let global = options("(global)").unwrap_or_default();
    let persistent = global.into_iter().filter(|k| k.spellings[0] != "--version");
    own.into_iter().chain(persistent).find(|k| k.spellings.contains(&spelling)).map(|k| k.spellings[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_podman_has() {
        assert!(is_command("run") && is_command("network") && is_command("network create") && is_command("image"));
        assert!(!is_command("ru") && !is_command("frobnicate"));
        assert_eq!(option("run", "-p"), Some("--publish"));
        assert_eq!(option("run", "--net"), Some("--network"));
        assert_eq!(option("container run", "--publish"), Some("--publish"));
        assert_eq!(option("ps", "--publish"), None);
        assert_eq!(option("ps", "--storage-driver"), Some("--storage-driver"));
        assert_eq!(option("ps", "-v"), None);
    }
}
