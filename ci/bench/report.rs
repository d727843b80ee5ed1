//! The table: medians, minima and ratios of each row, beside what it should reach, and the machine in words.

use crate::sample::{Sample, least, median};
use std::fmt::Write;
use std::fs;

/// What a row should reach, as ratios to podman, and to the first floor beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reach {
    wall: Option<f64>,
    cpu: Option<f64>,
    peak: Option<f64>,
    floor: Option<f64>,
    floor_cpu: Option<f64>,
}

impl Reach {
    /// Of the wall time.
    pub fn wall(ratio: f64) -> Reach {
        Reach { wall: Some(ratio), ..Reach::default() }
    }

    /// Of the processor time.
    pub fn cpu(ratio: f64) -> Reach {
        Reach { cpu: Some(ratio), ..Reach::default() }
    }

    /// Of both.
    pub fn both(ratio: f64) -> Reach {
        Reach { wall: Some(ratio), cpu: Some(ratio), ..Reach::default() }
    }

    /// Of the peak memory.
    pub fn peak(self, ratio: f64) -> Reach {
        Reach { peak: Some(ratio), ..self }
    }

    /// Times the wall time of the first floor.
    pub fn floor(self, ratio: f64) -> Reach {
        Reach { floor: Some(ratio), ..self }
    }

    /// Times the processor time of all floors together.
    pub fn floor_cpu(self, ratio: f64) -> Reach {
        Reach { floor_cpu: Some(ratio), ..self }
    }
}

/// One contestant's samples.
pub struct Figure {
    pub name: String,
    pub samples: Vec<Sample>,
}

impl Figure {
    fn of(&self, value: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let values: Vec<f64> = self.samples.iter().map(value).collect();
        (median(values.clone()), least(&values))
    }

    /// Median and least wall time, in milliseconds.
    pub fn wall(&self) -> (f64, f64) {
        self.of(|sample| sample.wall * 1e3)
    }

    /// Median and least processor time, in milliseconds.
    pub fn cpu(&self) -> (f64, f64) {
        self.of(|sample| sample.cpu * 1e3)
    }

    /// Median of the largest resident size, in MB.
    pub fn peak(&self) -> f64 {
        self.of(|sample| sample.peak / 1e3).0
    }
}

/// One row: monopod first, podman second if it is there, floors after them.
pub struct Row {
    pub what: String,
    pub reach: Reach,
    pub figures: Vec<Figure>,
}

/// The report as it grows.
pub struct Report {
    ratios: String,
    figures: String,
    notes: String,
    quick: bool,
    images: String,
}

impl Report {
    /// An empty report; a quick one gives no verdicts.
    pub fn new(quick: bool, images: &str) -> Report {
        let (ratios, figures, notes) = (String::new(), String::new(), String::new());
        Report { ratios, figures, notes, quick, images: images.into() }
    }

    fn ratio(&mut self, what: &str, beside: &str, value: f64, reach: Option<f64>) {
        let (Some(reach), false) = (reach, value.is_nan()) else { return };
        let verdict = match (self.quick, value <= reach) {
            (true, _) => "not judged",
            (false, true) => "reached",
            (false, false) => "MISSED",
        };
        writeln!(self.ratios, "| {what} | {beside} | {value:.3} | ≤ {reach} | {verdict} |").expect("memory");
    }

