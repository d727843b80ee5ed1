//! Runs the tree of a template on a value.

use super::Error;
use super::functions;
use super::parser::{Base, Command, Node, Operand, Pipeline};
use serde_json::{Number, Value};

/// Values whose keys are data, not fields: a key that is not there is no error.
const MAPS: [&str; 14] = [
    "Labels",
    "Annotations",
    "Networks",
    "Sysctls",
    "Options",
    "Tmpfs",
    "PortBindings",
    "Ports",
    "ExposedPorts",
    "Volumes",
    "Healthcheck",
    "LogConfig",
    "GraphDriver",
    "Data",
];

/// The state of one run.
pub struct Run<'a> {
    /// The template's name, for errors.
    pub name: &'a str,
    /// Its text, for errors.
    pub template: &'a str,
    /// What `$` is.
    pub root: &'a Value,
    variables: Vec<(String, Value)>,
    output: String,
}

impl<'a> Run<'a> {
    /// A run that has printed nothing.
    pub fn new(name: &'a str, template: &'a str, root: &'a Value) -> Run<'a> {
        Run { name, template, root, variables: Vec::new(), output: String::new() }
    }

    /// What the nodes print about the value.
    pub fn print(mut self, nodes: &[Node]) -> Result<String, Error> {
        let root = self.root.clone();
        self.nodes(nodes, &root)?;
        Ok(self.output)
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Error> {
        let before = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(before);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), Error> {
        let before = self.variables.len();
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.output.push_str(&text(&value));
                }
                // A variable set here lives to the end of the list it is in.
                return Ok(());
            }
            Node::If { test, then, otherwise } => {
                let value = self.pipeline(test, dot)?;
                self.nodes(if is_true(&value) { then } else { otherwise }, dot)?;
            }
            Node::With { value, body, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if is_true(&value) { self.nodes(body, &value)? } else { self.nodes(otherwise, dot)? }
            }
            Node::Range { list, body, otherwise } => self.range(list, body, otherwise, dot)?,
        }
        self.variables.truncate(before);
        Ok(())
    }

    fn range(&mut self, list: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), Error> {
        let plain = Pipeline { variables: Vec::new(), ..list.clone() };
        let value = self.pipeline(&plain, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, item)| (Value::String(key), item)).collect(),
            Value::Null => Vec::new(),
            other => {
                let at = list.commands[0].at;
                return Err(self.error(at, &format!("range can't iterate over {}", text(&other))));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let before = self.variables.len();
            match list.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.nodes(body, &item)?;
            self.variables.truncate(before);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Error> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipeline.variables {
            match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                Some((_, slot)) if !pipeline.declares => *slot = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, Error> {
        let (first, rest) = command.operands.split_first().ok_or_else(|| self.error(command.at, "empty command"))?;
        if let Base::Function(name) = &first.base {
            let mut arguments = Vec::new();
            for operand in rest {
                arguments.push(self.operand(operand, dot)?);
            }
            arguments.extend(piped);
            return functions::call(name, &arguments).map_err(|why| self.error(command.at, &why));
        }
        if !rest.is_empty() || piped.is_some() {
            return Err(self.error(first.at, "can't give argument to non-function"));
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Error> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) if name.is_empty() => self.root.clone(),
            Base::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(self.error(operand.at, &format!("undefined variable: ${name}"))),
            },
            Base::Function(name) => functions::call(name, &[]).map_err(|why| self.error(operand.at, &why))?,
            Base::Text(text) => Value::String(text.clone()),
            Base::Number(number) => number_value(*number),
            Base::Boolean(value) => Value::Bool(*value),
            Base::Nil => Value::Null,
            Base::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        let mut value = base;
        for (depth, name) in operand.fields.iter().enumerate() {
            let owner = depth.checked_sub(1).and_then(|d| operand.fields.get(d));
            value = self.field(value, name, owner, operand)?;
        }
        Ok(value)
    }

    fn field(&self, value: Value, name: &str, owner: Option<&String>, operand: &Operand) -> Result<Value, Error> {
        let error = |why: String| {
            let chain = operand.fields.join(".");
            Error::execution(self.name, self.template, operand.at, &format!("at <.{chain}>: {why}"))
        };
        match value {
            Value::Object(mut map) => {
                if let Some(found) = map.remove(name) {
                    return Ok(found);
                }
                // Go's names of fields and those of the JSON differ in case: ID and Id.
                if let Some(key) = map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned() {
                    return Ok(map.remove(&key).unwrap_or_default());
                }
                match owner {
                    Some(owner) if MAPS.contains(&owner.as_str()) => Ok(Value::String(String::new())),
                    _ => Err(error(format!("can't evaluate field {name} in type interface {{}}"))),
                }
            }
            Value::Null => Err(error(format!("nil pointer evaluating interface {{}}.{name}"))),
            _ => Err(error(format!("can't evaluate field {name} in type interface {{}}"))),
        }
    }

    fn error(&self, at: usize, why: &str) -> Error {
        Error::execution(self.name, self.template, at, why)
    }
}

fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// False for what Go calls empty: false, 0, nil, and anything of no length.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The value as Go's `%v` prints it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}
