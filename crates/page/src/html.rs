//! A page, its cards and tables.

use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light; --line: #d9d9de; --soft: #5d5d66; --red: #b00020; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c21; max-width: 1560px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { font-size: 1rem; margin: 0 0 .3rem; }
.grid, .overview { margin-bottom: 1.2rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 1.2rem; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.text { text-align: left; white-space: normal; }
.soft { color: var(--soft); } .bad { color: var(--red); }
";

/// A whole page: its title as heading, then `body`, which is HTML.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>\n{body}</body></html>\n"
    )
}

/// `text` with what HTML would take for its own.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Adds a card of this title; `content` is HTML.
pub fn card(page: &mut String, title: &str, content: &str) {
    let _ = writeln!(
        page,
        "<div class=\"card\"><h3>{}</h3>{content}</div>",
        escape(title)
    );
}

/// A table of texts under `head`.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = String::from("<table><tr>");
    for cell in head {
        let _ = write!(text, "<th>{}</th>", escape(cell));
    }
    text.push_str("</tr>");
    for row in rows {
        text.push_str("<tr>");
        for cell in row {
            let _ = write!(text, "<td>{}</td>", escape(&cell));
        }
        text.push_str("</tr>");
    }
    text + "</table>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        let cells = table(&["a<b"], [vec!["x & \"y\"".to_owned()]]);
        assert_eq!(
            cells,
            "<table><tr><th>a&lt;b</th></tr><tr><td>x &amp; &quot;y&quot;</td></tr></table>"
        );
        let whole = page("<t>", &cells);
        assert!(whole.contains("<h1>&lt;t&gt;</h1>") && whole.contains(&cells));
        assert!(!whole.contains("http"));
    }
}
