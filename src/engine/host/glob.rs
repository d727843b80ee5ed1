//! Files of the host whose paths match a pattern: `*`, `?` and `[a-z]` in each part, as in Go's filepath.Glob.

/// The absolute paths that match, sorted; none if `pattern` is not absolute.
pub fn matching(pattern: &str) -> Vec<String> {
    if !pattern.starts_with('/') {
        return Vec::new();
    }
    let mut found = vec![String::new()];
    for part in pattern.split('/').filter(|p| !p.is_empty()) {
        let mut next = Vec::new();
        for directory in found {
            if !part.contains(['*', '?', '[', '\\']) {
                let path = format!("{directory}/{part}");
                if std::fs::symlink_metadata(&path).is_ok() {
                    next.push(path);
                }
                continue;
            }
            let at = if directory.is_empty() { "/" } else { &directory };
            for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
                if let Some(name) = entry.file_name().to_str().filter(|name| matches(part.as_bytes(), name.as_bytes()))
                {
                    next.push(format!("{directory}/{name}"));
                }
            }
        }
        found = next;
    }
    found.retain(|path| !path.is_empty());
    found.sort();
    found
}

/// True if one part of a path matches one part of a pattern.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return name.is_empty() };
    match first {
        b'*' => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        b'?' => !name.is_empty() && matches(rest, &name[1..]),
        b'[' => {
            let Some((byte, left)) = name.split_first() else { return false };
            match class(rest, *byte) {
                Some((held, rest)) => held && matches(rest, left),
                None => false,
            }
        }
        b'\\' if !rest.is_empty() => name.first() == Some(&rest[0]) && matches(&rest[1..], &name[1..]),
        _ => name.first() == Some(first) && matches(rest, &name[1..]),
    }
}

/// Whether `byte` is in the class that begins `pattern` after its bracket, and what follows the class.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (not, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut held = false;
    let mut first = true;
    loop {
        match rest {
            [b']', after @ ..] if !first => return Some((held != not, after)),
            [low, b'-', high, after @ ..] if *high != b']' => {
                held |= (*low..=*high).contains(&byte);
                rest = after;
            }
            [one, after @ ..] => {
                held |= *one == byte;
                rest = after;
            }
            [] => return None,
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, yes) in [
            ("*", "a", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txtx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[]", "]", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), yes, "{pattern} {name}");
        }
        assert_eq!(matching("/et?/pass[a-z]d"), ["/etc/passwd"]);
        assert!(matching("relative/*").is_empty());
    }
}
