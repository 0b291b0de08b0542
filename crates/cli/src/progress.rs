//! A run on the terminal: bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use smollm3_engine::{Event, Listener, Result, StageInfo, StepRecord};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The listener that shows progress on standard error.
pub struct Progress {
    terminal: bool,
    bar: Option<(String, ProgressBar)>,
    stage: Option<StageInfo>,
    tokens_per_second: f64,
    last_line: Option<Instant>,
}

impl Progress {
    /// Shows bars if standard error is a terminal.
    pub fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            bar: None,
            stage: None,
            tokens_per_second: 0.0,
            last_line: None,
        }
    }

    fn bar(&mut self, name: &str, total: u64, template: &str) -> &ProgressBar {
        if self.bar.as_ref().is_none_or(|(shown, _)| shown != name) {
            self.finish();
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸ "));
            }
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
            bar.finish();
        }
    }

    fn line(&mut self, text: &str) {
        match &self.bar {
            Some((_, bar)) if self.terminal => bar.println(text),
            _ => eprintln!("{text}"),
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
        let left = Duration::from_secs_f64(
            (steps - record.step.min(steps)) as f64 * tokens / self.tokens_per_second,
        );
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
        let text = format!(
            "{}  loss {:.3}  lr {:.2e}  |g| {:.2}  {:.0} tok/s{mfu}{waited}  {} left",
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
                if *done == steps {
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

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}
