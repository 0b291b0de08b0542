//! Tables in Markdown.

/// Rows under a head; a column whose name ends with `:` is of numbers. Empty where there are no rows.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rows = rows
        .into_iter()
        .map(|row| line(row.iter().map(|cell| escaped(cell)).collect()));
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let names = head.iter().map(|name| name.trim_end_matches(':').to_owned());
    let rule = |name: &&str| if name.ends_with(':') { "---:" } else { "---" }.to_owned();
    let rules = head.iter().map(rule).collect();
    format!("{}{}{rows}\n", line(names.collect()), line(rules))
}

/// A text that stays in its cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
