//! The progress of generated answers.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use smollm3_synthesis::Progress;

use crate::progress::{clock, style};

/// How often a line is printed without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar with answers and tokens per second, and the time left; lines without a terminal.
pub struct AnswerBar {
    bar: ProgressBar,
    begin: Instant,
    line: Option<Instant>,
}

impl AnswerBar {
    /// Starts the clock.
    pub fn new() -> Self {
        let bar = ProgressBar::no_length();
        style(&bar, "answers {bar:24} {pos}/{len}  {wide_msg}");
        Self {
            bar,
            begin: Instant::now(),
            line: (!stderr().is_terminal()).then(Instant::now),
        }
    }

    /// Shows progress.
    pub fn show(&mut self, progress: Progress) {
        let elapsed = self.begin.elapsed().as_secs_f64().max(1e-3);
        let answers = progress.new_answers as f64 / elapsed;
        let left = progress.total.saturating_sub(progress.answers) as f64 / answers;
        // Infinite before the first answer.
        let left = Duration::try_from_secs_f64(left).map(|left| format!(", {} left", clock(left)));
        let text = format!(
            "{answers:.2} answers/s, {:.0} tokens/s{}",
            progress.new_tokens as f64 / elapsed,
            left.unwrap_or_default()
        );
        match &mut self.line {
            None => {
                self.bar.set_length(progress.total);
                self.bar.set_position(progress.answers);
                self.bar.set_message(text);
            }
            Some(last) if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                eprintln!("answers {}/{}  {text}", progress.answers, progress.total);
            }
            Some(_) => {}
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
