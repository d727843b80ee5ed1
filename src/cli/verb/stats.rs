//! `stats`: what containers use, once or again and again.

use super::Verb;
use super::many::latest;
use crate::failure::Failure;
use crate::flag::{Flag, integer, short, switch, value};
use crate::format::{Column, Format, table_of};
use crate::program::{Program, plain, print};
use ops::container::Usage;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    all: bool,
    format: Option<String>,
    interval: Option<u64>,
    latest: bool,
    no_reset: bool,
    once: bool,
    full: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Show all containers, not only those that run", |r, on| r.all = on)),
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    short(
        'i',
        value("interval", "int", "Seconds between two reports (default 5)", |r, v| {
            let seconds: u64 = integer(v)?;
            if seconds == 0 {
                return Err("invalid interval, must be a positive number greater zero".into());
            }
            r.interval = Some(seconds);
            Ok(())
        }),
    ),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
    switch("no-reset", "Keep what was printed before on the screen", |r, on| r.no_reset = on),
    switch("no-stream", "Print one report and end", |r, on| r.once = on),
    switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "stats",
    usage: "[CONTAINER...]",
    about: "Display a live stream of container resource usage statistics",
    examples: &["--all --no-stream", "web", "--no-stream --format \"table {{.ID}} {{.Name}} {{.MemUsage}}\" web"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

const HEADINGS: [&str; 10] =
    ["ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET IO", "BLOCK IO", "PIDS", "CPU TIME", "AVG CPU %"];

const COLUMNS: &[Column] = &[
    ("AVGCPU", "AVG CPU %"),
    ("AvgCPU", "AVG CPU %"),
    ("BlockIO", "BLOCK IO"),
    ("BlockInput", "BLOCK INPUT"),
    ("BlockOutput", "BLOCK OUTPUT"),
    ("CPU", "CPU %"),
    ("CPUPerc", "CPU %"),
    ("ContainerID", "CONTAINER ID"),
    ("ID", "ID"),
    ("MemLimit", "MEM LIMIT"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemUsageBytes", "MEM USAGE / LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET IO"),
    ("NetInput", "NET INPUT"),
    ("NetOutput", "NET OUTPUT"),
    ("PIDS", "PIDS"),
    ("PIDs", "PIDS"),
    ("UpTime", "CPU TIME"),
];

fn execute(program: &Program, asked: Asked, mut arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    let ways = [asked.all, asked.latest, !arguments.is_empty()];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err(Failure::new("--all, --latest and containers cannot be used together"));
    }
    if asked.latest {
        arguments.push(latest(&engine)?.id.to_string());
    }
    let format = asked.format.as_deref().map(|text| Format::parse("stats", text)).transpose()?;
    // Processor time and moment of the report before, by id.
    let mut before: HashMap<String, (u64, i64)> = HashMap::new();
    loop {
        let usages = engine.usage(&arguments, asked.all).map_err(plain)?;
        let rows: Vec<Row> = usages.iter().map(|usage| Row::of(usage, before.get(&usage.id), asked.full)).collect();
        let text = match &format {
            None => table_of(&HEADINGS, &rows.iter().map(Row::cells).collect::<Vec<_>>(), false),
            Some(Format::Json) => {
                format!("{}\n", crate::format::indented(&rows.iter().map(Row::json).collect::<Vec<_>>(), b" "))
            }
            Some(rows_format) => {
                rows_format.print(&rows.iter().map(Row::object).collect::<Vec<_>>(), COLUMNS, false)?
            }
        };
        let clears = !asked.once && !asked.no_reset && format.is_none() && std::io::stdout().is_terminal();
        print(&format!("{}{text}", if clears { "\x1b[2J\x1b[1;1H" } else { "" }))?;
        if asked.once {
            return Ok(0);
        }
        before = usages.into_iter().filter_map(|u| Some((u.id, (u.cpu?, u.time)))).collect();
        std::thread::sleep(Duration::from_secs(asked.interval.unwrap_or(5)));
    }
}

/// One container, in words.
struct Row<'a> {
    usage: &'a Usage,
    id: &'a str,
    /// Percent of one processor since the report before, and since the start.
    cpu: f64,
    average: f64,
}

