//! The progress of a run: on a terminal, the stages with a bar below them, redrawn in place; elsewhere, lines.

mod header;

use std::cmp::Ordering;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use console::Term;
use header::{PipelineStage, State, header, place, time_left};
use indicatif::{ProgressBar, ProgressStyle};
use smollm3_records::{Event, Listener, Result, StageInfo, StepRecord, ended_early};

/// How often a line is printed without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Default width of the terminal.
const WIDTH: u16 = 80;

/// The listener that shows progress on standard error.
pub struct Progress {
    /// The bar, if standard error is a terminal.
    bar: Option<ProgressBar>,
    /// The width of the terminal that it is drawn for.
    width: usize,
    /// The name of what the bar shows.
    shown: String,
    /// The latest news, below the stages.
    news: String,
    pipeline: Vec<PipelineStage>,
    stage: Option<StageInfo>,
    /// Held-out losses of one evaluation, which arrive one by one.
    held_out: Option<(String, Vec<String>)>,
    tokens_per_second: f64,
    last_line: Option<Instant>,
}

impl Progress {
    /// The progress of a run with these stages, each with its tokens if known in advance.
    pub fn of_run(stages: Vec<(String, Option<u64>)>) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0));
        let waiting = |(name, tokens)| PipelineStage {
            name,
            tokens,
            state: State::Waiting,
            left: None,
        };
        Self {
            bar,
            width: 0,
            shown: String::new(),
            news: String::new(),
            pipeline: stages.into_iter().map(waiting).collect(),
            stage: None,
            held_out: None,
            tokens_per_second: 0.0,
            last_line: None,
        }
    }

    /// Moves the bar of `what` and redraws the stages above it.
    fn draw(&mut self, what: &str, done: u64, total: u64, message: String) {
        let Some(bar) = &self.bar else { return };
        if self.shown != what {
            self.shown = what.to_owned();
            bar.reset_eta();
        }
        let width = Term::stderr().size_checked().map_or(WIDTH, |(_, width)| width);
        let width = usize::from(width);
        if self.width != width {
            self.width = width;
            let bar_width = (width / 4).clamp(4, 20);
            style(bar, &format!("{{prefix}}{{bar:{bar_width}.cyan}} {{wide_msg}}"));
        }
        let mut lines = header(&self.pipeline, width);
        if !lines.is_empty() && !self.news.is_empty() {
            lines.push(self.news.chars().take(width).collect());
        }
        bar.set_prefix(lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(message);
    }

    /// Prints a permanent line.
    fn line(&mut self, text: &str) {
        match &self.bar {
            // Above the stages. Errors of the terminal are ignored.
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Shows what the run's files also record: on a terminal until the next news, elsewhere as a line.
    fn news(&mut self, text: String) {
        match self.bar.is_some() && self.pipeline.len() > 1 {
            true => self.news = text,
            false => self.line(&text),
        }
    }

    /// Shows the collected held-out losses.
    fn show_held_out(&mut self) {
        if let Some((phase, losses)) = self.held_out.take() {
            self.news(format!("{phase} held out: {}", losses.join(", ")));
        }
    }

    /// Whether it is time for another line.
    fn due(&mut self, last: bool) -> bool {
        let due = last || self.last_line.is_none_or(|time| time.elapsed() >= LINE_EVERY);
        if due {
            self.last_line = Some(Instant::now());
        }
        due
    }

    /// `[3/7] ` if there are several stages.
    fn place(&self) -> String {
        match place(&self.pipeline) {
            Some(place) if self.pipeline.len() > 1 => format!("[{place}/{}] ", self.pipeline.len()),
            _ => String::new(),
        }
    }

    /// Marks a stage as running and earlier ones as done.
    fn begin(&mut self, stage: &StageInfo) {
        self.stage = Some(stage.clone());
        // The speed depends on the sequence length.
        self.tokens_per_second = 0.0;
        let Some(present) = self.pipeline.iter().position(|known| known.name == stage.name) else {
            return;
        };
        self.pipeline[present].tokens = Some(stage.steps * stage.tokens_per_step);
        for (index, known) in self.pipeline.iter_mut().enumerate() {
            known.state = match index.cmp(&present) {
                Ordering::Less => State::Done,
                Ordering::Equal => State::Running,
                Ordering::Greater => State::Waiting,
            };
        }
    }

    fn end(&mut self, stage: &str) {
        let mut stages = self.pipeline.iter_mut();
        if let Some(stage) = stages.find(|known| known.name == stage) {
            stage.state = State::Done;
        }
    }

    /// Estimates the time left of each stage at the current speed; the running one has `left`.
    fn estimate(&mut self, left: Duration) {
        let at_this_speed =
            |tokens: u64| Duration::try_from_secs_f64(tokens as f64 / self.tokens_per_second).ok();
        for stage in &mut self.pipeline {
            stage.left = match stage.state {
                State::Done => None,
                State::Running => Some(left),
                State::Waiting => stage.tokens.and_then(at_this_speed),
            };
        }
    }

    fn step(&mut self, record: &StepRecord) {
        let Some(StageInfo {
            name,
            steps,
            tokens_per_step,
            flops_per_token,
            peak_flops,
            ..
        }) = self.stage.clone()
        else {
            return;
        };
        let tokens = tokens_per_step as f64;
        let rate = tokens / record.seconds.max(1e-9);
        self.tokens_per_second = match self.tokens_per_second {
            0.0 => rate,
            // A moving average over about ten steps.
            average => 0.9 * average + 0.1 * rate,
        };
        let left = (steps - record.step.min(steps)) as f64 * tokens / self.tokens_per_second;
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        let mfu = peak_flops.map_or(String::new(), |peak| {
            format!(
                "  MFU {:.0}%",
                100.0 * self.tokens_per_second * flops_per_token / peak
            )
        });
        // Data are prefetched, so a noticeable wait is worth showing.
        let waited = match record.data_seconds / record.seconds.max(1e-9) {
            part if part > 0.02 => format!("  data wait {:.0}%", 100.0 * part),
            _ => String::new(),
        };
        let margin = record
            .observed
            .get("rewards/margins")
            .zip(record.observed.get("rewards/accuracies"));
        let margin = margin.map_or(String::new(), |(margin, accuracy)| {
            format!("  margin {margin:.3}  acc {:.0}%", 100.0 * accuracy)
        });
        self.estimate(left);
        let details = format!(
            "lr {:.2e}  |g| {:.2}  {:.0} tok/s{mfu}{waited}",
            record.learning_rate, record.grad_norm, self.tokens_per_second
        );
        let (loss, left) = (record.loss, clock(left));
        let phase = &record.phase;
        if self.bar.is_some() {
            // Narrow terminals cut off the end.
            let message = format!(
                "{name} {}/{steps}  loss {loss:.3}  {left} left{margin}  {phase}  {details}",
                record.step
            );
            self.draw(&name, record.step, steps, message);
        } else if self.due(record.step == steps) {
            let run = time_left(&self.pipeline).filter(|_| self.pipeline.len() > 1);
            let run = run.map_or(String::new(), |left| format!("  (run: {left})"));
            let place = self.place();
            self.line(&format!(
                "{place}{name} {}/{steps}  {phase}  loss {loss:.3}{margin}  {details}  {left} left{run}",
                record.step
            ));
        }
    }
}

impl Listener for Progress {
    fn on(&mut self, event: &Event) -> Result<()> {
        if !matches!(event, Event::HeldOut(_)) {
            self.show_held_out();
        }
        match event {
            Event::Preparing { what, done, total } => {
                if let Some(bar) = &self.bar {
                    let part = 100 * done / total.max(&1);
                    let left = match (*done, self.shown == *what) {
                        (1.., true) if done < total => format!("  {} left", clock(bar.eta())),
                        _ => String::new(),
                    };
                    self.draw(what, *done, *total, format!("{what} {part} %{left}"));
                } else if self.due(done == total) {
                    let place = self.place();
                    self.line(&format!("{place}{what}: {done}/{total}"));
                }
            }
            Event::Note(text) => self.line(text),
            Event::StageStarted { stage, done } => {
                self.begin(stage);
                let (name, steps) = (&stage.name, stage.steps);
                if steps == 0 {
                    // A merge, which reports its preparation.
                } else if *done == steps {
                    self.line(&format!("{name}: complete ({steps} steps)"));
                } else if *done > 0 {
                    self.line(&format!("{name}: resuming after step {done} of {steps}"));
                }
                self.draw(name, *done, steps, name.clone());
            }
            Event::Step(record) => self.step(record),
            Event::HeldOut(record) => {
                let loss = format!(
                    "{} {:.3} nats/token ({:.3} bits/byte)",
                    record.category, record.nats_per_token, record.bits_per_byte
                );
                match &mut self.held_out {
                    Some((phase, losses)) if *phase == record.phase => losses.push(loss),
                    _ => {
                        self.show_held_out();
                        self.held_out = Some((record.phase.clone(), vec![loss]));
                    }
                }
            }
            Event::Measured(record) => self.news(format!(
                "{} held out: {} {:.3} ± {:.3} ({} pairs)",
                record.phase, record.name, record.value, record.standard_error, record.items
            )),
            Event::Saved {
                step,
                folder,
                pause,
                writing,
            } => {
                self.news(format!(
                    "saved step {step} in {:.1} s (training waited {:.0} ms): {}",
                    writing.as_secs_f64(),
                    pause.as_secs_f64() * 1e3,
                    folder.display()
                ));
            }
            Event::Incident { step, kind } => self.line(&format!("step {step}: {kind}")),
            Event::EndedEarly { step, best } => self.line(&ended_early(*step, best.as_ref())),
            Event::StageEnded { stage } => self.end(stage),
        }
        Ok(())
    }
}

/// The style of all progress bars.
pub fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show_held_out();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A duration in words.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}
