//! Regular expressions of POSIX (regex(7), extended), as the C library that is linked in has them: `regcomp(3)`, `regexec(3)`.

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression.
#[derive(Debug)]
pub struct Pattern(Box<libc::regex_t>);

impl Pattern {
    /// Compiles an extended expression; none if it is not one.
    pub fn extended(expression: &str) -> Option<Pattern> {
        let expression = CString::new(expression).ok()?;
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::uninit());
        // SAFETY: the room is that of a regex_t, and the expression ends with a zero byte.
        let result =
            unsafe { libc::regcomp(compiled.as_mut_ptr(), expression.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
        // SAFETY: a success has filled it in; nothing in it points to itself.
        (result == 0).then(|| Pattern(unsafe { compiled.assume_init() }))
    }

    /// Whether some part of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: it was compiled, the text ends with a zero byte, and no places of matches are asked for.
        unsafe { libc::regexec(&*self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        // SAFETY: it was compiled, and is not used any more.
        unsafe { libc::regfree(&mut *self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_expressions() {
        let matches = |expression: &str, text: &str| Pattern::extended(expression).unwrap().matches(text);
        assert!(matches("test-*", "my-test") && matches("^(a|b)+$", "abba"));
        assert!(!matches("^(a|b)+$", "abc") && !matches("a", "b\0a"));
        assert!(Pattern::extended("(").is_none() && Pattern::extended("a\0").is_none());
    }
}
