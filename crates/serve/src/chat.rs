//! `/v1/chat/completions`: the assistant's next turn, its thoughts and calls apart from what it says.

use std::sync::Arc;

use serde::Serialize;
use smollm3_chat::encode;
use smollm3_inference::Continuation;

use crate::answer::{Answer, Part, THINK};
use crate::messages::{conversation, refused};
use crate::reply::Reply;
use crate::shared::{Shared, now, response_id};
use crate::wire::{
    ChatChoice, ChatCompletion, ChatDelta, ChatPiece, ChatRequest, Checked, Fields, FinishReason, Options,
    Refusal, Usage,
};
use crate::worker::{Event, Work};

/// What is computed for a request, and how it is answered.
pub(crate) fn prepare(shared: &Arc<Shared>, fields: Fields) -> Checked<(Work, ChatReply)> {
    let request = ChatRequest::read(fields, &shared.sampling())?;
    shared.check_model(request.model.as_deref())?;
    let Some(template) = &shared.model.template else {
        return Err(Refusal::field(
            "messages",
            "cannot be used: the checkpoint has no chat template; ask /v1/completions, or put a chat_template.jinja into it",
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
    let max_new_tokens = match request.options.max_tokens {
        Some(asked) => asked,
        None => shared.room(&prompts, n),
    };
    shared.check_new_tokens(&prompts, n, max_new_tokens)?;

    // Some templates open the thought themselves.
    let thinking = rendered.text.trim_end().ends_with(THINK);
    let kwargs = &conversation.template_kwargs;
    let may_call = conversation.tools.is_some() || kwargs.contains_key("xml_tools");
    let reply = ChatReply {
        shared: Arc::clone(shared),
        id: response_id("chatcmpl"),
        created: now(),
        prompt_tokens: prompts.iter().map(Vec::len).sum(),
        answers: (0..n).map(|_| Answer::new(thinking, may_call)).collect(),
        options: request.options.clone(),
    };
    let work = Work {
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
    shared: Arc<Shared>,
    id: String,
    created: u64,
    prompt_tokens: usize,
    answers: Vec<Answer>,
    options: Options,
}

impl ChatReply {
    fn completion<C: Serialize>(
        &self,
        object: &'static str,
        choices: Vec<C>,
        usage: Option<Usage>,
    ) -> impl Serialize {
        ChatCompletion {
            id: &self.id,
            object,
            created: self.created,
            model: &self.shared.name,
            choices,
            usage,
        }
    }
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
        let role = |index| ChatPiece {
            index,
            delta: ChatDelta {
                role: Some("assistant"),
                ..ChatDelta::default()
            },
            finish_reason: None,
        };
        (0..self.answers.len()).map(role).collect()
    }

    fn pieces(&mut self, event: Event) -> Vec<ChatPiece> {
        let (index, parts, end) = match event {
            Event::Token { row, piece, .. } => match self.answers.get_mut(row) {
                Some(answer) => (row, answer.push(&piece), None),
                None => return Vec::new(),
            },
            Event::End { row, end } => match self.answers.get_mut(row) {
                Some(answer) => (row, answer.finish(), Some((end.into(), answer.calls()))),
                None => return Vec::new(),
            },
            Event::Prompt { .. } | Event::Done | Event::Failed(_) => return Vec::new(),
        };
        let mut pieces: Vec<ChatPiece> = parts
            .into_iter()
            .map(|part| ChatPiece {
                index,
                delta: delta(part),
                finish_reason: None,
            })
            .collect();
        if let Some((reason, calls)) = end {
            pieces.push(ChatPiece {
                index,
                delta: ChatDelta::default(),
                finish_reason: Some(match (reason, calls) {
                    (FinishReason::Stop, 1..) => FinishReason::ToolCalls,
                    (reason, _) => reason,
                }),
            });
        }
        pieces
    }

    fn chunk(&self, pieces: Vec<ChatPiece>, usage: Option<Usage>) -> impl Serialize {
        self.completion("chat.completion.chunk", pieces, usage)
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
        self.completion("chat.completion", choices, Some(usage))
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
