//! A run on the terminal: bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use smollm3_engine::{Event, Listener, Result, StageInfo, StepRecord};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The listener that shows progress on standard error.
pub struct Progress {
    terminal: bool,
    bars: MultiProgress,
    /// The run as a whole, where it has several stages.
    run: Option<ProgressBar>,
    /// Names and tokens of its stages.
    stages: Vec<(String, u64)>,
    bar: Option<(String, ProgressBar)>,
    stage: Option<StageInfo>,
    tokens_per_second: f64,
    last_line: Option<Instant>,
}

impl Progress {
    /// Shows bars if standard error is a terminal: of a run of these stages, each with its tokens.
    pub fn of_run(stages: Vec<(String, u64)>) -> Self {
        let terminal = stderr().is_terminal();
        let bars = MultiProgress::new();
        let run = (terminal && stages.len() > 1).then(|| {
            let bar = bars.add(ProgressBar::new(stages.iter().map(|(_, tokens)| tokens).sum()));
            style(&bar, "{prefix} {bar:24.green} {percent}%  {wide_msg}");
            bar.set_prefix("run");
            bar
        });
        Self {
            terminal,
            bars,
            run,
            stages,
            bar: None,
            stage: None,
            tokens_per_second: 0.0,
            last_line: None,
        }
    }

    fn bar(&mut self, name: &str, total: u64, template: &str) -> &ProgressBar {
        if self.bar.as_ref().is_none_or(|(shown, _)| shown != name) {
            self.finish();
            let bar = self.bars.add(ProgressBar::new(total));
            style(&bar, template);
            bar.set_prefix(name.to_owned());
            self.bar = Some((name.to_owned(), bar));
        }
        // Just filled.
        self.bar
            .as_ref()
            .map(|(_, bar)| bar)
            .unwrap_or_else(|| unreachable!())
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn line(&mut self, text: &str) {
        match self.terminal {
            // Above the bars. A terminal that cannot be written to shows nothing either way.
            true => drop(self.bars.println(text)),
            false => eprintln!("{text}"),
        }
    }

    /// Tokens of the stages before this one.
    fn before(&self, stage: &str) -> u64 {
        let before = self.stages.iter().take_while(|(name, _)| name != stage);
        before.map(|(_, tokens)| tokens).sum()
    }

    /// Whether enough time has passed for another plain line.
    fn due(&mut self, last: bool) -> bool {
        let due = last || self.last_line.is_none_or(|time| time.elapsed() >= LINE_EVERY);
        if due {
            self.last_line = Some(Instant::now());
        }
        due
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
        let text = format!(
            "{}  loss {:.3}{margin}  lr {:.2e}  |g| {:.2}  {:.0} tok/s{mfu}{waited}  {} left",
            record.phase,
            record.loss,
            record.learning_rate,
            record.grad_norm,
            self.tokens_per_second,
            clock(left),
        );
        if self.terminal {
            let bar = self.bar(&name, steps, "{prefix} {bar:24.cyan} {pos}/{len}  {wide_msg}");
            bar.set_position(record.step);
            bar.set_message(text);
            if let Some(run) = &self.run {
                run.set_position(self.before(&name) + record.tokens);
            }
        } else if self.due(record.step == steps) {
            self.line(&format!("{name} {}/{steps}  {text}", record.step));
        }
    }
}

impl Listener for Progress {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Preparing { what, done, total } => {
                if self.terminal {
                    let bar = self.bar(what, *total, "{prefix} {bar:24} {percent}%  {eta} left");
                    bar.set_position(*done);
                } else if self.due(done == total) {
                    self.line(&format!("{what}: {done}/{total}"));
                }
                if done >= total {
                    self.finish();
                }
            }
            Event::Note(text) => self.line(text),
            Event::StageStarted { stage, done } => {
                self.finish();
                self.stage = Some(stage.clone());
                let (name, steps) = (&stage.name, stage.steps);
                if let Some(run) = &self.run {
                    let number = self.stages.iter().position(|(known, _)| known == name);
                    let number = number.map_or(0, |number| number + 1);
                    run.set_message(format!("stage {number} of {}: {name}", self.stages.len()));
                    run.set_position(self.before(name) + done * stage.tokens_per_step);
                }
                if steps == 0 {
                    // A merge: what it does is told as it prepares.
                } else if *done == steps {
                    self.line(&format!("{name}: complete ({steps} steps)"));
                } else if *done > 0 {
                    self.line(&format!("{name}: going on after step {done} of {steps}"));
                }
            }
            Event::Step(record) => self.step(record),
            Event::HeldOut(record) => self.line(&format!(
                "{} held out: {} {:.3} nats/token, {:.3} bits/byte",
                record.phase, record.category, record.nats_per_token, record.bits_per_byte
            )),
            Event::Measured(record) => self.line(&format!(
                "{} held out: {} {:.3} ± {:.3} ({} pairs)",
                record.phase, record.name, record.value, record.standard_error, record.items
            )),
            Event::Saved {
                step,
                folder,
                pause,
                writing,
            } => {
                self.line(&format!(
                    "saved step {step} in {:.1} s (training waited {:.0} ms): {}",
                    writing.as_secs_f64(),
                    pause.as_secs_f64() * 1e3,
                    folder.display()
                ));
            }
            Event::Incident { step, kind } => self.line(&format!("step {step}: {kind}")),
            Event::StageEnded { .. } => self.finish(),
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
        self.finish();
        if let Some(run) = &self.run {
            run.abandon();
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
