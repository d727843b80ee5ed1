//! What a transfer does, shown on standard error: on a terminal a line for each layer with its bytes and speed, drawn
//! again while it grows; elsewhere one plain line a step.
//!
//! Must not know: where images come from and go to.

use ops::image::Advance;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use types::Digest;

/// How often lines are drawn again.
const PAUSE: Duration = Duration::from_millis(100);
/// Cells of a bar.
const CELLS: u64 = 28;

/// Shows the steps of one command.
pub struct Progress {
    /// None if nothing is shown.
    screen: Option<Mutex<Screen>>,
}

struct Screen {
    terminal: bool,
    /// Layers on their way.
    bars: Vec<Bar>,
    /// Lines of bars that stand on the terminal.
    drawn: usize,
    last: Instant,
}

struct Bar {
    digest: Option<Digest>,
    size: Option<u64>,
    bytes: u64,
    begun: Instant,
}

impl Progress {
    /// Progress that is shown, unless `quiet`.
    pub fn new(quiet: bool) -> Progress {
        let terminal = sys::terminal::is_terminal(rustix::stdio::stderr());
        let screen = || Mutex::new(Screen { terminal, bars: Vec::new(), drawn: 0, last: Instant::now() });
        Progress { screen: (!quiet).then(screen) }
    }

    /// Shows a step.
    pub fn tell(&self, step: Advance) {
        let Some(screen) = &self.screen else { return };
        let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        let text = screen.take(step, Instant::now());
        if !text.is_empty() {
            // Nowhere to tell that it cannot be told.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

impl Screen {
    /// Takes a step in; gives what is to be written.
    fn take(&mut self, step: Advance, now: Instant) -> String {
        let line = match step {
            Advance::Trying(name) => format!("Trying to pull {name}..."),
            Advance::Begin => "Getting image source signatures".into(),
            Advance::Layer { digest, size } => {
                self.bars.push(Bar { digest, size, bytes: 0, begun: now });
                if self.terminal {
                    return self.draw(None, now);
                }
                format!("Copying blob {}", name(digest))
            }
            Advance::Bytes { digest, count } => {
                let Some(bar) = self.bars.iter_mut().find(|bar| bar.digest == digest) else { return String::new() };
                bar.bytes += count;
                if !self.terminal || now.duration_since(self.last) < PAUSE {
                    return String::new();
                }
                return self.draw(None, now);
            }
            Advance::Done { digest } => {
                let Some(at) = self.bars.iter().position(|bar| bar.digest == digest) else { return String::new() };
                let bar = self.bars.remove(at);
                if !self.terminal {
                    return String::new();
                }
                format!("Copying blob {} done {}", short(digest), rate(bar.bytes, now.duration_since(bar.begun)))
            }
            Advance::Skipped { digest } if self.terminal => {
                format!("Copying blob {} skipped: already exists", digest.short())
            }
            Advance::Skipped { digest } => format!("Copying blob {digest} skipped: already exists"),
            Advance::Config(digest) if self.terminal => format!("Copying config {} done", digest.short()),
            Advance::Config(digest) => format!("Copying config {digest}"),
            Advance::Manifest => "Writing manifest to image destination".into(),
        };
        match self.terminal {
            true => self.draw(Some(&line), now),
            false => format!("{line}\n"),
        }
    }

    /// The bars anew, below a `line` that stays.
    fn draw(&mut self, line: Option<&str>, now: Instant) -> String {
        let (rows, columns) = sys::terminal::size(rustix::stdio::stderr()).unwrap_or((24, 80));
        let width = usize::from(if columns == 0 { 80 } else { columns });
        let mut text = if self.drawn > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn) } else { String::new() };
        if let Some(line) = line {
            text.push_str(line);
            text.push('\n');
        }
        let fit = usize::from(rows.max(3)) - 2;
        self.drawn = self.bars.len().min(fit);
        for bar in self.bars.iter().take(fit) {
            let line: String = bar.line(now).chars().take(width.saturating_sub(1)).collect();
            text.push_str(&line);
            text.push('\n');
        }
        self.last = now;
        text
    }
}

impl Bar {
    fn line(&self, now: Instant) -> String {
        let rate = rate(self.bytes, now.duration_since(self.begun));
        let Some(size) = self.size.filter(|size| *size > 0) else {
            return format!("Copying blob {} {rate}", short(self.digest));
        };
        let full = (self.bytes.min(size) as u128 * u128::from(CELLS) / u128::from(size)) as usize;
        let bar = format!("{}{}", "=".repeat(full), "-".repeat(CELLS as usize - full));
        format!("Copying blob {} [{bar}] of {} {rate}", short(self.digest), types::size::human(size, 3))
    }
}

fn rate(bytes: u64, time: Duration) -> String {
    let second = (bytes as f64 / time.as_secs_f64().max(0.001)) as u64;
    format!("{} | {}/s", types::size::human(bytes, 3), types::size::human(second, 3))
}

fn name(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "(without digest)".into(), |digest| digest.to_string())
}

fn short(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "(no digest)".into(), |digest| digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(terminal: bool) -> Screen {
        Screen { terminal, bars: Vec::new(), drawn: 0, last: Instant::now() }
    }

    fn steps() -> Vec<Advance> {
        let digest = Some(Digest::of(b"a"));
        vec![
            Advance::Trying("x".into()),
            Advance::Begin,
            Advance::Layer { digest, size: Some(1000) },
            Advance::Bytes { digest, count: 500 },
            Advance::Skipped { digest: Digest::of(b"b") },
            Advance::Bytes { digest, count: 500 },
            Advance::Done { digest },
            Advance::Config(Digest::of(b"c")),
            Advance::Manifest,
        ]
    }

    #[test]
    fn plain_lines_in_a_pipe() {
        let mut screen = screen(false);
        let now = Instant::now();
        let text: String = steps().into_iter().map(|step| screen.take(step, now)).collect();
        let (a, b, c) = (Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c"));
        let expected = format!(
            "Trying to pull x...\nGetting image source signatures\nCopying blob {a}\nCopying blob {b} skipped: already exists\nCopying config {c}\nWriting manifest to image destination\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn bars_on_a_terminal() {
        let mut screen = screen(true);
        let begun = Instant::now();
        let mut texts = Vec::new();
        for (at, step) in steps().into_iter().enumerate() {
            texts.push(screen.take(step, begun + PAUSE * at as u32));
        }
        assert!(texts[2].contains(&"-".repeat(CELLS as usize)), "{texts:?}");
        assert!(texts[3].starts_with("\x1b[1A") && texts[3].contains(&"=".repeat(CELLS as usize / 2)), "{texts:?}");
        // What stays stands above the bars, which are drawn again below.
        assert!(texts[4].contains("already exists\nCopying blob"), "{texts:?}");
        assert!(texts[6].contains("done 1 kB |") && screen.drawn == 0, "{texts:?}");
    }
}
