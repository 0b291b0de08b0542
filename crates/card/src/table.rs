//! Tables in Markdown.

/// Rows under a head; a column whose name ends with `:` is of numbers. Nothing where there are no rows.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(
        head.iter()
            .map(|name| name.trim_end_matches(':').to_owned())
            .collect(),
    );
    let rule = |name: &&str| if name.ends_with(':') { "---:" } else { "---" }.to_owned();
    text.push_str(&line(head.iter().map(rule).collect()));
    for row in rows {
        text.push_str(&line(row.iter().map(|cell| escaped(cell)).collect()));
    }
    text.push('\n');
    text
}

/// A text that stays in its cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
