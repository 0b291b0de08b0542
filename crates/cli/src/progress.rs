//! A run on the terminal: the pipeline and one bar below it, drawn in place; plain lines elsewhere.

mod header;

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use console::Term;
use header::{PipelineStage, State, header, place, time_left};
use indicatif::{ProgressBar, ProgressStyle};
use smollm3_records::{Event, Listener, Result, StageInfo, StepRecord, ended_early};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Letters of a line where the terminal does not say.
const WIDTH: u16 = 80;

/// The listener that shows progress on standard error.
pub struct Progress {
    /// The bar, if standard error is a terminal.
    bar: Option<ProgressBar>,
    /// Letters of a line of the terminal that it is drawn for.
    width: usize,
    /// What the bar shows now.
    shown: String,
    /// What happened last, below the pipeline.
    news: String,
    pipeline: Vec<PipelineStage>,
    /// Tokens of the stages of the pipeline, where they are known.
    tokens: Vec<Option<u64>>,
    stage: Option<StageInfo>,
    /// Held-out losses of one measurement, which come one after the other.
    held_out: Option<(String, Vec<String>)>,
    tokens_per_second: f64,
    last_line: Option<Instant>,
}

impl Progress {
    /// Of a run of these stages, each with its tokens where they are known before their data are.
    pub fn of_run(stages: Vec<(String, Option<u64>)>) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0));
        let waiting = |(name, _): &(String, Option<u64>)| PipelineStage {
            name: name.clone(),
            state: State::Waiting,
            left: None,
        };
        Self {
            bar,
            width: 0,
            shown: String::new(),
            news: String::new(),
            pipeline: stages.iter().map(waiting).collect(),
            tokens: stages.into_iter().map(|(_, tokens)| tokens).collect(),
            stage: None,
            held_out: None,
            tokens_per_second: 0.0,
            last_line: None,
        }
    }

    /// Moves the bar, which is that of `what`, and draws the pipeline above it anew.
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

    /// Something that stays to be read.
    fn line(&mut self, text: &str) {
        match &self.bar {
            // Above the pipeline. A terminal that cannot be written to shows nothing either way.
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Something that the run's files keep: on a terminal it is shown until the next, elsewhere as a line.
    fn news(&mut self, text: String) {
        match self.bar.is_some() && self.pipeline.len() > 1 {
            true => self.news = text,
            false => self.line(&text),
        }
    }

    /// Says the held-out losses that have come, as one.
    fn tell_held_out(&mut self) {
        if let Some((phase, losses)) = self.held_out.take() {
            self.news(format!("{phase} held out: {}", losses.join(", ")));
        }
    }

    /// Whether enough time has passed for another plain line.
    fn due(&mut self, last: bool) -> bool {
        let due = last || self.last_line.is_none_or(|time| time.elapsed() >= LINE_EVERY);
        if due {
            self.last_line = Some(Instant::now());
        }
        due
    }

    /// `[3/7] `, where there are several stages.
    fn place(&self) -> String {
        match place(&self.pipeline) {
            Some(place) if self.pipeline.len() > 1 => format!("[{place}/{}] ", self.pipeline.len()),
            _ => String::new(),
        }
    }

    /// A stage begins or goes on: those before it are done.
    fn begin(&mut self, stage: &StageInfo) {
        self.stage = Some(stage.clone());
        // Of another length of rows, another speed.
        self.tokens_per_second = 0.0;
        let Some(present) = self.pipeline.iter().position(|known| known.name == stage.name) else {
            return;
        };
        self.tokens[present] = Some(stage.steps * stage.tokens_per_step);
        for (index, known) in self.pipeline.iter_mut().enumerate() {
            known.state = match index {
                _ if index < present => State::Done,
                _ if index == present => State::Running,
                _ => State::Waiting,
            };
        }
    }

    fn end(&mut self, stage: &str) {
        let mut stages = self.pipeline.iter_mut();
        if let Some(stage) = stages.find(|known| known.name == stage) {
            stage.state = State::Done;
        }
    }

    /// What the stages will take at the present speed, of which the running one has `left`.
    fn estimate(&mut self, left: Duration) {
        let at_this_speed =
            |tokens: u64| Duration::try_from_secs_f64(tokens as f64 / self.tokens_per_second).ok();
        for (stage, tokens) in self.pipeline.iter_mut().zip(&self.tokens) {
            stage.left = match stage.state {
                State::Done => None,
                State::Running => Some(left),
                State::Waiting => tokens.and_then(at_this_speed),
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
        // Reading is hidden behind the step before; what is waited for all the same is worth seeing.
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
            // What is cut off on a narrow terminal comes last.
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
            self.tell_held_out();
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
                    // A merge: what it does is told as it prepares.
                } else if *done == steps {
                    self.line(&format!("{name}: complete ({steps} steps)"));
                } else if *done > 0 {
                    self.line(&format!("{name}: going on after step {done} of {steps}"));
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
                        self.tell_held_out();
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

/// How the bars of all commands look.
pub fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.tell_held_out();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A time to wait, in words.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}
