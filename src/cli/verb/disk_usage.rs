//! `system df`: how much room images, containers and volumes take.

use super::Verb;
use super::ps::rows::status;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::{Column, Format, table_of};
use crate::program::{Program, plain, print};
use crate::time::{ago, now};
use ops::container::Status;
use ops::system::{ContainerUsage, DiskUsage};
use serde_json::{Value, json};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    verbose: bool,
    format: Option<String>,
}

const FLAGS: &[Flag<Asked>] = &[
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    short('v', switch("verbose", "Show every image, container and volume", |r, on| r.verbose = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "system df",
    usage: "",
    about: "Show disk usage",
    examples: &["", "-v", "--format json"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

const HEADINGS: [&str; 5] = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];

const COLUMNS: &[Column] = &[
    ("Active", "ACTIVE"),
    ("RawReclaimable", "RAWRECLAIMABLE"),
    ("RawSize", "RAWSIZE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("Total", "TOTAL"),
    ("Type", "TYPE"),
];

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system df takes no arguments"));
    }
    if asked.verbose && asked.format.is_some() {
        return Err(Failure::new("cannot combine --format and --verbose flags"));
    }
    let format = asked.format.as_deref().map(|text| Format::parse("system df", text)).transpose()?;
    let usage = program.engine()?.disk_usage().map_err(plain)?;
    let sums = sums(&usage);
    let text = match format {
        _ if asked.verbose => details(&usage),
        Some(format) => format.print(&sums.iter().map(Sum::fields).collect::<Vec<_>>(), COLUMNS, false)?,
        None => table_of(&HEADINGS, &sums.iter().map(Sum::cells).collect::<Vec<_>>(), false),
    };
    print(&text).map(|()| 0)
}

/// As Go's units write it, without a space.
pub fn human(bytes: u64) -> String {
    types::size::human(bytes, 4).replace(' ', "")
}

/// A line of the short table.
struct Sum {
    kind: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

impl Sum {
    fn reclaimable_text(&self) -> String {
        let share =
            if self.size == 0 { 0 } else { (self.reclaimable as f64 / self.size as f64 * 100.0).round() as u64 };
        format!("{} ({share}%)", human(self.reclaimable))
    }

    fn cells(&self) -> Vec<String> {
        let size = human(self.size);
        vec![self.kind.into(), self.total.to_string(), self.active.to_string(), size, self.reclaimable_text()]
    }

    fn fields(&self) -> Value {
        json!({
            "Active": self.active,
            "RawReclaimable": self.reclaimable,
            "RawSize": self.size,
            "Reclaimable": self.reclaimable_text(),
            "Size": human(self.size),
            "Total": self.total,
            "Type": self.kind,
        })
    }
}

fn sums(usage: &DiskUsage) -> [Sum; 3] {
    let runs = |status| matches!(status, Status::Running | Status::Paused | Status::Stopping);
    let written = |c: &&ContainerUsage| c.container.size.map_or(0, |size| size.written);
    let containers = &usage.containers;
    let unused = usage.images.iter().filter(|image| image.containers == 0);
    [
        Sum {
            kind: "Images",
            total: usage.images.len(),
            active: usage.images.iter().filter(|image| image.containers > 0).count(),
            size: usage.layers,
            reclaimable: unused.map(|image| image.unique).sum(),
        },
        Sum {
            kind: "Containers",
            total: containers.len(),
            active: containers.iter().filter(|c| runs(c.container.status)).count(),
            size: containers.iter().map(|c| written(&c)).sum(),
            reclaimable: containers.iter().filter(|c| !runs(c.container.status)).map(|c| written(&c)).sum(),
        },
        Sum {
            kind: "Local Volumes",
            total: usage.volumes.len(),
            active: usage.volumes.iter().filter(|volume| volume.links > 0).count(),
            size: usage.volumes.iter().map(|volume| volume.size).sum(),
            reclaimable: usage.volumes.iter().filter(|volume| volume.links == 0).map(|volume| volume.size).sum(),
        },
    ]
}

/// Bytes of all three together.
pub fn whole(usage: &DiskUsage) -> u64 {
    sums(usage).iter().map(|sum| sum.size).sum()
}

fn details(usage: &DiskUsage) -> String {
    let now = now();
    let mut images = Vec::new();
    for image in &usage.images {
        // By a name with a digest it is shown only if it has no other.
        let mut names: Vec<(&str, &str)> =
            image.names.iter().filter(|name| !name.contains('@')).filter_map(|name| name.rsplit_once(':')).collect();
        if names.is_empty() {
            let digest = image.names.iter().find_map(|name| name.split_once('@'));
            names.push((digest.map_or("<none>", |(repository, _)| repository), "<none>"));
        }
        for (repository, tag) in names {
            let sizes = [image.size, image.shared, image.unique].map(human);
            let mut cells = vec![repository.to_owned(), tag.to_owned(), image.id.short(), ago(image.created, now)];
            cells.extend(sizes);
            cells.push(image.containers.to_string());
            images.push(cells);
        }
    }
    let containers: Vec<Vec<String>> = usage
        .containers
        .iter()
        .map(|ContainerUsage { container, volumes }| {
            vec![
                container.id.short().to_owned(),
                container.image_id.get(..12).unwrap_or(&container.image_id).to_owned(),
                container.command.join(" "),
                volumes.to_string(),
                human(container.size.map_or(0, |size| size.written)),
                ago(container.created, now),
                status(container, now),
                container.name.clone(),
            ]
        })
        .collect();
    let volumes: Vec<Vec<String>> =
        usage.volumes.iter().map(|v| vec![v.name.clone(), v.links.to_string(), human(v.size)]).collect();
    let image_titles = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"];
    let container_titles = ["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"];
    format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}",
        table_of(&image_titles, &images, false),
        table_of(&container_titles, &containers, false),
        table_of(&["VOLUME NAME", "LINKS", "SIZE"], &volumes, false),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ops::system::VolumeUsage;

    #[test]
    fn what_nobody_uses_can_be_had_back() {
        let volume = |links, size| VolumeUsage { name: "v".into(), links, size };
        let usage = DiskUsage { volumes: vec![volume(1, 3000), volume(0, 1000)], layers: 5000, ..DiskUsage::default() };
        let [images, containers, volumes] = sums(&usage);
        assert_eq!(images.cells(), ["Images", "0", "0", "5kB", "0B (0%)"]);
        assert_eq!(containers.cells(), ["Containers", "0", "0", "0B", "0B (0%)"]);
        assert_eq!(volumes.cells(), ["Local Volumes", "2", "1", "4kB", "1kB (25%)"]);
        assert_eq!(whole(&usage), 9000);
    }
}