impl Row<'_> {
    fn of<'a>(usage: &'a Usage, before: Option<&(u64, i64)>, full: bool) -> Row<'a> {
        let percent = |used: u64, from: i64| {
            let time = usage.time.saturating_sub(from);
            if time <= 0 || from == 0 { 0.0 } else { used as f64 / time as f64 * 100.0 }
        };
        let used = usage.cpu.unwrap_or(0);
        let average = percent(used, usage.started);
        let cpu = before.map_or(average, |(earlier, time)| percent(used.saturating_sub(*earlier), *time));
        let id = if full { usage.id.as_str() } else { &usage.id[..12.min(usage.id.len())] };
        Row { usage, id, cpu, average }
    }

    fn memory(&self) -> String {
        self.usage.memory.map_or("-- / --".into(), |used| format!("{} / {}", size(used), size(self.usage.memory_limit)))
    }

    fn memory_percent(&self) -> String {
        match (self.usage.memory, self.usage.memory_limit) {
            (Some(used), limit) if limit > 0 => percent(used as f64 / limit as f64 * 100.0),
            _ => "--".into(),
        }
    }

    fn cpu(&self, value: f64) -> String {
        if self.usage.cpu.is_some() { percent(value) } else { "--".into() }
    }

    fn pids(&self) -> String {
        self.usage.pids.map_or("--".into(), |pids| pids.to_string())
    }

    fn time(&self) -> String {
        self.usage.cpu.map_or("--".into(), |used| format!("{:.6}s", used as f64 / 1e9))
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_owned(),
            self.usage.name.clone(),
            self.cpu(self.cpu),
            self.memory(),
            self.memory_percent(),
            pair(self.usage.network),
            pair(self.usage.block),
            self.pids(),
            self.time(),
            self.cpu(self.average),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.usage.name, "cpu_time": self.time(), "cpu_percent": self.cpu(self.cpu),
            "avg_cpu": self.cpu(self.average), "mem_usage": self.memory(), "mem_percent": self.memory_percent(),
            "net_io": pair(self.usage.network), "block_io": pair(self.usage.block), "pids": self.pids(),
        })
    }

    fn object(&self) -> Value {
        let usage = self.usage;
        json!({
            "ID": self.id, "ContainerID": self.id, "Name": usage.name, "CPU": self.cpu, "CPUPerc": self.cpu(self.cpu),
            "AvgCPU": self.cpu(self.average), "AVGCPU": self.cpu(self.average), "MemUsage": self.memory(),
            "MemUsageBytes": usage.memory.map_or("-- / --".into(), |used| format!("{} / {}", binary(used), binary(usage.memory_limit))),
            "MemLimit": usage.memory_limit, "MemPerc": self.memory_percent(), "NetIO": pair(usage.network),
            "NetInput": usage.network.0, "NetOutput": usage.network.1, "BlockIO": pair(usage.block),
            "BlockInput": usage.block.0, "BlockOutput": usage.block.1, "PIDS": self.pids(), "PIDs": self.pids(),
            "UpTime": self.time(),
        })
    }
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

/// Podman writes sizes here without a space.
fn size(bytes: u64) -> String {
    types::size::human(bytes, 4).replace(' ', "")
}

fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.3}{}", UNITS[unit]) }
}

fn pair((one, other): (u64, u64)) -> String {
    format!("{} / {}", size(one), size(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_the_time_between_two_reports() {
        let usage = Usage {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            time: 11_000_000_000,
            started: 1_000_000_000,
            cpu: Some(2_500_000_000),
            memory: Some(1_500_000),
            memory_limit: 3_000_000,
            network: (2_000, 0),
            pids: Some(2),
            ..Usage::default()
        };
        let first = Row::of(&usage, None, false).cells();
        assert_eq!(
            first,
            [
                "0123456789ab",
                "web",
                "25.00%",
                "1.5MB / 3MB",
                "50.00%",
                "2kB / 0B",
                "0B / 0B",
                "2",
                "2.500000s",
                "25.00%"
            ]
        );
        let second = Row::of(&usage, Some(&(2_000_000_000, 10_000_000_000)), true).cells();
        assert_eq!((second[0].as_str(), second[2].as_str()), ("0123456789abcdef", "50.00%"));
        assert_eq!(binary(3 << 19), "1.500MiB");
    }
}
