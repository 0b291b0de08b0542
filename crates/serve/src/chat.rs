//! `/v1/chat/completions`: the assistant's next turn, split into thought, content and tool calls.

use std::sync::Arc;

use serde::Serialize;
use smollm3_chat::encode;
use smollm3_inference::Continuation;

use crate::answer::{Answer, Part, THINK};
use crate::messages::{conversation, refused};
use crate::reply::{Head, Reply};
use crate::shared::Shared;
use crate::wire::{
    ChatChoice, ChatDelta, ChatPiece, ChatRequest, Checked, Fields, FinishReason, Options, Refusal, Usage,
};
use crate::worker::{Event, GenerationRequest};

/// Reads a request: what to compute, and how to reply.
pub(crate) fn prepare(shared: &Arc<Shared>, fields: Fields) -> Checked<(GenerationRequest, ChatReply)> {
    let request = ChatRequest::read(fields, &shared.sampling())?;
    shared.check_model(request.model.as_deref())?;
    let Some(template) = &shared.model.template else {
        return Err(Refusal::field(
            "messages",
            "cannot be used: the checkpoint has no chat template; use /v1/completions, or add a chat_template.jinja",
        ));
    };
    let conversation = conversation(&request)?;
    let tokenizer = &shared.model.tokenizer;
    let rendered = template
        .render_prompt(tokenizer, &conversation, Some(shared.date))
        .map_err(|error| refused(&error))?;
    let prompt = encode(tokenizer, &rendered).map_err(|error| refused(&error))?.ids;
    let n = request.options.n;
    let prompts = vec![prompt];
    shared.check_prompts("messages", &prompts, n)?;
    let max_new_tokens = request.options.max_tokens;
    let max_new_tokens = max_new_tokens.unwrap_or_else(|| shared.room(&prompts, n));
    shared.check_new_tokens(&prompts, n, max_new_tokens)?;

    // Some templates open the thought themselves.
    let thinking = rendered.text.trim_end().ends_with(THINK);
    let kwargs = &conversation.template_kwargs;
    let may_call = conversation.tools.is_some() || kwargs.contains_key("xml_tools");
    let reply = ChatReply {
        head: Head::new(shared, "chatcmpl"),
        prompt_tokens: prompts.iter().map(Vec::len).sum(),
        answers: (0..n).map(|_| Answer::new(thinking, may_call)).collect(),
        options: request.options.clone(),
    };
    let work = GenerationRequest {
        prompts,
        n,
        how: Continuation {
            max_new_tokens,
            stop: request.options.stop,
            sampling: request.options.sampling,
        },
        score_prompts: false,
        log_probs: None,
    };
    Ok((work, reply))
}

pub(crate) struct ChatReply {
    head: Head,
    prompt_tokens: usize,
    answers: Vec<Answer>,
    options: Options,
}

impl Reply for ChatReply {
    type Piece = ChatPiece;

    fn options(&self) -> &Options {
        &self.options
    }

    fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    fn opening(&mut self) -> Vec<ChatPiece> {
        let delta = ChatDelta {
            role: Some("assistant"),
            ..ChatDelta::default()
        };
        let role = |index| ChatPiece {
            index,
            delta: delta.clone(),
            finish_reason: None,
        };
        (0..self.answers.len()).map(role).collect()
    }

    fn pieces(&mut self, event: Event) -> Vec<ChatPiece> {
        let (row, piece, end) = match event {
            Event::Token { row, piece, .. } => (row, piece, None),
            Event::End { row, end } => (row, String::new(), Some(end)),
            Event::Prompt { .. } | Event::Done | Event::Failed(_) => return Vec::new(),
        };
        let Some(answer) = self.answers.get_mut(row) else {
            return Vec::new();
        };
        let parts = match end {
            None => answer.push(&piece),
            Some(_) => answer.finish(),
        };
        let reason = end.map(|end| match (FinishReason::from(end), answer.calls()) {
            (FinishReason::Stop, 1..) => FinishReason::ToolCalls,
            (reason, _) => reason,
        });
        let piece = |delta, finish_reason| ChatPiece {
            index: row,
            delta,
            finish_reason,
        };
        let last = reason.map(|reason| piece(ChatDelta::default(), Some(reason)));
        let pieces = parts.into_iter().map(|part| piece(delta(part), None));
        pieces.chain(last).collect()
    }

    fn chunk(&self, pieces: Vec<ChatPiece>, usage: Option<Usage>) -> impl Serialize {
        self.head.with("chat.completion.chunk", pieces, usage)
    }

    fn whole(&self, pieces: Vec<ChatPiece>, usage: Usage) -> impl Serialize {
        let mut choices: Vec<ChatChoice> = (0..self.answers.len())
            .map(|index| ChatChoice {
                index,
                ..ChatChoice::default()
            })
            .collect();
        for piece in pieces {
            if let Some(choice) = choices.get_mut(piece.index) {
                choice.extend(piece);
            }
        }
        self.head.with("chat.completion", choices, Some(usage))
    }
}

fn delta(part: Part) -> ChatDelta {
    let mut delta = ChatDelta::default();
    match part {
        Part::Reasoning(text) => delta.reasoning_content = Some(text),
        Part::Content(text) => delta.content = Some(text),
        Part::Call(call) => delta.tool_calls.push(call),
    }
    delta
}
