//! Names matched by patterns with `*`, which stands for any characters, also none.

/// Says whether a whole name matches a pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    // What stands between two stars may be taken at its first place: the last star takes what is left.
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_characters() {
        assert!(matches("web", "web") && !matches("web", "web-1") && !matches("", "web"));
        assert!(matches("web-*", "web-1") && matches("web-*", "web-") && !matches("web-*", "db-1"));
        assert!(matches("*-web", "a-web") && !matches("*-web", "a-web-2"));
        assert!(matches("a*b*c", "aXbYbc") && !matches("a*b*c", "acb"));
        assert!(matches("a*a", "aa") && !matches("a*a", "a"));
        assert!(matches("*", "") && matches("**", "any/thing"));
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"a*".repeat(100), &"b".repeat(10_000)));
        assert!(!matches(&format!("{}b", "*a".repeat(100)), &"a".repeat(10_000)));
    }
}
