//! A page, its cards and tables.

use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A whole page: its title as heading, then `body`, which is HTML. It loads nothing.
pub fn page(title: &str, body: &str) -> String {
    whole(title, body, "")
}

/// A [`page`] that is served, and reloads itself every few seconds.
pub fn live_page(title: &str, body: &str) -> String {
    whole(title, body, "<span class=\"live\">live</span>")
}

fn whole(title: &str, body: &str, live: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <script>\n{SCRIPT}</script></head>\n<body><header><h1>{title}</h1>{live}\
         <button id=\"theme\" hidden></button></header>\n<main>\n{body}</main></body></html>\n"
    )
}

/// `text` with HTML's special characters escaped.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Adds a card of this title; `content` is HTML. Without content there is no card.
pub fn card(page: &mut String, title: &str, content: &str) {
    if !content.is_empty() {
        let _ = writeln!(
            page,
            "<div class=\"card\"><h3>{}</h3>{content}</div>",
            escape(title)
        );
    }
}

/// A table of texts under `head`.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let escaped = |row: Vec<String>| row.iter().map(|cell| escape(cell)).collect();
    html_table(head, rows.into_iter().map(escaped))
}

/// A table under `head`; its cells are HTML.
pub fn html_table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = String::from("<div class=\"scroll\"><table><tr>");
    for cell in head {
        let _ = write!(text, "<th>{}</th>", escape(cell));
    }
    text.push_str("</tr>");
    for row in rows {
        text.push_str("<tr>");
        for cell in row {
            let _ = write!(text, "<td>{cell}</td>");
        }
        text.push_str("</tr>");
    }
    text + "</table></div>"
}
