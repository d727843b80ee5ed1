//! `--preserve-fds` and `--preserve-fd` of `run` and `exec`: descriptors of the caller's that the program inherits.

use crate::failure::Failure;
use crate::flag::integer;

/// What the two flags fill.
#[derive(Debug, Clone, Default)]
pub struct HandedOn {
    count: u32,
    numbers: Vec<i32>,
}

impl HandedOn {
    /// `--preserve-fds`: so many from 3 on.
    pub fn count(&mut self, text: &str) -> Result<(), String> {
        self.count = integer(text)?;
        Ok(())
    }

    /// `--preserve-fd`: these, separated by commas.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        for part in text.split(',') {
            let number: i32 = integer(part)?;
            if number < 3 {
                return Err(format!("{number} is one of the standard streams: numbers from 3 on are handed on"));
            }
            self.numbers.push(number);
        }
        Ok(())
    }

    /// The numbers, each once.
    pub fn all(&self) -> Result<Vec<i32>, Failure> {
        if self.count > 0 && !self.numbers.is_empty() {
            return Err(Failure::new("cannot specify both --preserve-fds and --preserve-fd"));
        }
        let mut all: Vec<i32> =
            (3..3i32.saturating_add_unsigned(self.count)).chain(self.numbers.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut asked = HandedOn::default();
        assert!(asked.all().is_ok_and(|all| all.is_empty()));
        asked.add("5,4").unwrap();
        asked.add("5").unwrap();
        assert_eq!(asked.all().unwrap_or_default(), [4, 5]);
        assert!(asked.add("2").is_err() && asked.add("x").is_err() && asked.add("").is_err());
        asked.count("2").unwrap();
        assert!(asked.all().is_err());
        let mut asked = HandedOn::default();
        asked.count("2").unwrap();
        assert_eq!(asked.all().unwrap_or_default(), [3, 4]);
        assert!(asked.count("-1").is_err());
    }
}
