//! `/v1/completions`: continuations of texts, and log-probabilities.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;
use smollm3_inference::{Continuation, TokenScore};

use crate::reply::{Head, Reply};
use crate::shared::Shared;
use crate::token_text::TextOffset;
use crate::wire::{
    Checked, CompletionChoice, CompletionRequest, Fields, FinishReason, Logprobs, Options, Prompts, Refusal,
    Usage,
};
use crate::worker::{Event, GenerationRequest};

/// OpenAI's default number of new tokens.
const MAX_TOKENS: usize = 16;

/// Reads a request: what to compute, and how to reply.
pub(crate) fn prepare(shared: &Arc<Shared>, fields: Fields) -> Checked<(GenerationRequest, CompletionReply)> {
    let request = CompletionRequest::read(fields, &shared.sampling())?;
    shared.check_model(request.model.as_deref())?;
    let tokenizer = &shared.model.tokenizer;
    let (prompts, texts) = match request.prompts {
        Prompts::Tokens(prompts) => (prompts, None),
        Prompts::Texts(texts) => {
            shared.check_rows("prompt", texts.len(), request.options.n)?;
            let encoded = texts.iter().map(|text| tokenizer.encode(text));
            let refused = |error| Refusal::field("prompt", format!("cannot be read: {error}"));
            (encoded.collect::<Result<_, _>>().map_err(refused)?, Some(texts))
        }
    };
    shared.check_prompts("prompt", &prompts, request.options.n)?;
    let max_new_tokens = request.options.max_tokens.unwrap_or(MAX_TOKENS);
    shared.check_new_tokens(&prompts, request.options.n, max_new_tokens)?;
    let echoed = match (request.echo, texts) {
        (false, _) => Vec::new(),
        (true, Some(texts)) => texts,
        (true, None) => {
            let decoded = prompts.iter().map(|ids| tokenizer.decode(ids, false));
            let refused = |error| Refusal::field("prompt", format!("cannot be shown: {error}"));
            decoded.collect::<Result<_, _>>().map_err(refused)?
        }
    };
    let work = GenerationRequest {
        n: request.options.n,
        how: Continuation {
            max_new_tokens,
            stop: request.options.stop.clone(),
            sampling: request.options.sampling.clone(),
        },
        score_prompts: request.echo && request.logprobs.is_some(),
        log_probs: request.logprobs,
        prompts: prompts.clone(),
    };
    let reply = CompletionReply {
        head: Head::new(shared, "cmpl"),
        offsets: vec![TextOffset::default(); prompts.len() * request.options.n],
        echoed,
        prompts,
        logprobs: request.logprobs.is_some(),
        options: request.options,
    };
    Ok((work, reply))
}

pub(crate) struct CompletionReply {
    head: Head,
    prompts: Vec<Vec<u32>>,
    /// The prompts as text if they are to be echoed, else empty.
    echoed: Vec<String>,
    /// The offset of the next token of each row.
    offsets: Vec<TextOffset>,
    logprobs: bool,
    options: Options,
}

impl CompletionReply {
    /// The prompt as the start of each of its rows.
    fn echo(&mut self, prompt: usize, scores: Option<&[TokenScore]>) -> Vec<CompletionChoice> {
        let (Some(text), Some(ids)) = (self.echoed.get(prompt), self.prompts.get(prompt)) else {
            return Vec::new();
        };
        let (text, ids) = (text.clone(), ids.clone());
        let rows = prompt * self.options.n..(prompt + 1) * self.options.n;
        rows.map(|row| CompletionChoice {
            index: row,
            text: text.clone(),
            logprobs: scores.map(|scores| {
                let scores = [None].into_iter().chain(scores.iter().map(Some));
                self.log_probs(row, ids.iter().copied().zip(scores), false)
            }),
            finish_reason: None,
        })
        .collect()
    }

    /// The scores of the next tokens of `row`.
    fn log_probs<'s>(
        &mut self,
        row: usize,
        tokens: impl Iterator<Item = (u32, Option<&'s TokenScore>)>,
        generated: bool,
    ) -> Logprobs {
        let texts = &self.head.shared.texts;
        let mut found = Logprobs::default();
        let mut nowhere = TextOffset::default();
        let offset = self.offsets.get_mut(row).unwrap_or(&mut nowhere);
        for (token, score) in tokens {
            let name = texts.name(token);
            // The end of a text counts as a token, but has no text.
            let shown = match generated && texts.is_special(token) {
                true => &[],
                false => texts.bytes(token),
            };
            found.text_offset.push(offset.advance(shown));
            found.token_logprobs.push(score.map(|score| score.log_prob));
            found.top_logprobs.push(score.map(|score| {
                let mut top = IndexMap::new();
                // Two tokens may have the same name; the more probable one comes first and stays.
                for (token, log_prob) in &score.top {
                    top.entry(texts.name(*token)).or_insert(*log_prob);
                }
                top.entry(name.clone()).or_insert(score.log_prob);
                top
            }));
            found.tokens.push(name);
        }
        found
    }
}

impl Reply for CompletionReply {
    type Piece = CompletionChoice;

    fn options(&self) -> &Options {
        &self.options
    }

    fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(Vec::len).sum()
    }

    fn opening(&mut self) -> Vec<CompletionChoice> {
        match self.logprobs {
            // Sent with its scores later.
            true => Vec::new(),
            false => (0..self.prompts.len())
                .flat_map(|prompt| self.echo(prompt, None))
                .collect(),
        }
    }

    fn pieces(&mut self, event: Event) -> Vec<CompletionChoice> {
        match event {
            Event::Prompt { prompt, scores } => self.echo(prompt, Some(&scores)),
            Event::Token {
                row,
                token,
                piece,
                score,
            } => {
                if piece.is_empty() && score.is_none() {
                    return Vec::new();
                }
                let logprobs =
                    score.map(|score| self.log_probs(row, [(token, Some(&score))].into_iter(), true));
                vec![CompletionChoice {
                    text: piece,
                    index: row,
                    logprobs,
                    ..CompletionChoice::default()
                }]
            }
            Event::End { row, end } => vec![CompletionChoice {
                index: row,
                finish_reason: Some(FinishReason::from(end)),
                ..CompletionChoice::default()
            }],
            Event::Done | Event::Failed(_) => Vec::new(),
        }
    }

    fn chunk(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> impl Serialize {
        self.head.with("text_completion", choices, usage)
    }

    fn whole(&self, pieces: Vec<CompletionChoice>, usage: Usage) -> impl Serialize {
        let rows = self.prompts.len() * self.options.n;
        let mut choices: Vec<CompletionChoice> = (0..rows)
            .map(|index| CompletionChoice {
                index,
                ..CompletionChoice::default()
            })
            .collect();
        for piece in pieces {
            if let Some(choice) = choices.get_mut(piece.index) {
                choice.extend(piece);
            }
        }
        self.chunk(choices, Some(usage))
    }
}
