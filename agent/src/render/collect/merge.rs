//! All parts of a render together: one row for each object, sorted, and what is said of all of them.

use skiff_shared::desired::{DesiredRow, Problem};

use super::{Collector, KEPT, Part};
use crate::render::{OnDuplicate, Reason, RenderError};

/// Where an object is declared: its part, and its number there.
type Place = (usize, u32);

/// What is said of two declarations of one object, at the place of the later one.
enum Said {
    Warning(String),
    Problem(Problem),
}

impl Collector<'_> {
    /// Returns the rows, sorted by id and none twice, with all warnings.
    pub(super) fn merge(&mut self) -> Result<(Vec<DesiredRow>, Vec<String>), RenderError> {
        let mut all = declared(&self.parts);
        all.sort_unstable_by(|(a, first), (b, second)| (&a.id, first).cmp(&(&b.id, second)));
        let mut rows: Vec<DesiredRow> = Vec::with_capacity(all.len() + 1);
        let mut said: Vec<(Place, Said)> = Vec::new();
        for (row, place) in all {
            match rows.last_mut().filter(|kept| kept.id == row.id) {
                None => rows.push(row.clone()),
                Some(kept) => said.push((place, one_of_two(kept, row, self.request.on_duplicate))),
            }
        }
        if let Some(created) = self.created_namespace(&rows)?
            && let Err(at) = rows.binary_search_by(|row| row.id.cmp(&created.id))
        {
            rows.insert(at, created);
        }
        said.sort_by_key(|(place, _)| *place);
        let warnings = self.tell(said);
        Ok((rows, warnings))
    }

    /// Adds what is said of duplicates, and returns the warnings of all parts, the first of them in full.
    fn tell(&mut self, said: Vec<(Place, Said)>) -> Vec<String> {
        let (mut warnings, mut more) = (Vec::new(), 0);
        for (texts, uncounted) in self.parts.iter().map(Part::warnings) {
            let room = KEPT - warnings.len();
            warnings.extend(texts.iter().take(room).cloned());
            more += texts.len().saturating_sub(room) + uncounted;
        }
        for (_, said) in said {
            match said {
                Said::Problem(Problem { place, message }) => {
                    self.problem(Reason::DuplicateObject, place, message);
                }
                Said::Warning(text) if warnings.len() < KEPT => warnings.push(text),
                Said::Warning(_) => more += 1,
            }
        }
        if more > 0 {
            warnings.push(format!("and {more} more warnings"));
        }
        warnings
    }
}

fn declared(parts: &[Part]) -> Vec<(&DesiredRow, Place)> {
    let rows = parts.iter().map(|part| part.rows().len()).sum();
    let mut all = Vec::with_capacity(rows);
    for (at, part) in parts.iter().enumerate() {
        all.extend(part.rows().iter().map(|numbered| (&numbered.row, (at, numbered.number))));
    }
    all
}

/// Decides which of two rows for one object stays.
fn one_of_two(kept: &mut DesiredRow, later: &DesiredRow, on_duplicate: OnDuplicate) -> Said {
    let (first, last) = (&kept.origin, &later.origin);
    let twice = format!("{} is declared twice: {first} and {last}", later.id);
    if kept.body == later.body {
        return Said::Warning(format!("{twice}; the two are the same: remove one"));
    }
    match on_duplicate {
        OnDuplicate::Refuse => {
            let message = format!("{twice}, and they differ: remove one");
            Said::Problem(Problem { place: last.to_string(), message })
        }
        OnDuplicate::LastWins => {
            *kept = later.clone();
            Said::Warning(format!("{twice}, and they differ: the last one is taken; remove the other"))
        }
    }
}
