//! Causal attention inside documents, a block of queries at a time.
//!
//! One task is one document of one key/value head. It processes queries in blocks: their scores against the visible keys
//! become weights in place. Memory is one block of scores per thread, time Σ length². The backward pass recomputes the
//! weights from the saved log-sum-exp (Dao et al. 2022, arXiv:2205.14135, without the tiling over keys, which a CPU's cache
//! does not need at these widths).

use std::cell::RefCell;

use super::lanes::{exp, exp_row, largest, sum_of_pairs, wide};
use super::matmul::{Cores, Matrix, matmul};
use super::{Shared, Threads, View};
use crate::Documents;

/// Queries per block.
const BLOCK: usize = 64;

/// Numbers of heads and their width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
}

/// One document of one key/value head.
struct Task {
    batch: usize,
    kv_head: usize,
    start: usize,
    length: usize,
}

fn tasks(documents: &Documents, kv_heads: usize) -> Vec<Task> {
    let mut tasks: Vec<Task> = (0..documents.batch())
        .flat_map(|batch| documents.spans(batch).map(move |span| (batch, span)))
        .flat_map(|(batch, (start, length))| {
            (0..kv_heads).map(move |kv_head| Task {
                batch,
                kv_head,
                start,
                length,
            })
        })
        .collect();
    // Longest first, so that no thread ends with a long one.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.length));
    tasks
}

/// Runs `work` with two buffers that the thread reuses.
fn with_scratch(work: impl FnOnce(&mut Vec<f32>, &mut Vec<f32>)) {
    thread_local! {
        static SCRATCH: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
    }
    SCRATCH.with_borrow_mut(|(first, second)| work(first, second));
}

/// `to = left · right` for `[m, n, k]`, on the calling thread.
fn product(to: &mut [f32], sizes: [usize; 3], left: Matrix<'_>, right: Matrix<'_>) {
    matmul(to, sizes, left, right, false, Cores::One);
}

/// `to += left · right` for `[m, n, k]`, on the calling thread.
fn add_product(to: &mut [f32], sizes: [usize; 3], left: Matrix<'_>, right: Matrix<'_>) {
    matmul(to, sizes, left, right, true, Cores::One);
}

