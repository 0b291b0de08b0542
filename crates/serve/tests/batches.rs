//! Prompts of all lengths in one request: each gets its own answer, within the memory limit.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use smollm3_serve::Limits;
use support::{CONTEXT, Served, random, served_with};

const PATH: &str = "/v1/completions";

/// The system's allocator, counting the bytes in use and their peak.
struct Counted;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as promised to this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised to this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// The peak of the bytes in use, relative to before.
fn peak(work: impl FnOnce()) -> usize {
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    MOST.load(Ordering::Relaxed) - before
}

fn prompt(length: usize, seed: usize) -> Vec<usize> {
    (0..length).map(|i| 5 + (i * i + seed * 31) % 200).collect()
}

fn served(batch_tokens: usize) -> Served {
    served_with(
        random(),
        Limits {
            batch_tokens,
            ..Limits::default()
        },
    )
}

/// One test, so that nothing else allocates.
#[test]
fn uneven_prompts_are_answered_as_if_alone_in_little_memory() {
    // One prompt of nearly the context among many of one token: padded, these are 100,000 tokens.
    let server = served(4 * CONTEXT);
    let mut prompts: Vec<_> = (0..300).map(|seed| prompt(1, seed)).collect();
    prompts.insert(7, prompt(CONTEXT - 1, 1));
    let request = |prompts: &[Vec<usize>]| json!({"prompt": prompts, "max_tokens": 1, "temperature": 0});
    server.done(PATH, &request(&prompts));
    let uneven = peak(|| drop(server.done(PATH, &request(&prompts))));
    let even = peak(|| drop(server.done(PATH, &request(&vec![prompt(CONTEXT - 1, 1); 4]))));
    eprintln!("{uneven} bytes for uneven prompts, {even} for four rows of the context");
    assert!(
        uneven < even + (4 << 20),
        "{uneven} bytes, {even} for four full rows"
    );

    // Bodies are parsed one at a time: a number of two bytes becomes one of 72.
    let body = json!({"prompt": vec![5; 500_000]}).to_string();
    let one = peak(|| {
        assert_eq!(
            server.ask("POST", PATH, "application/json", body.as_bytes()).0,
            400
        )
    });
    let eight = peak(|| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(
                        server.ask("POST", PATH, "application/json", body.as_bytes()).0,
                        400
                    )
                });
            }
        });
    });
    eprintln!(
        "{one} bytes for a body of {}, {eight} for eight at once",
        body.len()
    );
    assert!(eight < one + 7 * 4 * body.len(), "{eight} bytes, {one} for one");

    let lengths = [3, 150, 1, 40, 1, 9, 150, 2];
    let prompts: Vec<_> = (0..)
        .zip(lengths)
        .map(|(seed, length)| prompt(length, seed))
        .collect();
    let asked = |more: &Value| {
        let mut request = json!({"prompt": prompts, "max_tokens": 6, "logprobs": 0, "temperature": 0});
        more.as_object()
            .unwrap()
            .iter()
            .for_each(|(name, value)| request[name] = value.clone());
        request
    };
    let texts = |answer: &Value| -> Vec<(u64, String, Value)> {
        let choices = answer["choices"].as_array().unwrap().iter();
        choices
            .map(|choice| {
                let text = choice["text"].as_str().unwrap().to_owned();
                (
                    choice["index"].as_u64().unwrap(),
                    text,
                    choice["logprobs"]["tokens"].clone(),
                )
            })
            .collect()
    };
    let together = texts(&server.done(PATH, &asked(&json!({}))));
    for (index, prompt) in prompts.iter().enumerate() {
        let mut alone = asked(&json!({}));
        alone["prompt"] = json!([prompt]);
        let alone = texts(&server.done(PATH, &alone));
        let (place, text, tokens) = &together[index];
        assert_eq!(*place as usize, index);
        assert_eq!((text, tokens), (&alone[0].1, &alone[0].2), "prompt {index}");
    }
    // The sampling of a row does not depend on its batch.
    let drawn = asked(&json!({"temperature": 1.0, "seed": 7, "n": 3}));
    let one_by_one = served(170);
    assert_eq!(
        texts(&server.done(PATH, &drawn)),
        texts(&one_by_one.done(PATH, &drawn))
    );
    // A stream gives the same.
    let mut streamed = vec![String::new(); 24];
    for piece in one_by_one.streamed(PATH, &drawn) {
        for choice in piece["choices"].as_array().unwrap() {
            streamed[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        }
    }
    let whole: Vec<String> = texts(&server.done(PATH, &drawn))
        .into_iter()
        .map(|text| text.1)
        .collect();
    assert_eq!(streamed, whole);
}
