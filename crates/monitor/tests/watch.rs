//! The report as it is served during a run: to this machine's browser, and to no page of others.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use smollm3_monitor::{Prometheus, Watch, report};

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{request}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn get(address: SocketAddr, path: &str, host: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}"))
}

#[test]
fn the_page_is_served_to_this_machine_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run<1>");
    fs::create_dir(&run).unwrap();
    let served = Watch::bind(0).unwrap();
    let address = served.address;
    assert!(address.ip().is_loopback());
    let error = Watch::bind(address.port()).err().unwrap().to_string();
    assert!(error.contains("--port"), "{error}");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| served.run(&stop, || report::live_report(std::slice::from_ref(&run))));
        // Before the run has begun, the page says so and asks again.
        let page = get(address, "/", "localhost");
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("class=\"live\""),
            "{page}"
        );
        assert!(
            page.contains("run&lt;1&gt;") && page.contains("no stage has been started"),
            "{page}"
        );
        assert!(
            page.contains("Content-Security-Policy: default-src 'none'"),
            "{page}"
        );
        fs::create_dir(run.join("pretrain")).unwrap();
        let info = r#"{"name": "pretrain", "steps": 4, "tokens_per_step": 100, "sequence_length": 10, "rope_theta": 5e4,
            "flops_per_token": 1e6, "peak_flops": null, "sources": [], "phases": []}"#;
        fs::write(run.join("pretrain/stage.json"), info).unwrap();
        let page = get(address, "/", &address.to_string());
        assert!(
            page.contains("step 0 of 4") && page.contains("class=\"live\""),
            "{page}"
        );
        assert!(get(address, "/etc/passwd", "localhost").starts_with("HTTP/1.1 404"));
        assert!(
            ask(address, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0")
                .starts_with("HTTP/1.1 404")
        );
        for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example"] {
            let refused = get(address, "/", host);
            assert!(
                refused.starts_with("HTTP/1.1 403") && !refused.contains("pretrain"),
                "{refused}"
            );
        }
        let two = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example";
        assert!(ask(address, two).starts_with("HTTP/1.1 403"));
        let asked = Instant::now();
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn metrics_are_for_this_machine_too() {
    let served = Prometheus::serve(0).unwrap();
    assert!(get(served.address, "/metrics", "localhost").starts_with("HTTP/1.1 200"));
    assert!(get(served.address, "/metrics", "evil.example").starts_with("HTTP/1.1 403"));
}
