//! Regular expressions of filters: `^web-[0-9]+$`. What most people write of Go's syntax (regexp/syntax): `.` `*` `+` `?`, `{` only as
//! itself, sets with ranges and `^`, `\d` `\w` `\s` and their opposites, groups, `|`, and the anchors `^` and `$`.
//!
//! A text is matched in time proportional to its length and the pattern's, whatever both are.

use crate::Invalid;

/// A pattern that is ready to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A character of these ranges, or of none of them.
    Set(Vec<(char, char)>, bool),
    Begin,
    End,
    /// Goes on at both.
    Fork(usize, usize),
    Jump(usize),
    Match,
}

/// Longest pattern: one that a person writes.
const LONGEST: usize = 1000;
/// Groups within groups.
const DEEPEST: usize = 50;

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Pattern, Invalid> {
        let invalid = |why: &'static str| Invalid::new("regular expression", text, why);
        if text.len() > LONGEST {
            return Err(invalid("it is longer than 1000 bytes"));
        }
        let mut reader = Reader { rest: text.chars().collect(), at: 0, depth: 0 };
        let mut steps = reader.alternatives().map_err(invalid)?;
        if reader.at < reader.rest.len() {
            return Err(invalid("unexpected )"));
        }
        steps.push(Step::Match);
        Ok(Pattern { steps })
    }

    /// True if it is found anywhere in `text`.
    pub fn is_in(&self, text: &str) -> bool {
        let characters: Vec<char> = text.chars().collect();
        let mut now = vec![false; self.steps.len()];
        for at in 0..=characters.len() {
            self.enter(&mut now, 0, at, characters.len());
            if now[self.steps.len() - 1] {
                return true;
            }
            let Some(character) = characters.get(at) else { return false };
            let mut next = vec![false; self.steps.len()];
            for (number, step) in self.steps.iter().enumerate().filter(|(number, _)| now[*number]) {
                if let Step::Set(ranges, negated) = step
                    && ranges.iter().any(|(low, high)| (*low..=*high).contains(character)) != *negated
                {
                    self.enter(&mut next, number + 1, at + 1, characters.len());
                }
            }
            now = next;
        }
        false
    }

    /// Marks `step` and all that it leads to without a character.
    fn enter(&self, marked: &mut [bool], step: usize, at: usize, end: usize) {
        let mut waiting = vec![step];
        while let Some(step) = waiting.pop() {
            if std::mem::replace(&mut marked[step], true) {
                continue;
            }
            match &self.steps[step] {
                Step::Begin if at == 0 => waiting.push(step + 1),
                Step::End if at == end => waiting.push(step + 1),
                Step::Fork(one, other) => waiting.extend([*one, *other]),
                Step::Jump(to) => waiting.push(*to),
                _ => {}
            }
        }
    }
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn alternatives(&mut self) -> Result<Vec<Step>, &'static str> {
        let mut all = self.sequence()?;
        while self.peek() == Some('|') {
            self.at += 1;
            let other = self.sequence()?;
            let mut joined = vec![Step::Fork(1, all.len() + 2)];
            append(&mut joined, all);
            joined.push(Step::Jump(joined.len() + 1 + other.len()));
            append(&mut joined, other);
            all = joined;
        }
        Ok(all)
    }

    fn sequence(&mut self) -> Result<Vec<Step>, &'static str> {
        let mut all = Vec::new();
        while let Some(character) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            self.at += 1;
            let mut one = self.one(character)?;
            while let Some(repeat @ ('*' | '+' | '?')) = self.peek() {
                self.at += 1;
                one = repeated(one, repeat);
            }
            append(&mut all, one);
        }
        Ok(all)
    }

    fn one(&mut self, character: char) -> Result<Vec<Step>, &'static str> {
        Ok(vec![match character {
            '.' => Step::Set(vec![('\n', '\n')], true),
            '^' => Step::Begin,
            '$' => Step::End,
            '*' | '+' | '?' => return Err("missing argument to repetition operator"),
            '[' => self.set()?,
            '\\' => match self.next().ok_or("trailing backslash at end of expression")? {
                letter @ ('d' | 'w' | 's') => Step::Set(class(letter), false),
                letter @ ('D' | 'W' | 'S') => Step::Set(class(letter.to_ascii_lowercase()), true),
                letter if letter.is_alphanumeric() => return Err("an escape sequence that is not understood"),
                other => Step::Set(vec![(other, other)], false),
            },
            '(' => {
                if self.rest[self.at..].starts_with(&['?', ':']) {
                    self.at += 2;
                }
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err("groups are nested too deeply");
                }
                let inside = self.alternatives()?;
                self.depth -= 1;
                if self.next() != Some(')') {
                    return Err("missing closing )");
                }
                return Ok(inside);
            }
            other => Step::Set(vec![(other, other)], false),
        }])
    }

    fn set(&mut self) -> Result<Step, &'static str> {
        let negated = self.peek() == Some('^');
        self.at += usize::from(negated);
        let mut ranges = Vec::new();
        loop {
            let low = match self.next().ok_or("missing closing ]")? {
                ']' if !ranges.is_empty() => return Ok(Step::Set(ranges, negated)),
                '\\' => match self.next().ok_or("missing closing ]")? {
                    letter @ ('d' | 'w' | 's') => {
                        ranges.extend(class(letter));
                        continue;
                    }
                    other => other,
                },
                other => other,
            };
            let is_range = self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|c| *c != ']');
            if !is_range {
                ranges.push((low, low));
                continue;
            }
            self.at += 1;
            let high = self.next().ok_or("missing closing ]")?;
            if high < low {
                return Err("invalid range of characters");
            }
            ranges.push((low, high));
        }
    }
}

