//! The file of answers when torn, damaged, with other settings or in use; whatever remains of it, the result is the same.

mod support;

use std::fs;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use smollm3_synthesis::{AnswerId, Asked, Form, Progress, SynthesisError};
use support::server::{Reply, Server};
use support::{Bench, endpoint, write_lines};

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(|request, _| Reply::of_everything(request)));

fn pair_of_models() -> [Asked; 2] {
    ["strong", "weak"].map(|name| endpoint(name, &SERVER.address, name))
}

fn bench() -> Bench {
    let mut bench = Bench::of_numbers(7);
    bench.form = Form::StrongOverWeak;
    bench.samples = 2;
    bench
}

/// Rows and answers of an undisturbed run.
static UNDISTURBED: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let bench = bench();
    assert_eq!(bench.done(&pair_of_models()).rows, 14);
    (fs::read(bench.out()).unwrap(), fs::read(bench.answers()).unwrap())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_remained_the_end_is_the_same(cut in 0.0f64..=1.0, damage in prop::option::of(0.0f64..1.0)) {
        let (rows, answers) = &*UNDISTURBED;
        let header = answers.iter().position(|byte| *byte == b'\n').unwrap();
        let mut remained = answers[..(answers.len() as f64 * cut) as usize].to_vec();
        if let Some(part) = damage {
            // A hole, as a file system may leave it after a power failure; not in the settings.
            let at = (remained.len() as f64 * part) as usize;
            if at > header {
                let end = remained.len().min(at + 20);
                remained[at..end].fill(0);
            }
        }
        let bench = bench();
        fs::write(bench.answers(), &remained).unwrap();
        bench.done(&pair_of_models());
        prop_assert_eq!(&fs::read(bench.out()).unwrap(), rows);
    }
}

#[test]
fn a_wish_to_stop_keeps_what_came_and_asks_only_for_the_rest() {
    // Twelve answers and no more: the run is under way when it is stopped.
    let slow = Server::start(|request, before| match before {
        0..12 => Reply::of_everything(request),
        _ => Reply::of_everything(request).after(Duration::from_secs(60)),
    });
    let bench = Bench::of_numbers(40);
    let stop = AtomicBool::new(false);
    let outcome = bench.run(&[endpoint("model", &slow.address, "m")], &stop, &mut |progress| {
        assert_eq!(progress.total, 40);
        assert!(progress.new_tokens >= 7 * progress.new_answers);
        stop.store(progress.new_answers > 0, Ordering::Relaxed);
    });
    assert!(matches!(outcome, Err(SynthesisError::Interrupted)), "{outcome:?}");
    let kept = fs::read_to_string(bench.answers()).unwrap().lines().count() - 1;
    assert!((1..=12).contains(&kept), "{kept}");

    let server = Server::start(|request, _| Reply::of_everything(request));
    let models = [endpoint("model", &server.address, "m")];
    let mut shown = Vec::new();
    bench
        .run(&models, &AtomicBool::new(false), &mut |progress| {
            shown.push(progress)
        })
        .unwrap();
    assert_eq!(server.requests().len(), 40 - kept);
    let answers = |at: Option<&Progress>| at.map(|progress| (progress.answers, progress.new_answers));
    assert_eq!(answers(shown.first()), Some((kept as u64, 0)));
    assert_eq!(answers(shown.last()), Some((40, 40 - kept as u64)));
    let whole = Bench::of_numbers(40);
    whole.done(&models);
    assert_eq!(fs::read(bench.out()).unwrap(), fs::read(whole.out()).unwrap());
}

#[test]
fn a_failure_keeps_what_came() {
    let server = Server::start(|request, before| match before {
        0..10 => Reply::of_everything(request),
        _ => Reply::text(404, "gone"),
    });
    let bench = Bench::of_numbers(40);
    bench.refused(&[endpoint("model", &server.address, "m")], &["gone"]);
    assert!(!bench.out().exists());
    // A server may move; the model is the same.
    let written = bench.done(&[endpoint("model", &SERVER.address, "m")]);
    assert_eq!(written.rows, 40);
}

#[test]
fn more_prompts_and_more_samples_may_follow() {
    let mut bench = bench();
    bench.asking.limit = Some(3);
    bench.samples = 1;
    assert_eq!(bench.done(&pair_of_models()).rows, 3);
    bench.asking.limit = None;
    bench.samples = 2;
    assert_eq!(bench.done(&pair_of_models()).rows, 14);
    assert_eq!(fs::read(bench.out()).unwrap(), UNDISTURBED.0);
    // And fewer are taken of what is there.
    bench.asking.limit = Some(3);
    assert_eq!(bench.done(&pair_of_models()).rows, 6);
}

#[test]
fn answers_to_other_questions_are_refused() {
    let mut bench = bench();
    bench.done(&pair_of_models());
    let mut models = pair_of_models();
    models[1].max_new_tokens = 51;
    bench.refused(&models, &["weak.max_new_tokens: 50 there, 51 now"]);
    let mut models = pair_of_models();
    models[0] = endpoint("strong", &SERVER.address, "other");
    bench.refused(
        &models,
        &["strong.model: \"strong\" there, \"other\" now", "--out"],
    );
    bench.asking.system = Some("Be brief.".to_owned());
    bench.refused(&pair_of_models(), &["line 1", "differs from the prompt"]);
    bench.asking.system = None;
    write_lines(
        &bench.folder.path().join("prompts.jsonl"),
        &[json!({"prompt": "Say 0."}), json!({"prompt": "New"})],
    );
    bench.refused(&pair_of_models(), &["line 2", "differs from the prompt"]);
}

#[test]
fn files_that_are_not_ours_stay_as_they_are() {
    let bench = bench();
    fs::write(bench.out(), "precious\n").unwrap();
    bench.refused(&pair_of_models(), &["rows.jsonl", "exists"]);
    assert_eq!(fs::read_to_string(bench.out()).unwrap(), "precious\n");
    fs::remove_file(bench.out()).unwrap();
    for precious in ["precious", "{\"a\": 1}\n", "precious\nlines\n"] {
        fs::write(bench.answers(), precious).unwrap();
        bench.refused(&pair_of_models(), &["is not a file of answers"]);
        assert_eq!(fs::read_to_string(bench.answers()).unwrap(), precious);
    }
}

#[test]
fn one_command_at_a_time() {
    let bench = bench();
    let models = pair_of_models();
    let open = bench.journal(&models).unwrap();
    bench.refused(&models, &["another process"]);
    drop(open);
    bench.done(&models);
}

#[test]
fn streams_never_meet() {
    let mut streams = std::collections::HashSet::new();
    for prompt in [0, 1, 2, 999, 1 << 35] {
        for model in 0..2 {
            for sample in [0, 1, 2, 0xff_ffff] {
                assert!(
                    streams.insert(
                        AnswerId {
                            prompt,
                            model,
                            sample
                        }
                        .stream()
                    )
                );
            }
        }
    }
}
