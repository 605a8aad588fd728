//! A comparison as a comment on a pull request: GitHub's and GitLab's Markdown.

use std::fmt::Write as _;

use super::super::diff;
use super::super::outlook::Change;
use super::{Compare, Compared, in_words};

/// GitHub refuses a comment of more than 65,536 characters.
const LONGEST: usize = 60_000;

/// Returns the comment. What does not fit into it is counted in its last line.
pub fn comment(compare: &Compare, apps: &[Compared]) -> anyhow::Result<String> {
    let Compare { folder, old, new } = compare;
    let folder = if folder.is_empty() { "the repository" } else { folder };
    let mut text = format!("### {} from {} to {}\n", code(folder), code(old), code(new));
    if apps.iter().all(Compared::is_same) {
        text += "\nNo object changes.\n";
        return Ok(text);
    }
    let mut left_out = 0_usize;
    for app in apps.iter().filter(|app| !app.is_same()) {
        let words = in_words(&app.changes);
        writeln!(text, "\n#### {}{}{words}\n", code(&app.app), if words.is_empty() { "" } else { ": " })?;
        if !app.problems.is_empty() {
            text += &format!("It cannot be rendered:\n\n{}\n", fenced(&app.problems.join("\n"), ""));
        }
        for change in &app.changes {
            let block = block(change)?;
            if left_out == 0 && text.len() + block.len() <= LONGEST {
                text += &block;
            } else {
                left_out += 1;
            }
        }
    }
    if left_out > 0 {
        writeln!(text, "\nNot shown, as a comment has no room for it: {left_out} more objects.")?;
    }
    Ok(text)
}

/// Returns one object that unfolds to its difference.
fn block(change: &Change) -> anyhow::Result<String> {
    let diff = diff::hunks(change)?;
    let id = escaped(&change.id.to_string());
    let fence = fenced(diff.trim_end(), "diff");
    Ok(format!(
        "<details><summary>{} <code>{id}</code></summary>\n\n{fence}\n</details>\n",
        change.action.word()
    ))
}

/// Fences text so that nothing in it can end the fence.
fn fenced(text: &str, language: &str) -> String {
    let runs = text.split(|letter| letter != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or_default().max(2) + 1);
    format!("{fence}{language}\n{text}\n{fence}\n")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('\n', " "))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skiff_shared::object::Interner;
    use skiff_shared::plan::Action;

    use super::*;

    fn change(action: Action, name: &str, value: &str) -> Change {
        let object = |value: &str| json!({"data": {"a": "1", "b": value}});
        Change {
            id: Interner::default().object("", "ConfigMap", Some("shop"), name),
            action,
            before: (action != Action::Created).then(|| object("old")),
            after: (action != Action::Pruned).then(|| object(value)),
            adopts: false,
            refused: None,
            unchecked: None,
        }
    }

    fn compare() -> Compare {
        Compare {
            folder: "clusters/eu".to_owned(),
            old: "main (4f2c9a77d0e1)".to_owned(),
            new: "0123456789ab".to_owned(),
        }
    }

    #[test]
    fn every_object_unfolds_to_its_difference() {
        let changes =
            vec![change(Action::Configured, "settings", "new"), change(Action::Created, "a<b", "x```y")];
        let shop = Compared { app: "shop".to_owned(), changes, problems: Vec::new() };
        let broken = Compared {
            app: "web".to_owned(),
            changes: Vec::new(),
            problems: vec!["web/a.yaml:3: it is no YAML".to_owned()],
        };
        let same = Compared { app: "same".to_owned(), changes: Vec::new(), problems: Vec::new() };
        insta::assert_snapshot!(comment(&compare(), &[shop, broken, same]).expect("a comment"), @r#"
        ### `clusters/eu` from `main (4f2c9a77d0e1)` to `0123456789ab`

        #### `shop`: 1 created, 1 configured

        <details><summary>configured <code>ConfigMap/shop/settings</code></summary>

        ```diff
        @@ -1,3 +1,3 @@
         data:
           a: "1"
        -  b: old
        +  b: new
        ```

        </details>
        <details><summary>created <code>ConfigMap/shop/a&lt;b</code></summary>

        ````diff
        @@ -0,0 +1,3 @@
        +data:
        +  a: "1"
        +  b: x```y
        ````

        </details>

        #### `web`

        It cannot be rendered:

        ```
        web/a.yaml:3: it is no YAML
        ```
        "#);
    }

    #[test]
    fn a_comment_says_that_nothing_changes() {
        let same = Compared { app: "same".to_owned(), changes: Vec::new(), problems: Vec::new() };
        let text = comment(&compare(), &[same]).expect("a comment");
        assert!(text.ends_with("\nNo object changes.\n"), "{text}");
    }

    #[test]
    fn a_comment_is_no_longer_than_github_takes() {
        let long = "x".repeat(LONGEST / 4);
        let changes =
            (0..10).map(|number| change(Action::Created, &format!("map-{number}"), &long)).collect();
        let shop = Compared { app: "shop".to_owned(), changes, problems: Vec::new() };
        let text = comment(&compare(), &[shop]).expect("a comment");
        assert!(text.len() < 65_536, "{}", text.len());
        assert!(text.ends_with("no room for it: 7 more objects.\n"), "{}", &text[text.len() - 100..]);
    }
}
