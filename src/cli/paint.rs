//! Colours of text for people: on a terminal that knows them, and never in a pipe.

use std::io::IsTerminal;

/// Whether text gets colours, and the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// For standard output: colours if it is a terminal, and neither `NO_COLOR` (no-color.org) nor `TERM=dumb` says otherwise.
    pub fn stdout() -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Paint(std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb)
    }

    /// Without colours.
    #[cfg(test)]
    pub fn none() -> Paint {
        Paint(false)
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Red.
    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Green.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Yellow.
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Characters of `text` that take room on a terminal: what [`Paint`] adds takes none.
pub fn width(text: &str) -> usize {
    let mut width = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        width += before.chars().count();
        let end = after.find(|c: char| !c.is_ascii_digit());
        rest = match end {
            Some(end) if after[end..].starts_with('m') => &after[end + 1..],
            _ => after,
        };
    }
    width + rest.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(Paint(true).red("ä"), "\x1b[31mä\x1b[0m");
        assert_eq!(Paint::none().red("ä"), "ä");
        assert_eq!(width(&format!("a{}b", Paint(true).red("ä"))), 3);
    }
}
