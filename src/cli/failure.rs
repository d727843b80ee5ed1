//! What a command ends with when it did not work: messages for standard error and an exit code.

use ops::Fault;

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code of this process.
    pub code: u8,
    /// What is printed, each after `Error: `.
    pub messages: Vec<String>,
    /// A last line without `Error: `: where help is to be had. Empty if there is none.
    pub advice: String,
}

impl Failure {
    /// A failure with exit code 125, the engine's own.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { code: 125, messages: vec![message.into()], advice: String::new() }
    }

    /// The same failure with another exit code.
    pub fn code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// The same failure with a line about where to read on.
    pub fn advice(mut self, advice: impl Into<String>) -> Failure {
        self.advice = advice.into();
        self
    }

    /// All that is printed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for message in &self.messages {
            text.push_str("Error: ");
            text.push_str(message);
            text.push('\n');
        }
        if !self.advice.is_empty() {
            text.push_str(&self.advice);
            text.push('\n');
        }
        text
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::new(fault.to_string()).code(fault.exit_code())
    }
}

impl From<types::Invalid> for Failure {
    fn from(invalid: types::Invalid) -> Failure {
        Failure::new(invalid.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(error.to_string())
    }
}
