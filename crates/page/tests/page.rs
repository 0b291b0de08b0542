//! Pages and tables.

use smollm3_page::{card, html_table, live_page, page, table};

#[test]
fn texts_stay_texts() {
    let cells = table(&["a<b"], [vec!["x & \"y\"".to_owned()]]);
    assert!(cells.contains("<tr><th>a&lt;b</th></tr><tr><td>x &amp; &quot;y&quot;</td></tr>"));
    let html = html_table(&["a<b"], [vec!["<i>x</i>".to_owned()]]);
    assert!(html.contains("<th>a&lt;b</th>") && html.contains("<td><i>x</i></td>"));
    let whole = page("<t>", &cells);
    assert!(whole.contains("<h1>&lt;t&gt;</h1>") && whole.contains(&cells));
    assert!(!whole.contains("http"));
}

#[test]
fn only_a_served_page_fetches_itself() {
    let live = "class=\"live\"";
    assert!(live_page("run", "").contains(live) && !page("run", "").contains(live));
}

#[test]
fn both_themes_have_all_colours() {
    let whole = page("run", "");
    for color in 0..8 {
        assert!(whole.contains(&format!("--c{color}: light-dark(#")), "{color}");
    }
}

#[test]
fn a_card_without_content_is_none() {
    let mut text = String::new();
    card(&mut text, "empty", "");
    assert_eq!(text, "");
    card(&mut text, "<full>", "x");
    assert!(text.contains("<h3>&lt;full&gt;</h3>x"));
}
