//! Rows under a header.

use super::{line, paint};

/// Between two columns.
const GAP: &str = "   ";

/// A last column is not cut to less than this, however narrow the terminal is.
const NARROWEST: usize = 20;

/// Rows that come one after the other: columns only ever grow.
pub struct Table {
    widths: Vec<usize>,
    /// Characters that a line may have.
    limit: Option<usize>,
}

impl Table {
    /// Makes room for the header and the rows that are known.
    pub fn new(header: &[&str], rows: &[Vec<String>], limit: Option<usize>) -> Self {
        let mut table = Self { widths: header.iter().map(|name| length(name)).collect(), limit };
        rows.iter().for_each(|row| table.grow(row));
        table
    }

    fn grow(&mut self, row: &[String]) {
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(length(cell));
        }
    }

    /// Returns a row as a line: each column as wide as its widest cell, the last one cut where the line ends.
    fn laid(&self, row: &[String]) -> String {
        let mut laid = String::new();
        let (mut used, last) = (0, row.len().saturating_sub(1));
        for (column, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
            if column == last {
                let room = self.limit.map(|limit| limit.saturating_sub(used).max(NARROWEST));
                laid += &paint::painted(&room.map_or_else(|| cell.clone(), |room| cut(cell, room)));
            } else {
                laid += &paint::painted(&format!("{cell:<width$}"));
                laid += GAP;
                used += width + GAP.len();
            }
        }
        laid.trim_end().to_owned()
    }

    pub fn header(&self, header: &[&str]) {
        let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
        line(&self.laid(&header));
    }

    pub fn row(&mut self, row: &[String]) {
        self.grow(row);
        line(&self.laid(row));
    }
}

/// Prints rows under a header; on a terminal no line is longer than the terminal is wide, as far as the last column has
/// anything to spare.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    print(header, rows, columns());
}

/// The same with every cell whole, however long the lines become.
pub fn wide(header: &[&str], rows: &[Vec<String>]) {
    print(header, rows, None);
}

fn print(header: &[&str], rows: &[Vec<String>], limit: Option<usize>) {
    let mut table = Table::new(header, rows, limit);
    table.header(header);
    rows.iter().for_each(|row| table.row(row));
}

/// Returns how many characters fit a line of the terminal; nothing where the output is none.
pub fn columns() -> Option<usize> {
    let output = std::io::stdout();
    let size = rustix::termios::tcgetwinsize(&output).ok().filter(|size| size.ws_col > 0)?;
    Some(usize::from(size.ws_col))
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

fn cut(cell: &str, room: usize) -> String {
    if length(cell) <= room {
        return cell.to_owned();
    }
    let kept: String = cell.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(&["shop", "Synced", "ok"]), row(&["a-long-name", "Unknown", ""])];
        let table = Table::new(&["NAME", "SYNC", "MESSAGE"], &rows, None);
        let laid: Vec<String> = rows.iter().map(|row| table.laid(row)).collect();
        assert_eq!(laid, ["shop          Synced    ok", "a-long-name   Unknown"]);
    }

    #[test]
    fn the_last_column_ends_where_the_terminal_does() {
        let rows = [row(&["shop", "waits for an approval of plan 4f2c9a77 since Tuesday"])];
        let table = Table::new(&["NAME", "MESSAGE"], &rows, Some(40));
        let laid = table.laid(&rows[0]);
        assert_eq!(laid, "shop   waits for an approval of plan 4f…");
        assert_eq!(length(&laid), 40);
    }

    #[test]
    fn a_narrow_terminal_still_shows_the_beginning_of_a_message() {
        let rows = [row(&["a-name-of-twenty-chars", "the message of it, which is long"])];
        let table = Table::new(&["NAME", "MESSAGE"], &rows, Some(24));
        assert_eq!(table.laid(&rows[0]), "a-name-of-twenty-chars   the message of it,…");
    }
}