/// Output and log-sum-exp of a block of `lse.len()` queries, the first at position `begin` of its document.
fn attend(
    [queries, keys, values]: [Matrix<'_>; 3],
    begin: usize,
    dim: usize,
    scores: &mut Vec<f32>,
    out: &mut [f32],
    lse: &mut [f32],
) {
    let (rows, seen) = (lse.len(), begin + lse.len());
    let scale = (dim as f32).powf(-0.5);
    scores.resize(rows * seen, 0.0);
    product(scores, [rows, seen, dim], queries, keys.transposed());
    wide(
        #[inline(always)]
        || softmax(scores, lse, begin, seen, scale),
    );
    product(out, [rows, dim, seen], Matrix::rows(scores, seen), values);
}

/// Output `[batch, heads, seq, head_dim]` and log-sum-exp of each query's scores, `[batch, heads, seq]`.
pub(crate) fn forward(
    q: View<'_, f32>,
    k: View<'_, f32>,
    v: View<'_, f32>,
    heads: Heads,
    documents: &Documents,
    threads: Threads,
) -> (Vec<f32>, Vec<f32>) {
    let (seq, dim) = (documents.seq(), heads.dim);
    let queries = documents.batch() * heads.heads * seq;
    let mut out = vec![0.0; queries * dim];
    let mut lse = vec![0.0; queries];
    let (out_at, lse_at) = (Shared::new(&mut out), Shared::new(&mut lse));
    let tasks = tasks(documents, heads.kv_heads);
    threads.each(tasks.len(), |task| {
        let task = &tasks[task];
        with_scratch(|scores, _| {
            let group = heads.heads / heads.kv_heads;
            let [keys, values] = [k, v].map(|view| view.matrix(task.batch, task.kv_head, task.start));
            for head in task.kv_head * group..(task.kv_head + 1) * group {
                for begin in (0..task.length).step_by(BLOCK) {
                    let rows = BLOCK.min(task.length - begin);
                    let queries = q.matrix(task.batch, head, task.start + begin);
                    let at = (task.batch * heads.heads + head) * seq + task.start + begin;
                    // SAFETY: tasks have disjoint rows of queries.
                    let (out, lse) = unsafe { (out_at.part(at * dim, rows * dim), lse_at.part(at, rows)) };
                    attend([queries, keys, values], begin, dim, scores, out, lse);
                }
            }
        });
    });
    (out, lse)
}

/// Output `[batch, heads, queries, head_dim]` of the last `queries` of `total` tokens of each row, from the keys and values of
/// all of them. Row `i` begins at `starts[i]`; queries before it see nothing. Without a backward pass, each block of queries of
/// each head is a separate task.
pub(crate) fn extend(
    q: View<'_, f32>,
    k: View<'_, f32>,
    v: View<'_, f32>,
    heads: Heads,
    starts: &[usize],
    [queries, total]: [usize; 2],
    threads: Threads,
) -> Vec<f32> {
    let all_heads = starts.len() * heads.heads;
    let mut out = vec![0.0; all_heads * queries * heads.dim];
    let out_at = Shared::new(&mut out);
    let group = heads.heads / heads.kv_heads;
    let blocks = queries.div_ceil(BLOCK);
    threads.each(all_heads * blocks, |task| {
        // Last blocks first: they have the most keys.
        let (block, row_and_head) = (blocks - 1 - task / all_heads, task % all_heads);
        let (batch, head) = (row_and_head / heads.heads, row_and_head % heads.heads);
        let (start, before) = (starts[batch], total - queries);
        // The first query of the block that lies in the row.
        let begin = (block * BLOCK).max(start.saturating_sub(before));
        let end = ((block + 1) * BLOCK).min(queries);
        if begin >= end {
            return;
        }
        let [keys, values] = [k, v].map(|view| view.matrix(batch, head / group, start));
        let inputs = [q.matrix(batch, head, begin), keys, values];
        let at = (row_and_head * queries + begin) * heads.dim;
        // SAFETY: tasks have disjoint blocks of queries.
        let out = unsafe { out_at.part(at, (end - begin) * heads.dim) };
        with_scratch(|scores, lse| {
            lse.resize(end - begin, 0.0);
            attend(inputs, before + begin - start, heads.dim, scores, out, lse);
        });
    });
    out
}

/// Gradients of q, k and v, dense `[batch, heads or kv_heads, seq, head_dim]`.
pub(crate) struct Gradients {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// Inputs and results of the forward pass.
pub(crate) struct Saved<'a> {
    pub q: View<'a, f32>,
    pub k: View<'a, f32>,
    pub v: View<'a, f32>,
    pub out: &'a [f32],
    pub lse: &'a [f32],
}

/// The backward pass for `grad: [batch, heads, seq, head_dim]`.
pub(crate) fn backward(
    saved: &Saved<'_>,
    grad: View<'_, f32>,
    heads: Heads,
    documents: &Documents,
    threads: Threads,
) -> Gradients {
    let Saved { q, k, v, out, lse } = *saved;
    let (seq, dim) = (documents.seq(), heads.dim);
    let batch = documents.batch();
    let mut gradients = Gradients {
        q: vec![0.0; batch * heads.heads * seq * dim],
        k: vec![0.0; batch * heads.kv_heads * seq * dim],
        v: vec![0.0; batch * heads.kv_heads * seq * dim],
    };
    let Gradients { q: dq, k: dk, v: dv } = &mut gradients;
    let (dq_at, dk_at, dv_at) = (Shared::new(dq), Shared::new(dk), Shared::new(dv));
    let scale = (dim as f32).powf(-0.5);
    let tasks = tasks(documents, heads.kv_heads);
    threads.each(tasks.len(), |task| {
        let task = &tasks[task];
        with_scratch(|weights, changes| {
            let group = heads.heads / heads.kv_heads;
            let [keys, values] = [k, v].map(|view| view.matrix(task.batch, task.kv_head, task.start));
            let at = ((task.batch * heads.kv_heads + task.kv_head) * seq + task.start) * dim;
            let count = task.length * dim;
            // SAFETY: tasks have disjoint documents and key/value heads.
            let (dk, dv) = unsafe { (dk_at.part(at, count), dv_at.part(at, count)) };
            for head in task.kv_head * group..(task.kv_head + 1) * group {
                for begin in (0..task.length).step_by(BLOCK) {
                    let rows = BLOCK.min(task.length - begin);
                    let seen = begin + rows;
                    let first = task.start + begin;
                    let [queries, grads] = [q, grad].map(|view| view.matrix(task.batch, head, first));
                    let at = (task.batch * heads.heads + head) * seq + first;
                    weights.resize(rows * seen, 0.0);
                    changes.resize(rows * seen, 0.0);
                    product(weights, [rows, seen, dim], queries, keys.transposed());
                    product(changes, [rows, seen, dim], grads, values.transposed());
                    let grads_of = |row: usize| &grad.head(task.batch, head, first + row)[..dim];
                    wide(
                        #[inline(always)]
                        || {
                            for row in 0..rows {
                                let visible = begin + row + 1;
                                let out = &out[(at + row) * dim..][..dim];
                                let mixed = sum_of_pairs(out, grads_of(row), |out, grad| out * grad);
                                let weights = &mut weights[row * seen..][..seen];
                                let changes = &mut changes[row * seen..][..seen];
                                softmax_backward(weights, changes, visible, scale, lse[at + row], mixed);
                            }
                        },
                    );
                    let (weights, changes) = (Matrix::rows(weights, seen), Matrix::rows(changes, seen));
                    // SAFETY: tasks have disjoint rows of queries.
                    let dq = unsafe { dq_at.part(at * dim, rows * dim) };
                    product(dq, [rows, dim, seen], changes, keys);
                    add_product(dk, [seen, dim, rows], changes.transposed(), queries);
                    add_product(dv, [seen, dim, rows], weights.transposed(), grads);
                }
            }
        });
    });
    gradients
}

/// Turns scores of `lse.len()` queries, the first at position `begin`, into weights, and stores their log-sum-exp.
#[inline(always)]
fn softmax(scores: &mut [f32], lse: &mut [f32], begin: usize, seen: usize, scale: f32) {
    for (row, (scores, lse)) in scores.chunks_exact_mut(seen).zip(lse).enumerate() {
        let (scores, future) = scores.split_at_mut(begin + row + 1);
        future.fill(0.0);
        let largest = largest(scores) * scale;
        let sum = exp_row(scores, scale, largest);
        *lse = largest + sum.ln();
        let scale = 1.0 / sum;
        scores.iter_mut().for_each(|score| *score *= scale);
    }
}

/// Turns a row of scores into weights, and the gradients of its weights into those of its scores. `mixed` is the
/// dot product of the query's output and its gradient.
#[inline(always)]
fn softmax_backward(
    weights: &mut [f32],
    changes: &mut [f32],
    visible: usize,
    scale: f32,
    lse: f32,
    mixed: f32,
) {
    let (weights, future) = weights.split_at_mut(visible);
    future.fill(0.0);
    let (changes, future) = changes.split_at_mut(visible);
    future.fill(0.0);
    for (weight, change) in weights.iter_mut().zip(changes) {
        *weight = exp(*weight * scale - lse);
        *change = *weight * (*change - mixed) * scale;
    }
}
