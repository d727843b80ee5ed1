//! Go's text templates, as far as `--format` needs them: fields, variables, pipelines, `if`, `with`, `range`, the usual
//! functions and those that Podman adds (`json`, `join`, `upper`, `split`, …), on JSON values.
//!
//! A field that is not there is an error, as in Podman, where values have types; but a missing key of a map (labels,
//! networks) is empty.
//!
//! Must not know: what is printed with it.

mod evaluate;
mod functions;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use serde_json::Value;
use std::fmt;

/// What is wrong with a template, or with it and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    name: Option<String>,
    line: usize,
    column: usize,
    why: String,
}

impl Error {
    fn syntax(template: &str, at: usize, why: &str) -> Error {
        let before = &template[..at.min(template.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        Error { name: None, line, column, why: why.to_owned() }
    }

    fn execution(name: &str, template: &str, at: usize, why: &str) -> Error {
        Error { name: Some(name.to_owned()), ..Error::syntax(template, at, why) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => {
                write!(f, "template: {name}:{}:{}: executing {name:?} {}", self.line, self.column, self.why)
            }
            None => write!(f, "template: {}:{}: {}", self.line, self.column, self.why),
        }
    }
}

/// A template that was understood.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    text: String,
    nodes: Vec<parser::Node>,
}

impl Template {
    /// Reads a template; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Template, Error> {
        Ok(Template { name: name.to_owned(), text: text.to_owned(), nodes: parser::parse(text)? })
    }

    /// What it prints about `value`.
    pub fn print(&self, value: &Value) -> Result<String, Error> {
        evaluate::Run::new(&self.name, &self.text, value).print(&self.nodes)
    }
}
