//! Requests to an endpoint, its answers and its failures.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smollm3_synthesis::{BadRows, Endpoint, Form, Key, LeftOut, Model};
use support::server::{Reply, Server};
use support::{Bench, endpoint, patience};

fn content(row: &Value) -> &str {
    row["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap()
}

#[test]
fn a_request_says_what_was_asked_for_and_nothing_more() {
    let server = Server::start(|request, _| Reply::of_everything(request));
    let mut bench = Bench::new(&[json!({"prompt": "Hi", "chat_template_kwargs": {"python_tools": null}})]);
    let mut model = endpoint("model", &server.address, "Qwen/Qwen3-32B");
    bench.done(std::slice::from_ref(&model));
    let plain = server.requests()[0].clone();
    assert_eq!(plain.path, "/v1/chat/completions");
    assert!(!plain.headers.contains_key("authorization"));
    let seed = plain.body["seed"].as_u64().unwrap();
    assert_eq!(
        plain.body,
        json!({
            "model": "Qwen/Qwen3-32B",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 50,
            "temperature": 1.0,
            "top_p": 1.0,
            "seed": seed,
        })
    );

    bench = Bench::new(&[json!({"prompt": "Hi"}), json!({"prompt": "Ho"})]);
    bench.asking.system = Some("Be brief.".to_owned());
    bench.asking.think = Some(true);
    bench.samples = 2;
    (model.sampling.top_k, model.sampling.min_p) = (20, 0.1);
    bench.done(&[model]);
    let bodies: Vec<Value> = server.requests()[1..]
        .iter()
        .map(|request| request.body.clone())
        .collect();
    assert_eq!(bodies.len(), 4);
    for body in &bodies {
        assert_eq!((&body["top_k"], &body["min_p"]), (&json!(20), &json!(0.1)));
        assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": true}));
        assert_eq!(
            body["messages"][0],
            json!({"role": "system", "content": "Be brief."})
        );
    }
    let seeds: HashSet<u64> = bodies.iter().map(|body| body["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 4, "each answer has a seed of its own");
    assert!(seeds.contains(&seed), "which follows from its place");
    assert_eq!(
        bench.rows()[0]["chat_template_kwargs"],
        json!({"enable_thinking": true})
    );
    assert_eq!(bench.rows()[0]["messages"][0]["content"], "Be brief.");
}

#[test]
fn thoughts_are_put_where_templates_expect_them() {
    let server = Server::start(|request, _| match request.said().as_str() {
        "apart" => Reply::message(
            json!({"content": "\n\nFour.", "reasoning_content": "\n2 + 2\n"}),
            "stop",
        ),
        "newer" => Reply::message(json!({"content": "Four.", "reasoning": "2 + 2"}), "stop"),
        "none" => Reply::message(json!({"content": "Four.", "reasoning_content": null}), "stop"),
        "inside" => Reply::answer("<think>\n2 + 2\n</think>\n\nFour."),
        _ => Reply::answer("2 + 2\n</think>\n\nFour."),
    });
    let asked = ["apart", "newer", "none", "inside", "opened"];
    let bench = Bench::new(&asked.map(|word| json!({"question": word})));
    bench.done(&[endpoint("model", &server.address, "m")]);
    let thought = "<think>\n2 + 2\n</think>\n\nFour.";
    let said: Vec<Value> = bench.rows();
    let said: Vec<&str> = said.iter().map(content).collect();
    assert_eq!(said, [thought, thought, "Four.", thought, thought]);
}

#[test]
fn moods_pass_and_answers_come_in_the_order_of_the_prompts() {
    let fails = Mutex::new(HashSet::new());
    let server = Server::start(move |request, _| {
        let first = fails.lock().unwrap().insert(request.said());
        let number: u64 = request
            .said()
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap();
        match (first, number % 6) {
            (true, 0) => Reply::text(429, "slow down").header("Retry-After", "0"),
            (true, 1) => Reply::text(500, "oh"),
            (true, 2) => Reply::text(200, "{\"choices\": [{\"mess"),
            (true, 3) => Reply::text(200, "{\"choices\": []}"),
            // Longer than is waited for.
            (true, 4) => Reply::answer("late").after(Duration::from_millis(900)),
            _ => Reply::of_everything(request).after(Duration::from_millis(10 * (7 - number % 7))),
        }
    });
    let bench = Bench::of_numbers(12);
    let written = bench.done(&[endpoint("model", &server.address, "m")]);
    assert_eq!((written.rows, written.waiting), (12, 0));
    assert_eq!(server.requests().len(), 12 + 10);
    for (number, row) in bench.rows().iter().enumerate() {
        assert!(content(row).starts_with(&format!("Say {number}. ")), "{row}");
    }
}

#[test]
fn so_many_requests_are_under_way_and_no_more() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, seen) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |request, _| {
        seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Until the others are there, as long as there are any.
        let begin = Instant::now();
        while inside.load(Ordering::SeqCst) < 4 && begin.elapsed() < Duration::from_millis(200) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(10));
        inside.fetch_sub(1, Ordering::SeqCst);
        Reply::of_everything(request)
    });
    Bench::of_numbers(20).done(&[endpoint("model", &server.address, "m")]);
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

