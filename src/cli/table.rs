//! Lines of cells in columns, as Go's text/tabwriter aligns them with Podman's settings: a cell ends with a tab, columns
//! are at least 12 wide, two spaces lie between; a column ends at the first line that has no cell in it.

const MINIMUM: usize = 12;
const PADDING: usize = 2;
/// Cells of a line that are aligned: what an image's labels and commands hold must not cost a stack.
const COLUMNS: usize = 100;

/// Aligns the cells of `text`, which are separated by tabs.
pub fn align(text: &str) -> String {
    if !text.contains('\t') {
        return text.to_owned();
    }
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths = vec![Vec::new(); lines.len()];
    measure(&lines, &mut widths, 0, 0, lines.len());
    let mut out = String::with_capacity(text.len() * 2);
    for (at, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for (cell, width) in line.iter().zip(widths.iter().map(Some).chain(std::iter::repeat(None))) {
            out.push_str(cell);
            let length = crate::paint::width(cell);
            out.extend(std::iter::repeat_n(' ', width.map_or(0, |width| *width - length)));
        }
    }
    out
}

/// Finds the widths of `column` and those right of it in the lines `from..to`, which all have the columns left of it.
fn measure(lines: &[Vec<&str>], widths: &mut [Vec<usize>], column: usize, from: usize, to: usize) {
    let has = |line: usize| column < COLUMNS && lines[line].len() > column + 1;
    let mut at = from;
    while at < to {
        if !has(at) {
            at += 1;
            continue;
        }
        let end = (at..to).find(|line| !has(*line)).unwrap_or(to);
        let longest = (at..end).map(|line| crate::paint::width(lines[line][column]) + PADDING).max().unwrap_or(0);
        (at..end).for_each(|line| widths[line].push(longest.max(MINIMUM)));
        measure(lines, widths, column + 1, at, end);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_cells() {
        let text = align(&"\t".repeat(1_000_000));
        assert_eq!(text.len(), COLUMNS * MINIMUM);
    }

    #[test]
    fn columns() {
        assert_eq!(
            align("CONTAINER ID\tIMAGE\tCOMMAND\tNAMES\n1be84a380e2b\tlocalhost/busybox:latest\tsh\taa\n"),
            "CONTAINER ID  IMAGE                     COMMAND     NAMES\n\
             1be84a380e2b  localhost/busybox:latest  sh          aa\n"
        );
        assert_eq!(align("REPOSITORY\tTAG\tIMAGE ID\tSIZE\n"), "REPOSITORY  TAG         IMAGE ID    SIZE\n");
        assert_eq!(align("no tabs"), "no tabs");
    }

    #[test]
    fn a_column_ends_where_a_line_has_none() {
        assert_eq!(align("a\tb\n\naaaaaaaaaaaaaaaa\tb\n"), "a           b\n\naaaaaaaaaaaaaaaa  b\n");
        assert_eq!(align("ä\tb\nxx\ty\tz\n"), "ä           b\nxx          y           z\n");
    }
}
