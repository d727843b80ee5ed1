//! Makes a tree of the pieces of a template.

use super::Error;
use super::lexer::{Lexeme, Piece, Token, pieces};
use std::iter::Peekable;
use std::vec::IntoIter;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Node {
    Text(String),
    /// Prints the value, unless it only sets a variable.
    Print(Pipeline),
    If {
        test: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        list: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Variables that get the value.
    pub variables: Vec<String>,
    /// `:=`, not `=`.
    pub declares: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// A function and its arguments, or a value alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The operands; the first may be a function.
    pub operands: Vec<Operand>,
    /// Where it begins in the template.
    pub at: usize,
}

/// A value, and the fields taken from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// Where the fields start from.
    pub base: Base,
    /// `.a.b` after it.
    pub fields: Vec<String>,
    /// Where it begins in the template.
    pub at: usize,
}

/// What an operand starts from.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Base {
    Dot,
    Variable(String),
    Function(String),
    Text(String),
    Number(f64),
    Boolean(bool),
    Nil,
    Group(Box<Pipeline>),
}

/// Most parentheses in each other, and most blocks: each costs room on the stack here and when it is evaluated.
const DEEPEST: usize = 100;

/// The tree of `template`.
pub fn parse(template: &str) -> Result<Vec<Node>, Error> {
    let mut parser = Parser { template, pieces: pieces(template)?.into_iter().peekable(), depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        End::Template => Ok(nodes),
        End::Closed(at) => Err(Error::syntax(template, at, "unexpected {{end}}")),
        End::Else(tokens) => Err(Error::syntax(template, at(&tokens), "unexpected {{else}}")),
    }
}

/// What a list of nodes ended with.
enum End {
    Template,
    Closed(usize),
    Else(Vec<Token>),
}

struct Parser<'a> {
    template: &'a str,
    pieces: Peekable<IntoIter<Piece>>,
    /// Blocks that are open.
    depth: usize,
}

fn at(tokens: &[Token]) -> usize {
    tokens.first().map_or(0, |token| token.at)
}

