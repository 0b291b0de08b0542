//! From what the model finds to a response, whole or in pieces.
//!
//! Both come from the same pieces: a whole response is its pieces put together, so a stream cannot say anything else.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::wire::{Checked, Json, Options, Refusal, Usage};
use crate::worker::Event;

/// How one kind of request is answered.
pub(crate) trait Reply: Send + 'static {
    /// A piece of a choice.
    type Piece: Send;
    /// What was asked.
    fn options(&self) -> &Options;
    /// Tokens of the prompts.
    fn prompt_tokens(&self) -> usize;
    /// What is said before anything is computed.
    fn opening(&mut self) -> Vec<Self::Piece>;
    /// What an event adds.
    fn pieces(&mut self, event: Event) -> Vec<Self::Piece>;
    /// Pieces as they go over the wire.
    fn chunk(&self, pieces: Vec<Self::Piece>, usage: Option<Usage>) -> impl Serialize;
    /// All pieces as they go over the wire.
    fn whole(&self, pieces: Vec<Self::Piece>, usage: Usage) -> impl Serialize;
}

/// A request that is being computed.
pub(crate) struct Running<R> {
    pub reply: R,
    pub events: UnboundedReceiver<Event>,
    /// Its place among those that wait, free again when this is dropped.
    pub _place: OwnedSemaphorePermit,
}

impl<R: Reply> Running<R> {
    /// The response; to a stream it begins at once.
    pub async fn respond(self) -> Checked<Response> {
        match self.reply.options().stream {
            true => Ok(self.stream().into_response()),
            false => self.collect().await,
        }
    }

    async fn collect(mut self) -> Checked<Response> {
        let mut pieces = self.reply.opening();
        let mut new_tokens = 0;
        loop {
            match self.events.recv().await {
                Some(Event::Done) => {
                    let usage = Usage::new(self.reply.prompt_tokens(), new_tokens);
                    return Ok(Json(self.reply.whole(pieces, usage)).into_response());
                }
                Some(Event::Failed(refusal)) => return Err(refusal),
                None => return Err(Refusal::stopping()),
                Some(event) => {
                    new_tokens += usize::from(matches!(event, Event::Token { .. }));
                    pieces.extend(self.reply.pieces(event));
                }
            }
        }
    }

    fn stream(mut self) -> impl IntoResponse {
        let opening = self.reply.opening();
        let streaming = Streaming {
            ready: opening
                .into_iter()
                .map(|piece| data(&self.reply.chunk(vec![piece], None)))
                .collect(),
            running: self,
            new_tokens: 0,
            ended: false,
        };
        let events = stream::unfold(streaming, |mut streaming| async {
            let event = streaming.next().await?;
            Some((Ok::<_, Infallible>(event), streaming))
        });
        // A comment now and then also finds out who has left.
        Sse::new(events).keep_alive(KeepAlive::default())
    }
}

struct Streaming<R> {
    running: Running<R>,
    ready: VecDeque<sse::Event>,
    new_tokens: usize,
    ended: bool,
}

impl<R: Reply> Streaming<R> {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let reply = &mut self.running.reply;
            match self.running.events.recv().await {
                Some(Event::Done) => {
                    if reply.options().include_usage {
                        let usage = Usage::new(reply.prompt_tokens(), self.new_tokens);
                        self.ready.push_back(data(&reply.chunk(Vec::new(), Some(usage))));
                    }
                    self.ready.push_back(sse::Event::default().data("[DONE]"));
                    self.ended = true;
                }
                Some(Event::Failed(refusal)) => self.fail(&refusal),
                None => self.fail(&Refusal::stopping()),
                Some(event) => {
                    self.new_tokens += usize::from(matches!(event, Event::Token { .. }));
                    for piece in reply.pieces(event) {
                        self.ready.push_back(data(&reply.chunk(vec![piece], None)));
                    }
                }
            }
        }
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.ready.push_back(data(&refusal.body()));
        self.ended = true;
    }
}

fn data(chunk: &impl Serialize) -> sse::Event {
    // Strings and numbers can always be written.
    let json = serde_json::to_string(chunk).unwrap_or_else(|_| Value::Null.to_string());
    sse::Event::default().data(json)
}
