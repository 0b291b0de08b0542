//! Log-likelihoods of many requests.
//!
//! Requests lie end to end in one row, as documents that do not see each other: nothing is padded. Those that read the
//! same tokens (`… Answer:` and one letter) are read once. Only the positions that predict a continuation get logits, a
//! block of them at a time, so memory is that of one row through the model and of one block.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Tensor};
use smollm3_engine::EngineError;
use smollm3_kernels::{Documents, linear, upload};
use smollm3_model::{GenerateError, SmolLm3};

use super::{Request, at_once};
use crate::Result;

/// Bytes of the logits that exist at once, give or take a copy or two.
const LOGITS_AT_ONCE: usize = 64 << 20;

/// How probable a continuation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLikelihood {
    /// Σ ln p(token), nats.
    pub sum: f64,
    /// Tokens of the sum.
    pub tokens: usize,
    /// Whether each of them is the most probable one at its place.
    pub greedy: bool,
    /// Whether the request is longer than the model's context, of which only its end was read.
    pub cut: bool,
}

/// One document of a row, and the requests that read it.
struct Reading {
    ids: Vec<u32>,
    requests: Vec<usize>,
}

/// A position at which next tokens are scored.
struct Lookup {
    position: usize,
    /// Tokens, and the requests to whose sums they count.
    tokens: Vec<(u32, Vec<usize>)>,
}

/// The log-likelihood of each request, in their order. Rows have up to `tokens_at_once` tokens, or one request, the
/// longest first. `progress` gets the number of requests done and the total.
///
/// # Errors
/// A token is outside the vocabulary, or `progress` ends the work.
pub fn log_likelihoods(
    model: &SmolLm3,
    requests: &[Request],
    tokens_at_once: usize,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<LogLikelihood>> {
    check(requests, model.head().dims()[0])?;
    let model = model.valid();
    let context = model.max_positions();
    let mut found: Vec<LogLikelihood> = requests
        .iter()
        .map(|request| LogLikelihood {
            sum: 0.0,
            tokens: 0,
            greedy: true,
            cut: request.inputs().count() > context,
        })
        .collect();
    let readings = readings(requests, context);
    let mut left = readings.as_slice();
    let mut done = 0;
    while !left.is_empty() {
        progress(done, requests.len() as u64)?;
        let (row, rest) = left.split_at(at_once(left, tokens_at_once, |reading| reading.ids.len()));
        score(&model, row, requests, &mut found)?;
        done += row
            .iter()
            .map(|reading| reading.requests.len() as u64)
            .sum::<u64>();
        left = rest;
    }
    progress(done, requests.len() as u64)?;
    Ok(found)
}

fn check(requests: &[Request], vocab_size: usize) -> Result<()> {
    for request in requests {
        let mut ids = request.context.iter().chain(&request.continuation);
        if let Some(&id) = ids.find(|id| **id as usize >= vocab_size) {
            return Err(GenerateError::Vocabulary { id, vocab_size }.into());
        }
        if request.context.is_empty() || request.continuation.is_empty() {
            return Err(GenerateError::EmptyPrompt.into());
        }
    }
    Ok(())
}

/// The distinct inputs, the longest first.
fn readings(requests: &[Request], context: usize) -> Vec<Reading> {
    let inputs = requests.iter().map(|request| {
        let inputs: Vec<u32> = request.inputs().collect();
        inputs
            .get(inputs.len().saturating_sub(context)..)
            .unwrap_or_default()
            .to_vec()
    });
    let mut all: Vec<(Vec<u32>, usize)> = inputs.zip(0..).collect();
    all.sort_by(|(a, i), (b, j)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)).then(i.cmp(j)));
    let mut readings: Vec<Reading> = Vec::new();
    for (ids, request) in all {
        match readings.last_mut() {
            Some(last) if last.ids == ids => last.requests.push(request),
            _ => readings.push(Reading {
                ids,
                requests: vec![request],
            }),
        }
    }
    readings
}