impl Parser<'_> {
    fn error<T>(&self, at: usize, why: impl Into<String>) -> Result<T, Error> {
        Err(Error::syntax(self.template, at, &why.into()))
    }

    fn list(&mut self) -> Result<(Vec<Node>, End), Error> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first().map(|token| &token.kind) {
                Some(Lexeme::Word(word)) => word.as_str(),
                _ => "",
            };
            match keyword {
                "end" => return Ok((nodes, End::Closed(at(&tokens)))),
                "else" => return Ok((nodes, End::Else(tokens))),
                "if" | "with" | "range" => nodes.push(self.control(keyword, &tokens[1..], at(&tokens))?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return self.error(at(&tokens), format!("{{{{{keyword}}}}} is not supported"));
                }
                _ => nodes.push(Node::Print(self.pipeline(&tokens, at(&tokens))?)),
            }
        }
        Ok((nodes, End::Template))
    }

    fn control(&mut self, keyword: &str, tokens: &[Token], begin: usize) -> Result<Node, Error> {
        if self.depth == DEEPEST {
            return self.error(begin, "too many blocks in each other");
        }
        self.depth += 1;
        let node = self.block(keyword, tokens, begin);
        self.depth -= 1;
        node
    }

    fn block(&mut self, keyword: &str, tokens: &[Token], begin: usize) -> Result<Node, Error> {
        let pipeline = self.pipeline(tokens, begin)?;
        let (body, end) = self.list()?;
        let otherwise = match end {
            End::Closed(_) => Vec::new(),
            End::Template => return self.error(begin, "unexpected EOF: {{end}} is missing"),
            // `{{else if …}}` has no `{{end}}` of its own.
            End::Else(tokens) => match tokens.get(1).map(|token| &token.kind) {
                Some(Lexeme::Word(word)) if word == "if" || word == "with" => {
                    vec![self.control(&word.clone(), &tokens[2..], at(&tokens))?]
                }
                Some(_) => return self.error(at(&tokens), "unexpected word after {{else"),
                None => match self.list()? {
                    (nodes, End::Closed(_)) => nodes,
                    _ => return self.error(at(&tokens), "expected {{end}} after {{else}}"),
                },
            },
        };
        Ok(match keyword {
            "if" => Node::If { test: pipeline, then: body, otherwise },
            "with" => Node::With { value: pipeline, body, otherwise },
            _ => Node::Range { list: pipeline, body, otherwise },
        })
    }

    fn pipeline(&self, tokens: &[Token], begin: usize) -> Result<Pipeline, Error> {
        let mut variables = Vec::new();
        let mut declares = false;
        let mut rest = tokens;
        if let Some(sign) = tokens.iter().position(|t| matches!(t.kind, Lexeme::Declare | Lexeme::Assign)) {
            declares = tokens[sign].kind == Lexeme::Declare;
            for token in &tokens[..sign] {
                match &token.kind {
                    Lexeme::Variable(name) if !name.is_empty() => variables.push(name.clone()),
                    Lexeme::Comma => {}
                    _ => return self.error(token.at, "expected a variable before the assignment"),
                }
            }
            rest = &tokens[sign + 1..];
        }
        let mut commands = Vec::new();
        let mut depth = 0usize;
        let mut start = 0;
        for (index, token) in rest.iter().enumerate() {
            match token.kind {
                Lexeme::Open if depth == DEEPEST => return self.error(token.at, "too many parentheses in each other"),
                Lexeme::Open => depth += 1,
                Lexeme::Close => depth = depth.saturating_sub(1),
                Lexeme::Pipe if depth == 0 => {
                    commands.push(self.command(&rest[start..index], begin)?);
                    start = index + 1;
                }
                _ => {}
            }
        }
        commands.push(self.command(&rest[start..], begin)?);
        Ok(Pipeline { variables, declares, commands })
    }

    fn command(&self, tokens: &[Token], begin: usize) -> Result<Command, Error> {
        if tokens.is_empty() {
            return self.error(begin, "missing value for command");
        }
        let mut operands: Vec<Operand> = Vec::new();
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index += 1;
            let base = match &token.kind {
                Lexeme::Field(name) => {
                    // `.b` directly after `.a`, `$a` or `)` belongs to it.
                    if let (false, Some(last)) = (token.spaced, operands.last_mut())
                        && index > 1
                        && !matches!(last.base, Base::Function(_))
                    {
                        last.fields.push(name.clone());
                        continue;
                    }
                    let fields = if name.is_empty() { Vec::new() } else { vec![name.clone()] };
                    operands.push(Operand { base: Base::Dot, fields, at: token.at });
                    continue;
                }
                Lexeme::Variable(name) => Base::Variable(name.clone()),
                Lexeme::Text(text) => Base::Text(text.clone()),
                Lexeme::Number(number) => Base::Number(*number),
                Lexeme::Word(word) => match word.as_str() {
                    "true" | "false" => Base::Boolean(word == "true"),
                    "nil" => Base::Nil,
                    _ if !super::functions::exists(word) => {
                        return self.error(token.at, format!("function {word:?} not defined"));
                    }
                    _ => Base::Function(word.clone()),
                },
                Lexeme::Open => {
                    let close = self.closing(tokens, index, token.at)?;
                    let group = self.pipeline(&tokens[index..close], token.at)?;
                    index = close + 1;
                    Base::Group(Box::new(group))
                }
                other => return self.error(token.at, format!("unexpected {other:?} in command")),
            };
            operands.push(Operand { base, fields: Vec::new(), at: token.at });
        }
        Ok(Command { operands, at: tokens[0].at })
    }

    /// The index of the parenthesis that closes the one before `index`.
    fn closing(&self, tokens: &[Token], index: usize, open: usize) -> Result<usize, Error> {
        let mut depth = 1;
        for (offset, token) in tokens[index..].iter().enumerate() {
            match token.kind {
                Lexeme::Open => depth += 1,
                Lexeme::Close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(index + offset);
            }
        }
        self.error(open, "unclosed left paren")
    }
}
