//! Splits a template into text and actions, and actions into tokens.

use super::Error;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Printed as it is.
    Text(String),
    /// What stands between `{{` and `}}`.
    Action(Vec<Token>),
}

/// A token and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Lexeme,
    /// Offset in the template.
    pub at: usize,
    /// White space stands before it: `.a .b` are two operands, `.a.b` is one.
    pub spaced: bool,
}

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Lexeme {
    /// `.Name`; a lone `.` has no name.
    Field(String),
    /// `$name`; a lone `$` has no name.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    Text(String),
    Number(f64),
    Open,
    Close,
    Pipe,
    Declare,
    Assign,
    Comma,
}

/// All pieces, with the white space that `{{-` and `-}}` ask for cut away.
pub fn pieces(template: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim = false;
    while let Some(open) = template[at..].find("{{").map(|open| at + open) {
        let inside = open + 2;
        let cut = template[inside..].starts_with("- ");
        let text = &template[at..open];
        let text = if cut { text.trim_end() } else { text };
        push_text(&mut pieces, if trim { text.trim_start() } else { text });
        let begin = if cut { inside + 2 } else { inside };
        let (tokens, end, after) = action(template, begin)?;
        if !tokens.is_empty() || !is_comment(&template[begin..]) {
            pieces.push(Piece::Action(tokens));
        }
        (at, trim) = (end, after);
    }
    let text = &template[at..];
    push_text(&mut pieces, if trim { text.trim_start() } else { text });
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn is_comment(text: &str) -> bool {
    text.trim_start().starts_with("/*")
}

/// The tokens from `at` to `}}`, where the next piece begins, and whether its white space is cut.
fn action(template: &str, mut at: usize) -> Result<(Vec<Token>, usize, bool), Error> {
    let error = |at: usize, why: &str| Error::syntax(template, at, why);
    if is_comment(&template[at..]) {
        let end = template[at..].find("*/").map(|end| at + end + 2).ok_or_else(|| error(at, "unclosed comment"))?;
        let rest = &template[end..];
        return match (rest.starts_with("}}"), rest.starts_with(" -}}")) {
            (true, _) => Ok((Vec::new(), end + 2, false)),
            (_, true) => Ok((Vec::new(), end + 4, true)),
            _ => Err(error(end, "comment ends before closing delimiter")),
        };
    }
    let mut tokens = Vec::new();
    let mut spaced = true;
    loop {
        let rest = &template[at..];
        if rest.starts_with("}}") {
            return Ok((tokens, at + 2, false));
        }
        if spaced && rest.starts_with("-}}") {
            return Ok((tokens, at + 3, true));
        }
        let Some(first) = rest.chars().next() else { return Err(error(at, "unclosed action")) };
        if first.is_whitespace() {
            at += first.len_utf8();
            spaced = true;
            continue;
        }
        let (kind, length) = lexeme(rest, first).map_err(|why| error(at, &why))?;
        tokens.push(Token { kind, at, spaced });
        at += length;
        spaced = false;
    }
}

fn lexeme(rest: &str, first: char) -> Result<(Lexeme, usize), String> {
    let name = |from: usize| {
        let end = rest[from..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - from);
        rest[from..from + end].to_owned()
    };
    Ok(match first {
        '(' => (Lexeme::Open, 1),
        ')' => (Lexeme::Close, 1),
        '|' => (Lexeme::Pipe, 1),
        ',' => (Lexeme::Comma, 1),
        ':' if rest.starts_with(":=") => (Lexeme::Declare, 2),
        '=' => (Lexeme::Assign, 1),
        '"' => quoted(rest)?,
        '`' => {
            let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
            (Lexeme::Text(rest[1..1 + end].to_owned()), end + 2)
        }
        '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            let name = name(1);
            let length = 1 + name.len();
            (Lexeme::Field(name), length)
        }
        '$' => {
            let name = name(1);
            let length = 1 + name.len();
            (Lexeme::Variable(name), length)
        }
        '0'..='9' | '+' | '-' | '.' => {
            let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len() - 1) + 1;
            let number = rest[..end].parse().map_err(|_| format!("bad number syntax: {:?}", &rest[..end]))?;
            (Lexeme::Number(number), end)
        }
        c if c.is_alphabetic() || c == '_' => {
            let name = name(0);
            let length = name.len();
            (Lexeme::Word(name), length)
        }
        c => return Err(format!("unexpected {c:?} in command")),
    })
}

fn quoted(rest: &str) -> Result<(Lexeme, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Lexeme::Text(text), at + 1)),
            '\n' => break,
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(c @ ('"' | '\\' | '\'')) => text.push(c),
                _ => return Err("unknown escape in quoted string".into()),
            },
            c => text.push(c),
        }
    }
    Err("unterminated quoted string".into())
}