    /// Adds a row.
    pub fn add(&mut self, row: Row) {
        let what = row.what.as_str();
        for figure in &row.figures {
            let ((wall, wall_least), (cpu, cpu_least), peak) = (figure.wall(), figure.cpu(), figure.peak());
            let count = figure.samples.len();
            writeln!(
                self.figures,
                "| {what} | {} | {wall:.2} | {wall_least:.2} | {cpu:.2} | {cpu_least:.2} | {peak:.1} | {count} |",
                figure.name
            )
            .expect("memory");
        }
        let ours = &row.figures[0];
        let theirs = row.figures.iter().find(|figure| figure.name == "podman");
        if let Some(theirs) = theirs {
            self.ratio(what, "podman, wall", ours.wall().0 / theirs.wall().0, row.reach.wall);
            self.ratio(what, "podman, CPU", ours.cpu().0 / theirs.cpu().0, row.reach.cpu);
            self.ratio(what, "podman, peak memory", ours.peak() / theirs.peak(), row.reach.peak);
        }
        let floors = &row.figures[1 + usize::from(theirs.is_some())..];
        if let Some(floor) = floors.first() {
            self.ratio(what, &format!("{}, wall", floor.name), ours.wall().0 / floor.wall().0, row.reach.floor);
            let all: f64 = floors.iter().map(|floor| floor.cpu().0).sum();
            let names: Vec<_> = floors.iter().map(|floor| floor.name.as_str()).collect();
            self.ratio(what, &format!("{}, CPU", names.join(" + ")), ours.cpu().0 / all, row.reach.floor_cpu);
        }
    }

    /// Adds a row of plain numbers, the engines' one each; a reach of no number is at most two calls.
    pub fn plain<'a>(&mut self, what: &str, unit: &str, values: impl Iterator<Item = (&'a str, f64)>, reach: f64) {
        let values: Vec<_> = values.collect();
        let told: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value:.0} {unit}")).collect();
        writeln!(self.notes, "- {what}: {}", told.join(", ")).expect("memory");
        match (reach.is_nan(), &values[..]) {
            (true, [ours, ..]) => self.ratio(what, "a count", ours.1, Some(2.0)),
            (false, [ours, theirs]) => self.ratio(what, "podman", ours.1 / theirs.1, Some(reach)),
            _ => {}
        }
    }

    /// Adds a number that has a limit of its own.
    pub fn limit(&mut self, what: &str, beside: &str, value: f64, most: f64) {
        self.ratio(what, beside, value, Some(most));
    }

    /// Adds a remark.
    pub fn note(&mut self, text: &str) {
        writeln!(self.notes, "- {text}").expect("memory");
    }

    /// The whole report.
    pub fn finish(self) -> String {
        let kind = if self.quick { "A quick run: it proves that the bench works and judges nothing.\n\n" } else { "" };
        format!(
            "# Measured\n\n{kind}{}\n\nWorkloads: {}. Contestants of a row take turns; the first turn of each is thrown \
             away. CPU counts everything a command started. Peak is the largest resident size of one process.\n\n\
             ## Ratios of medians\n\n| what | beside | ratio | reach | |\n|---|---|---|---|---|\n{}\n\
             ## Single figures\n\n{}\n\
             ## Medians and minima\n\nMilliseconds, and MB.\n\n\
             | what | who | wall | least | CPU | least | peak | samples |\n|---|---|---|---|---|---|---|---|\n{}",
            machine(),
            self.images,
            self.ratios,
            self.notes,
            self.figures
        )
    }
}

/// The machine and the day, in words.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory =
        read("/proc/meminfo").lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let version = |program: &str, word: usize| {
        let output = std::process::Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next()?.split_whitespace().nth(word).map(String::from)
    };
    let peers = match (version("podman", 2), version("crun", 2)) {
        (Some(podman), Some(crun)) => format!("beside podman {podman} and crun {crun}"),
        _ => "with neither podman nor crun beside it".into(),
    };
    format!(
        "On {}, {cores} processors ({}), {} GB of memory, kernel {}, {}; {peers}.",
        today(),
        model.unwrap_or("unknown"),
        memory.unwrap_or(0) >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        if cpuinfo.contains("hypervisor") { "a virtual machine" } else { "no virtual machine" },
    )
}

/// The date, as the machine's own `date` tells it.
fn today() -> String {
    let output = std::process::Command::new("date").arg("+%Y-%m-%d").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()).unwrap_or_default()
}