fn class(letter: char) -> Vec<(char, char)> {
    match letter {
        'd' => vec![('0', '9')],
        'w' => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => vec![('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
    }
}

/// `one` as often as `repeat` says.
fn repeated(one: Vec<Step>, repeat: char) -> Vec<Step> {
    let length = one.len();
    let mut all = Vec::new();
    if repeat != '+' {
        all.push(Step::Fork(1, length + if repeat == '*' { 2 } else { 1 }));
    }
    append(&mut all, one);
    match repeat {
        '*' => all.push(Step::Jump(0)),
        '+' => all.push(Step::Fork(0, length + 1)),
        _ => {}
    }
    all
}

/// Puts `more`, whose steps are counted from its own beginning, behind `all`.
fn append(all: &mut Vec<Step>, more: Vec<Step>) {
    let by = all.len();
    all.extend(more.into_iter().map(|step| match step {
        Step::Fork(one, other) => Step::Fork(one + by, other + by),
        Step::Jump(to) => Step::Jump(to + by),
        other => other,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("web", &["web", "aweb1"][..], &["we", "w eb"][..]),
            ("^web$", &["web"], &["web1", "aweb"]),
            ("^web-[0-9]+$", &["web-1", "web-42"], &["web-", "web-a", "aweb-1"]),
            ("volume_1.+", &["volume_1a"], &["volume_1", "volume_2a"]),
            ("^(a|bc)*d?$", &["", "abcbcd", "d"], &["abd", "dd"]),
            ("a|^b$|c", &["xax", "b", "cc"], &["xbx", ""]),
            ("[^a-c]\\.x", &["d.x"], &["a.x", "dyx"]),
            ("^\\w+\\d$", &["web1"], &["web", "w-1"]),
            ("", &["", "anything"], &[]),
            ("(a*)*b", &["aaab"], &["aaac"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert!(yes.iter().all(|text| pattern.is_in(text)), "{pattern:?}");
            assert!(!no.iter().any(|text| pattern.is_in(text)), "{pattern:?}");
        }
        for wrong in ["*", "(", ")", "[a", "a\\", "[b-a]", "\\q"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_longer() {
        let pattern = Pattern::parse(&format!("{}b", "(a*)*".repeat(40))).unwrap();
        assert!(!pattern.is_in(&"a".repeat(2000)));
        assert!(Pattern::parse(&"(".repeat(900)).is_err());
    }
}
