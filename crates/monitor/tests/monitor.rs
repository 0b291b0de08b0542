//! A small run's files, made by the listeners themselves, and what is shown of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use smollm3_monitor::{Prometheus, RunFiles, TensorBoard, report, status};
use smollm3_records::{
    Event, Fault, HeldOutRecord, IncidentKind, Listener, Listeners, Metrics, PhaseInfo, RowRef, SourceName,
    SourceRecord, StageInfo, StepRecord,
};

fn stage(folder: &Path) -> StageInfo {
    let source = |name: &str, category: &str| SourceName {
        name: name.to_owned(),
        category: category.to_owned(),
    };
    StageInfo {
        loss_unit: "nats/token".to_owned(),
        name: "pretrain".to_owned(),
        folder: folder.join("pretrain"),
        steps: 40,
        tokens_per_step: 1_000,
        sequence_length: 250,
        rope_theta: 50_000.0,
        flops_per_token: 2e6,
        peak_flops: Some(1e10),
        sources: vec![source("books <&>", "web"), source("sums", "math")],
        phases: vec![PhaseInfo {
            name: "phase-1".to_owned(),
            first: 1,
            last: 40,
            shares: [("books <&>".to_owned(), 0.75), ("sums".to_owned(), 0.25)].into(),
        }],
    }
}

fn step(step: u64) -> Event {
    let part = |rows, loss| SourceRecord {
        rows,
        loss,
        targets: rows * 249,
    };
    Event::Step(StepRecord {
        observed: [("rewards/margins".to_owned(), step as f64)].into(),
        step,
        phase: "phase-1".to_owned(),
        tokens: step * 1_000,
        loss: 5.0 - step as f64 * 0.1,
        learning_rate: 1e-3,
        grad_norm: 0.5,
        seconds: 2.0,
        data_seconds: 0.01,
        updated: true,
        collectives: None,
        sources: BTreeMap::from([
            ("books <&>".to_owned(), part(3, 5.5)),
            ("sums".to_owned(), part(1, 2.5)),
        ]),
    })
}

/// A run of 20 of 40 steps with an incident and held-out losses.
fn run(folder: &Path, listeners: &mut dyn Listener) {
    let mut tell = |event: Event| listeners.on(&event).unwrap();
    tell(Event::StageStarted {
        stage: stage(folder),
        done: 0,
    });
    (1..=20).for_each(|at| tell(step(at)));
    tell(Event::Incident {
        step: 7,
        kind: IncidentKind::Fault {
            fault: Fault::NotFinite,
            loss: f64::NAN,
            grad_norm: f64::INFINITY,
            updated: false,
            rows: vec![RowRef {
                source: "sums".to_owned(),
                window: 3,
            }],
        },
    });
    tell(Event::HeldOut(HeldOutRecord {
        step: 20,
        phase: "phase-1".to_owned(),
        category: "math".to_owned(),
        nats_per_token: 2.25,
        bits_per_byte: 1.125,
        tokens: 100,
    }));
}

#[test]
fn status_says_where_the_run_is_and_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Metrics::default());
    fs::create_dir(folder.path().join("pretrain/step-00000020")).unwrap();
    let text = status::status(&RunFiles::read(folder.path()).unwrap());
    for part in [
        "pretrain: step 20 of 40 (50.0 %)",
        "loss 3.000",
        "500 tokens/s, MFU 10.0 %; 0 min 40 s of computing left",
        "math 2.250 nats/token",
        "checkpoints after steps 20",
        "one incident:",
        "step 7: the loss or the gradient norm is not finite",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn a_folder_without_a_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent")] {
        let error = RunFiles::read(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_report_stands_alone_and_shows_what_was_asked_and_got() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b<script>"));
    run(&a, &mut Metrics::default());
    run(&b, &mut Metrics::default());
    let runs = [RunFiles::read(&a).unwrap(), RunFiles::read(&b).unwrap()];
    let one = report::report(&runs[..1]);
    // Five charts and one of what else is observed; 75 % and 25 % as asked; the incident.
    assert_eq!(one.matches("<svg").count(), 6);
    assert!(one.contains("<h3>rewards/margins</h3>"));
    assert_eq!(one.matches("75.00 %").count(), 2);
    assert!(one.contains("not finite") && one.contains("2.2500"));
    assert!(one.contains("books &lt;&amp;&gt;"));
    let both = report::report(&runs);
    assert_eq!(both.matches("<svg").count(), 7);
    // The page's own script is the only one.
    assert!(
        both.contains("b&lt;script&gt;")
            && !both.contains("b<script")
            && both.matches("<script").count() == 1
    );
    for address in ["http://", "https://", "src=", "href="] {
        assert!(!both.contains(address), "the page wants {address}");
    }
    for path in both.split(" d=\"").skip(1) {
        assert!(!path.split('"').next().unwrap().contains("NaN"));
    }
}

/// Reads the frames of an event file back.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    let masked = |data: &[u8]| crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
        let record = rest[12..12 + length].to_vec();
        assert_eq!(rest[12 + length..16 + length], masked(&record).to_le_bytes());
        records.push(record);
        rest = &rest[16 + length..];
    }
    records
}

