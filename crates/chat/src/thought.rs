//! Where a thought ends and the answer begins.

/// What is said behind the last thought; `None` while a thought goes on.
pub fn spoken(text: &str) -> Option<&str> {
    match text.rsplit_once("</think>") {
        Some((_, spoken)) => Some(spoken),
        None => (!text.contains("<think>")).then_some(text),
    }
}
