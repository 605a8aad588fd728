//! Errors printed with their causes, each once.

use std::error::Error;

/// Returns the error and its causes on one line, `what was attempted: why: why`.
///
/// An error that repeats its cause in its own words is shortened to what it adds, so that causes of
/// libraries that do so (kube's for one) are read once.
pub fn chain(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.source();
        let text = one_line(&error.to_string());
        let own =
            cause.map_or(text.as_str(), |cause| own_words(&text, &one_line(&cause.to_string()))).to_owned();
        let is_told = parts.last().is_some_and(|said| said.contains(&own));
        if !own.is_empty() && !is_told {
            parts.push(own);
        }
        next = cause;
    }
    parts.join(": ")
}

/// Returns what `text` says beyond its cause. Words that follow the cause are kept, and with them the
/// cause, unless they are the cause again in `Debug` form, as in kube's `ApiError: {0} ({0:?})`.
fn own_words<'a>(text: &'a str, cause: &str) -> &'a str {
    let Some(at) = text.find(cause).filter(|_| !cause.is_empty()) else {
        return text;
    };
    let (before, after) = (&text[..at], text[at + cause.len()..].trim_start());
    let is_debug = after.starts_with('(') && after.ends_with(')') && after.contains(" { ");
    if after.is_empty() || is_debug { before.trim_end_matches([' ', ':']) } else { text }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<dyn Error>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().expect("an error has a text");
        let source = (!rest.is_empty()).then(|| Box::new(layers(rest)) as Box<dyn Error>);
        Layer { text: first, source }
    }

    #[test]
    fn causes_are_appended() {
        let error = layers(&["failed to fetch https://git.example/shop", "connection refused"]);
        insta::assert_snapshot!(chain(&error), @"failed to fetch https://git.example/shop: connection refused");
    }

    #[test]
    fn repeated_causes_are_told_once() {
        let error = layers(&["failed to apply: service error: reset", "service error: reset", "reset"]);
        insta::assert_snapshot!(chain(&error), @"failed to apply: service error: reset");
    }

    #[test]
    fn words_after_the_cause_are_kept() {
        let error = layers(&["failed: reset (see the docs)", "reset"]);
        insta::assert_snapshot!(chain(&error), @"failed: reset (see the docs)");
    }

    #[test]
    fn transparent_layers_add_nothing() {
        let error = layers(&["failed to read", "no such file", "no such file"]);
        insta::assert_snapshot!(chain(&error), @"failed to read: no such file");
    }

    #[test]
    fn errors_without_words_and_with_many_lines_stay_on_one_line() {
        let error = layers(&["failed to render", "", "line 1\n  line 2"]);
        insta::assert_snapshot!(chain(&error), @"failed to render: line 1 line 2");
    }

    #[test]
    fn errors_of_kube_are_read_once() {
        let status = kube::core::Status::failure("apps.skiff.dev is forbidden", "Forbidden").with_code(403);
        let error = kube::Error::Api(Box::new(status));
        insta::assert_snapshot!(chain(&error), @"ApiError: apps.skiff.dev is forbidden: Forbidden");

        let error = kube::Error::Service(Box::new(io::Error::other("connection closed")));
        insta::assert_snapshot!(chain(&error), @"ServiceError: connection closed");
    }
}
