//! The present state of a run as Prometheus text (exposition format 0.0.4), served on the local machine.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use smollm3_records::{Event, Listener, Result, StageInfo, StepRecord};
use tiny_http::{Header, Response};

use crate::local_server::{is_for_this_machine, listen};

/// The listener that keeps what is served up to date.
pub struct Prometheus {
    shown: Arc<Mutex<Shown>>,
    /// Where it is served.
    pub address: SocketAddr,
}

#[derive(Default)]
struct Shown {
    stage: Option<StageInfo>,
    step: Option<StepRecord>,
    incidents: u64,
    saved: Option<u64>,
}

impl Prometheus {
    /// Serves on 127.0.0.1; port 0 takes any that is free.
    ///
    /// # Errors
    /// The port is taken or not allowed.
    pub fn serve(port: u16) -> Result<Self> {
        let (server, address) = listen("--metrics-port", port)?;
        let shown = Arc::new(Mutex::new(Shown::default()));
        let read = Arc::clone(&shown);
        thread::spawn(move || {
            for request in server.incoming_requests() {
                let response = match request.url() {
                    _ if !is_for_this_machine(&request) => {
                        Response::from_string("the header `Host` names another machine\n")
                            .with_status_code(403)
                    }
                    "/metrics" | "/" => {
                        let text = read.lock().unwrap_or_else(PoisonError::into_inner).text();
                        let kind: &[u8] = b"text/plain; version=0.0.4; charset=utf-8";
                        let header = Header::from_bytes(&b"Content-Type"[..], kind);
                        header
                            .into_iter()
                            .fold(Response::from_string(text), Response::with_header)
                    }
                    _ => Response::from_string("see /metrics\n").with_status_code(404),
                };
                // The client may be gone.
                let _ = request.respond(response);
            }
        });
        Ok(Self { shown, address })
    }
}

impl Shown {
    fn text(&self) -> String {
        let Some(stage) = &self.stage else {
            return String::new();
        };
        let label = stage.name.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, value: f64| {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP smollm3_{name} {help}\n# TYPE smollm3_{name} gauge\nsmollm3_{name}{{stage=\"{label}\"}} {value}"
            );
        };
        gauge("steps", "Steps of the stage.", stage.steps as f64);
        gauge(
            "incidents",
            "Incidents since the process began.",
            self.incidents as f64,
        );
        if let Some(step) = self.saved {
            gauge("checkpoint_step", "Step of the newest checkpoint.", step as f64);
        }
        let Some(step) = &self.step else {
            return text;
        };
        let rate = stage.tokens_per_step as f64 / step.seconds.max(1e-9);
        gauge("step", "Steps done.", step.step as f64);
        gauge("tokens", "Tokens seen in the stage.", step.tokens as f64);
        gauge("loss", "Mean loss of the step, nats a token.", step.loss);
        gauge("grad_norm", "Gradient norm before clipping.", step.grad_norm);
        gauge("learning_rate", "Learning rate.", step.learning_rate);
        gauge("step_seconds", "Seconds of the step.", step.seconds);
        gauge(
            "data_seconds",
            "Seconds of it spent waiting for data.",
            step.data_seconds,
        );
        gauge("tokens_per_second", "Tokens a second.", rate);
        for (name, value) in &step.observed {
            gauge(&name.replace('/', "_"), "Mean of the step.", *value);
        }
        if let Some(peak) = stage.peak_flops {
            gauge(
                "mfu",
                "Model FLOPs over the peak.",
                rate * stage.flops_per_token / peak,
            );
        }
        text
    }
}

impl Listener for Prometheus {
    fn on(&mut self, event: &Event) -> Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StageStarted { stage, .. } => {
                *shown = Shown {
                    stage: Some(stage.clone()),
                    incidents: shown.incidents,
                    ..Shown::default()
                };
            }
            Event::Step(record) => shown.step = Some(record.clone()),
            Event::Saved { step, .. } => shown.saved = Some(*step),
            Event::Incident { .. } => shown.incidents += 1,
            _ => {}
        }
        Ok(())
    }
}
