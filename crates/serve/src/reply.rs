//! Turns the model's events into a response, whole or streamed.
//!
//! Both are built from the same pieces: a whole response is its pieces joined, so the two cannot differ.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::queue::Place;
use crate::shared::{Shared, now};
use crate::wire::{Checked, Envelope, Json, Options, Refusal, Usage};
use crate::worker::Event;

/// How one kind of request is answered.
pub(crate) trait Reply: Send + 'static {
    /// A piece of a choice.
    type Piece: Send;
    /// The options of the request.
    fn options(&self) -> &Options;
    /// Number of tokens of the prompts.
    fn prompt_tokens(&self) -> usize;
    /// The pieces before anything is computed.
    fn opening(&mut self) -> Vec<Self::Piece>;
    /// The pieces that an event adds.
    fn pieces(&mut self, event: Event) -> Vec<Self::Piece>;
    /// A chunk of a stream.
    fn chunk(&self, pieces: Vec<Self::Piece>, usage: Option<Usage>) -> impl Serialize;
    /// The whole response.
    fn whole(&self, pieces: Vec<Self::Piece>, usage: Usage) -> impl Serialize;
}

/// What all chunks of a response have in common.
pub(crate) struct Head {
    pub shared: Arc<Shared>,
    id: String,
    created: u64,
}

impl Head {
    /// The head of a new response, whose id begins with `kind`.
    pub fn new(shared: &Arc<Shared>, kind: &str) -> Self {
        Self {
            shared: Arc::clone(shared),
            id: format!("{kind}-{:032x}", rand::random::<u128>()),
            created: now(),
        }
    }

    /// A response or a chunk.
    pub fn with<C: Serialize>(
        &self,
        object: &'static str,
        choices: Vec<C>,
        usage: Option<Usage>,
    ) -> impl Serialize {
        Envelope {
            id: &self.id,
            object,
            created: self.created,
            model: &self.shared.name,
            choices,
            usage,
        }
    }
}

/// A request that is being computed.
pub(crate) struct Running<R> {
    reply: R,
    events: UnboundedReceiver<Event>,
    new_tokens: usize,
    /// Free once the client has left.
    _place: Place,
}

impl<R: Reply> Running<R> {
    pub fn new(reply: R, events: UnboundedReceiver<Event>, place: Place) -> Self {
        Self {
            reply,
            events,
            new_tokens: 0,
            _place: place,
        }
    }

    /// The response, once whole; a stream begins at once.
    pub async fn respond(mut self) -> Checked<Response> {
        let mut pieces = self.reply.opening();
        if self.reply.options().stream {
            return Ok(self.stream(pieces).into_response());
        }
        while let Some(more) = self.next().await? {
            pieces.extend(more);
        }
        Ok(Json(self.reply.whole(pieces, self.usage())).into_response())
    }

    /// The pieces of the next event; `None` once everything was computed.
    async fn next(&mut self) -> Checked<Option<Vec<R::Piece>>> {
        match self.events.recv().await {
            Some(Event::Done) => Ok(None),
            Some(Event::Failed(refusal)) => Err(refusal),
            None => Err(Refusal::stopping()),
            Some(event) => {
                self.new_tokens += usize::from(matches!(event, Event::Token { .. }));
                Ok(Some(self.reply.pieces(event)))
            }
        }
    }

    fn usage(&self) -> Usage {
        Usage::new(self.reply.prompt_tokens(), self.new_tokens)
    }

    fn stream(self, opening: Vec<R::Piece>) -> impl IntoResponse {
        let mut streaming = Streaming {
            running: self,
            ready: VecDeque::new(),
            ended: false,
        };
        streaming.push(opening);
        let events = stream::unfold(streaming, |mut streaming| async {
            let event = streaming.next().await?;
            Some((Ok::<_, Infallible>(event), streaming))
        });
        // The comments that keep it alive also detect clients that have left.
        Sse::new(events).keep_alive(KeepAlive::default())
    }
}

struct Streaming<R> {
    running: Running<R>,
    ready: VecDeque<sse::Event>,
    ended: bool,
}

impl<R: Reply> Streaming<R> {
    fn push(&mut self, pieces: Vec<R::Piece>) {
        let chunk = |piece| data(&self.running.reply.chunk(vec![piece], None));
        self.ready.extend(pieces.into_iter().map(chunk));
    }

    async fn next(&mut self) -> Option<sse::Event> {
        while self.ready.is_empty() && !self.ended {
            match self.running.next().await {
                Ok(Some(pieces)) => self.push(pieces),
                Ok(None) => {
                    let reply = &self.running.reply;
                    if reply.options().include_usage {
                        let usage = Some(self.running.usage());
                        self.ready.push_back(data(&reply.chunk(Vec::new(), usage)));
                    }
                    self.ready.push_back(sse::Event::default().data("[DONE]"));
                    self.ended = true;
                }
                Err(refusal) => {
                    self.ready.push_back(data(&refusal.body()));
                    self.ended = true;
                }
            }
        }
        self.ready.pop_front()
    }
}

fn data(chunk: &impl Serialize) -> sse::Event {
    // Strings and numbers always serialise.
    let json = serde_json::to_string(chunk).unwrap_or_else(|_| Value::Null.to_string());
    sse::Event::default().data(json)
}