#[test]
fn what_does_not_pass_is_said_and_nothing_is_left_behind() {
    let cases = [
        (
            404,
            "{\"error\": {\"message\": \"no model `m`\"}}",
            vec!["404", "no model `m`", "/v1"],
        ),
        (
            401,
            "{\"error\": {\"message\": \"who are you\"}}",
            vec!["401", "who are you", "--key-env"],
        ),
        (307, "elsewhere", vec!["307"]),
        (503, "loading", vec!["503", "loading", "4 attempts"]),
        (
            400,
            "{\"object\": \"error\", \"message\": \"too long\"}",
            vec!["line 1", "too long", "--bad-rows skip"],
        ),
    ];
    for (status, body, words) in cases {
        let server =
            Server::start(move |_, _| Reply::text(status, body).header("Location", "http://127.0.0.1:9/"));
        let bench = Bench::of_numbers(1);
        bench.refused(&[endpoint("model", &server.address, "m")], &words);
        assert!(!bench.out().exists() && !bench.answers().exists());
    }
    // Nothing listens there.
    Bench::of_numbers(1).refused(
        &[endpoint("model", "http://127.0.0.1:1", "m")],
        &["127.0.0.1:1", "attempts"],
    );
}

#[test]
fn a_prompt_that_is_refused_can_be_left_out() {
    let server = Server::start(|request, _| match request.said().as_str() {
        "Say 1." => Reply::text(400, "{\"error\": {\"message\": \"longer than the context\"}}"),
        "Say 2." => Reply::message(json!({"content": ""}), "content_filter"),
        _ => Reply::of_everything(request),
    });
    let mut bench = Bench::of_numbers(4);
    bench.asking.bad_rows = BadRows::Skip;
    let models = [endpoint("model", &server.address, "m")];
    let written = bench.done(&models);
    assert_eq!(written.rows, 2);
    assert_eq!(written.left_out.get(&LeftOut::Refused), Some(&2));
    // It is recorded now, and not requested again.
    bench.done(&models);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_key_is_sent_and_never_shown() {
    // SAFETY: no other thread of this test binary touches this variable.
    unsafe { std::env::set_var("SYNTHESIS_TEST_KEY", "sk-very-secret") };
    let key = Key::from_env("SYNTHESIS_TEST_KEY").unwrap();
    let server = Server::start(|request, _| match request.headers["authorization"].as_str() {
        "Bearer sk-very-secret" if request.said() == "Say 0." => Reply::of_everything(request),
        other => Reply::text(403, &format!("{{\"error\": \"{other} is no key\"}}")),
    });
    let mut model = endpoint("model", &server.address, "m");
    let address = format!("{}/v1#m", server.address);
    model.model = Model::Endpoint(Endpoint::new(&address, Some(key), 1, patience()).unwrap());
    assert!(!format!("{model:?}").contains("secret"));
    let bench = Bench::of_numbers(2);
    let error = bench
        .run(&[model], &Default::default(), &mut |_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("403") && error.contains("is no key") && !error.contains("secret"),
        "{error}"
    );
    let kept = std::fs::read_to_string(bench.answers()).unwrap();
    assert!(kept.contains("Say 0.") && !kept.contains("secret"), "{kept}");
    assert!(
        Key::from_env("SYNTHESIS_TEST_NOTHING")
            .unwrap_err()
            .to_string()
            .contains("SYNTHESIS_TEST_NOTHING")
    );
}

#[test]
fn addresses_that_are_none_are_refused() {
    let refused = |address: &str| {
        Endpoint::new(address, None, 1, patience())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("http://localhost:8000/v1").contains("names no model"));
    assert!(refused("http://localhost:8000/v1#").contains("names no model"));
    assert!(refused("http://[::1/v1#m").contains("not an address"));
    for secret in ["http://me:secret@host/v1#m", "http://host/v1?key=secret#m"] {
        let error = refused(secret);
        assert!(
            error.contains("environment") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn two_endpoints_answer_side_by_side() {
    // Each waits for the other's first request, so one after the other would never end.
    let gate = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
    let server = || {
        let gate = Arc::clone(&gate);
        Server::start(move |request, before| {
            if before == 0 {
                let mut inside = gate.0.lock().unwrap();
                *inside += 1;
                gate.1.notify_all();
                let (_inside, waited) = gate
                    .1
                    .wait_timeout_while(inside, Duration::from_millis(300), |inside| *inside < 2)
                    .unwrap();
                if waited.timed_out() {
                    return Reply::text(404, "alone");
                }
            }
            Reply::of_everything(request)
        })
    };
    let (strong, weak) = (server(), server());
    let mut bench = Bench::of_numbers(6);
    bench.form = Form::StrongOverWeak;
    let written = bench.done(&[
        endpoint("strong", &strong.address, "s"),
        endpoint("weak", &weak.address, "w"),
    ]);
    assert_eq!(written.rows, 6);
    assert_eq!((strong.requests().len(), weak.requests().len()), (6, 6));
}