/// Scores one row and adds its results to `found`.
fn score(model: &SmolLm3, row: &[Reading], requests: &[Request], found: &mut [LogLikelihood]) -> Result<()> {
    let device = model.head().device();
    let mut starts = Vec::with_capacity(row.len());
    let mut ids: Vec<i32> = Vec::new();
    let mut lookups = Vec::new();
    for reading in row {
        starts.push(ids.len());
        ids.extend(reading.ids.iter().map(|id| *id as i32));
        lookups.extend(lookups_of(reading, ids.len(), requests));
    }
    let seq = ids.len();
    let documents = Documents::new(vec![starts], seq).map_err(EngineError::from)?;
    let hidden = model.forward(upload(ids, &device).unsqueeze(), &documents);
    let width = hidden.dims()[2];
    let hidden = hidden.reshape([seq, width]);
    let vocab_size = model.head().dims()[0];
    let block = (LOGITS_AT_ONCE / (4 * vocab_size)).max(1);
    for block in lookups.chunks(block) {
        let (log_probs, best) = look_up(model, hidden.clone(), block, &device);
        let asked = block.iter().flat_map(|lookup| &lookup.tokens);
        let best = block
            .iter()
            .zip(best)
            .flat_map(|(lookup, best)| lookup.tokens.iter().map(move |_| best));
        for (((token, requests), log_prob), best) in asked.zip(log_probs).zip(best) {
            for request in requests {
                let found = &mut found[*request];
                found.sum += f64::from(log_prob);
                found.tokens += 1;
                found.greedy &= best == *token;
            }
        }
    }
    Ok(())
}

/// The tokens that requests score at the positions of a document that ends at `end` of its row. Requests with the same input
/// differ in their last token only, and in where their continuation begins.
fn lookups_of(reading: &Reading, end: usize, requests: &[Request]) -> Vec<Lookup> {
    let length = reading.ids.len();
    let scored = |request: &usize| requests[*request].continuation.len().min(length);
    let most = reading.requests.iter().map(scored).max().unwrap_or(0);
    let mut lookups: Vec<Lookup> = (end - most..end)
        .map(|position| Lookup {
            position,
            tokens: Vec::new(),
        })
        .collect();
    for &request in &reading.requests {
        let continuation = requests[request].continuation.iter().rev().take(length);
        for (lookup, token) in lookups.iter_mut().rev().zip(continuation) {
            match lookup.tokens.iter_mut().find(|(known, _)| known == token) {
                Some((_, askers)) => askers.push(request),
                None => lookup.tokens.push((*token, vec![request])),
            }
        }
    }
    lookups
}

/// ln p of the tokens of each lookup, in order, and the most probable token at each.
fn look_up(model: &SmolLm3, hidden: Tensor<2>, lookups: &[Lookup], device: &Device) -> (Vec<f32>, Vec<u32>) {
    let rows = lookups.len();
    let positions = lookups.iter().map(|lookup| lookup.position as i32);
    let hidden = hidden.select(0, upload(positions.collect(), device)); // [rows, hidden]
    let logits = linear(hidden, model.head()).cast(DType::F32); // [rows, vocab_size]
    let best = logits.clone().argmax(1).into_data().iter::<u32>().collect();
    let columns = lookups.iter().map(|lookup| lookup.tokens.len()).max();
    let columns = columns.unwrap_or(0);
    let token =
        |lookup: &Lookup, column: usize| lookup.tokens.get(column).map_or(0, |(token, _)| *token as i32);
    let tokens: Vec<i32> = lookups
        .iter()
        .flat_map(|lookup| (0..columns).map(move |column| token(lookup, column)))
        .collect();
    let tokens = upload(tokens, device).reshape([rows, columns]);
    let chosen = log_softmax(logits, 1).gather(1, tokens);
    let chosen: Vec<f32> = chosen.into_data().iter().collect();
    let asked = lookups
        .iter()
        .zip(chosen.chunks(columns.max(1)))
        .flat_map(|(lookup, chosen)| chosen.iter().take(lookup.tokens.len()).copied());
    (asked.collect(), best)
}