#[test]
fn event_files_hold_every_step_and_each_process_adds_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::default();
    run(folder.path(), &mut board);
    drop(board);
    let path = folder.path().join("pretrain/tensorboard");
    let files: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1);
    let records = records(&files[0]);
    // The version, the session's start, 20 steps, one held-out loss.
    assert_eq!(records.len(), 23);
    let contains = |record: &[u8], text: &[u8]| record.windows(text.len()).any(|part| part == text);
    assert!(contains(&records[0], b"brain.Event:2"));
    assert!(contains(&records[2], b"train/loss") && contains(&records[2], &4.9f32.to_le_bytes()));
    assert!(contains(&records[2], b"loss_by_source/sums"));
    assert!(contains(&records[22], b"held_out/math") && contains(&records[22], &2.25f32.to_le_bytes()));
}

fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn prometheus_reads_the_present_state() {
    let folder = tempfile::tempdir().unwrap();
    let served = Prometheus::serve(0).unwrap();
    let address = served.address;
    assert!(address.ip().is_loopback());
    assert!(get(address, "/metrics").starts_with("HTTP/1.1 200"));
    let mut listeners = Listeners::default().with(served);
    run(folder.path(), &mut listeners);
    let text = get(address, "/metrics");
    for line in [
        "smollm3_step{stage=\"pretrain\"} 20",
        "smollm3_loss{stage=\"pretrain\"} 3",
        "smollm3_mfu{stage=\"pretrain\"} 0.1",
        "smollm3_incidents{stage=\"pretrain\"} 1",
        "# TYPE smollm3_loss gauge",
        "smollm3_rewards_margins{stage=\"pretrain\"} 20",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert!(get(address, "/etc/passwd").starts_with("HTTP/1.1 404"));
    assert!(Prometheus::serve(address.port()).is_err());
}

#[test]
fn the_report_shows_where_tokens_went_and_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Metrics::default());
    let plain = report::report(&[RunFiles::read(folder.path()).unwrap()]);
    assert!(!plain.contains("trained on") && !plain.contains("/no_think"));
    let stage = folder.path().join("pretrain");
    let packing = r#"{"documents": 3, "empty_documents": 0, "truncated_documents": 1, "split_documents": 0,
        "dropped_documents": 0, "input": 1000, "kept": 900, "truncated": 100, "dropped": 0, "rows": 4, "row": 256}"#;
    let ledger = format!(
        r#"{{"input": 1000, "trained": 625, "masked": 275, "truncated": 100, "dropped": 0, "packing": {packing}}}"#
    );
    fs::write(stage.join("ledger.json"), ledger).unwrap();
    let evaluation = r#"{"checkpoint": "4f", "step": 20, "asked": {},
        "held_out": {"web": {"nats_per_token": 3.5, "bits_per_byte": 1.25, "tokens": 900}},
        "preference": [{"think": true, "items": 100, "score": 0.81, "standard_error": 0.04}],
        "long_context": [{"task": "multi-key", "length": 512, "items": 20, "score": 0.35, "standard_error": 0.1}],
        "loss_by_position": [{"from": 0, "to": 256, "loss": 4.125, "standard_error": 0.05, "documents": 9}],
        "exact_match": [{"think": false, "items": 100, "score": 0.07, "standard_error": 0.02}]}"#;
    fs::write(stage.join("evaluation.json"), evaluation).unwrap();
    let page = report::report(&[RunFiles::read(folder.path()).unwrap()]);
    for part in [
        "trained on</td><td>625</td><td>62.5 %",
        "multi-key at 512 tokens</td><td>35.0 ± 10.0 %",
        "loss at positions 0 to 255</td><td>4.125 ± 0.050",
        "sums, /no_think</td><td>7.0 ± 2.0 %",
        "held-out web</td><td>3.500 nats/token, 1.250 bits/byte",
        "preferred answers likelier, /think</td><td>81.0 ± 4.0 %",
    ] {
        assert!(page.contains(part), "no `{part}`");
    }
    fs::write(stage.join("ledger.json"), "{").unwrap();
    let refused = RunFiles::read(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("ledger.json"), "{refused}");
}
