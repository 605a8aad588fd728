//! "Did you mean": the known word that a mistyped one is nearest to.

/// Returns the word that differs least from the one given, if it differs little enough to be what was meant.
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed = bare(word);
    let allowed = (typed.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (distance(&typed, &bare(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Lower-cases a word and drops what separates its parts, so that `self_heal` is `selfHeal`.
fn bare(word: &str) -> String {
    word.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Counts the insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, typed) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(typed != wanted);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *typed == to[j - 1] && from[i - 1] == *wanted {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
