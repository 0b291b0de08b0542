//! The stages above the bar, each with its state and time left, in a few lines.

use std::time::Duration;

use super::clock;

/// Maximum number of lines; if stages do not fit, those far from the current one are only counted.
const LINES: usize = 3;

/// A stage of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineStage {
    /// Its name.
    pub name: String,
    /// Its tokens, if known.
    pub tokens: Option<u64>,
    /// Its state.
    pub state: State,
    /// The time left of its training, if known.
    pub left: Option<Duration>,
}

/// The state of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Complete.
    Done,
    /// In progress.
    Running,
    /// Not started.
    Waiting,
}

/// The stages in lines of at most `width` characters; none for fewer than two stages.
pub fn header(stages: &[PipelineStage], width: usize) -> Vec<String> {
    if stages.len() < 2 {
        return Vec::new();
    }
    let count = stages.len();
    let place = place(stages).map_or_else(
        || format!("{count} stages"),
        |place| format!("stage {place} of {count}"),
    );
    let first: Vec<String> = [place].into_iter().chain(time_left(stages)).collect();
    let first = cut(&first.join(", "), width);
    let all: Vec<String> = stages.iter().map(item).collect();
    let mut lines = flow(&all, width);
    if lines.len() > LINES || lines.iter().any(|line| line.chars().count() > width) {
        lines = flow(&around_the_present(stages), width);
    }
    lines.truncate(LINES);
    let lines = lines.iter().map(|line| cut(line, width));
    [first].into_iter().chain(lines).collect()
}

/// The known time left of the run.
pub fn time_left(stages: &[PipelineStage]) -> Option<String> {
    let open = || stages.iter().filter(|stage| stage.state != State::Done);
    let known: Vec<Duration> = open().filter_map(|stage| stage.left).collect();
    let sum = known
        .iter()
        .fold(Duration::ZERO, |sum, left| sum.saturating_add(*left));
    let words = match known.len() == open().count() {
        true => "about",
        false => "more than",
    };
    (!sum.is_zero()).then(|| format!("{words} {} of training left", clock(sum)))
}

/// The number of the running stage, from 1; between two stages, of the earlier one.
pub fn place(stages: &[PipelineStage]) -> Option<usize> {
    let running = stages.iter().position(|stage| stage.state == State::Running);
    let done = || stages.iter().rposition(|stage| stage.state == State::Done);
    running.or_else(done).map(|index| index + 1)
}

fn item(stage: &PipelineStage) -> String {
    let left = stage
        .left
        .filter(|left| !left.is_zero())
        .map(|left| format!(" {}", clock(left)));
    match stage.state {
        State::Done => format!("✓ {}", stage.name),
        State::Running => format!("▸ {}{}", stage.name, left.unwrap_or_default()),
        State::Waiting => format!("· {}{}", stage.name, left.unwrap_or_default()),
    }
}

/// The current stage and the next; the others as counts.
fn around_the_present(stages: &[PipelineStage]) -> Vec<String> {
    let count = |state| stages.iter().filter(|stage| stage.state == state).count();
    let of = |state| stages.iter().filter(move |stage| stage.state == state).map(item);
    let done = match count(State::Done) {
        0 => None,
        done => Some(format!("✓ {done} done")),
    };
    let more = match count(State::Waiting) {
        0 | 1 => None,
        waiting => Some(format!("· {} more", waiting - 1)),
    };
    let present = of(State::Running).chain(of(State::Waiting).take(1));
    done.into_iter().chain(present).chain(more).collect()
}

/// Joins items into lines of `width` if they fit.
fn flow(items: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + item.chars().count() + 3 <= width => {
                line.push_str(" → ");
                line.push_str(item);
            }
            Some(_) => lines.push(format!("→ {item}")),
            None => lines.push(item.clone()),
        }
    }
    lines
}

fn cut(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => {
            let kept: String = line.chars().take(width.saturating_sub(1)).collect();
            kept + if width == 0 { "" } else { "…" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, state: State, left: Option<u64>) -> PipelineStage {
        PipelineStage {
            name: name.to_owned(),
            tokens: None,
            state,
            left: left.map(Duration::from_secs),
        }
    }

    fn demo() -> Vec<PipelineStage> {
        vec![
            stage("pretrain", State::Done, Some(0)),
            stage("long-context-512", State::Done, Some(0)),
            stage("long-context-1024", State::Running, Some(80)),
            stage("mid-train", State::Waiting, Some(50)),
            stage("sft", State::Waiting, Some(55)),
            stage("apo", State::Waiting, None),
            stage("merged", State::Waiting, Some(0)),
        ]
    }

    #[test]
    fn each_stage_has_its_state_and_time() {
        assert_eq!(
            header(&demo(), 80),
            [
                "stage 3 of 7, more than 3:05 min of training left",
                "✓ pretrain → ✓ long-context-512 → ▸ long-context-1024 1:20 min",
                "→ · mid-train 50 s → · sft 55 s → · apo → · merged",
            ]
        );
        assert_eq!(header(&demo(), 200).len(), 2);
        let mut known = demo();
        known[5].left = Some(Duration::from_secs(5));
        assert_eq!(
            header(&known, 80)[0],
            "stage 3 of 7, about 3:10 min of training left"
        );
    }

    #[test]
    fn narrow_terminals_show_the_present_stage_and_the_next() {
        assert_eq!(
            header(&demo(), 40),
            [
                "stage 3 of 7, more than 3:05 min of tra…",
                "✓ 2 done → ▸ long-context-1024 1:20 min",
                "→ · mid-train 50 s → · 3 more",
            ]
        );
        for width in 0..120 {
            let lines = header(&demo(), width);
            assert!(lines.len() <= 1 + LINES);
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{width}: {lines:?}"
            );
        }
        let many: Vec<PipelineStage> = (0..40)
            .map(|number| stage(&format!("stage-{number}"), State::Waiting, None))
            .collect();
        assert_eq!(header(&many, 80)[1], "· stage-0 → · 39 more");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let begun = [stage("a", State::Waiting, None), stage("b", State::Waiting, None)];
        assert_eq!(header(&begun, 80), ["2 stages", "· a → · b"]);
        let over = [stage("a", State::Done, None), stage("b", State::Done, None)];
        assert_eq!(header(&over, 80), ["stage 2 of 2", "✓ a → ✓ b"]);
        assert!(header(&over[..1], 80).is_empty() && header(&[], 80).is_empty());
    }
}
