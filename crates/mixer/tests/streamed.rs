//! A source behind HTTP gives the same windows as on disk, and each file comes once an epoch.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use smollm3_corpus::remote::{RemoteClient, RetryPolicy};
use smollm3_corpus::shards::CacheOptions;
use smollm3_corpus::store::{OpenOptions, StreamedStore};
use smollm3_corpus::{StoreWriter, TokenStore};
use smollm3_mixer::{
    Documents, Mixer, MixerConfig, Order, PhaseWeights, SourceInfo, SourceReader, StreamedReader,
    WindowOrder, WindowReader,
};

const SEQUENCE: u64 = 7;

/// Serves the files of a folder; counts whole answers to GET by path.
fn serve(folder: PathBuf) -> (String, Arc<Mutex<BTreeMap<String, u32>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let counted = Arc::clone(&counts);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (folder, counted) = (folder.clone(), Arc::clone(&counted));
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let mut request = String::new();
                    if reader.read_line(&mut request).unwrap_or(0) == 0 {
                        return;
                    }
                    let mut line = String::new();
                    while reader.read_line(&mut line).unwrap_or(0) > 2 {
                        line.clear();
                    }
                    let mut words = request.split(' ');
                    let (method, path) = (words.next().unwrap(), words.next().unwrap());
                    let mut bytes = Vec::new();
                    let file = folder.join(path.trim_start_matches('/'));
                    fs::File::open(&file).unwrap().read_to_end(&mut bytes).unwrap();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"1\"\r\n\r\n",
                        bytes.len()
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    if method == "GET" {
                        *counted.lock().unwrap().entry(path.to_owned()).or_default() += 1;
                        stream.write_all(&bytes).unwrap();
                    }
                }
            });
        }
    });
    (address, counts)
}

#[test]
fn a_streamed_source_is_read_as_a_local_one_and_each_file_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for file in 0..5u32 {
        let name = format!("{file}.ds");
        let mut writer = StoreWriter::create(folder.path().join(&name), "test", 5_000).unwrap();
        for document in 0..10 + file {
            let tokens: Vec<u32> = (0..5 + document)
                .map(|i| 700 * file + 10 * document + i)
                .collect();
            writer.push_document(&tokens).unwrap();
        }
        writer.finish().unwrap();
        names.extend([name.clone(), format!("{name}.index"), format!("{name}.metadata")]);
    }
    let (server, counts) = serve(folder.path().to_owned());
    let addresses: Vec<String> = names.iter().map(|name| format!("{server}/{name}")).collect();
    let largest = (0..5)
        .map(|file| {
            names[3 * file..3 * file + 3]
                .iter()
                .map(|name| fs::metadata(folder.path().join(name)).unwrap().len())
                .sum::<u64>()
        })
        .max()
        .unwrap();
    let options = CacheOptions {
        folder: cache.path().to_owned(),
        // Room for the file being read and the next one.
        bytes: 2 * largest,
        retry: RetryPolicy::default(),
    };
    let client = RemoteClient::with_environment(RetryPolicy::default(), []).unwrap();
    let store = StreamedStore::open("web", &addresses, &options, &OpenOptions::default(), client).unwrap();
    let streamed = SourceReader::Streamed(StreamedReader::new(store, SEQUENCE, 5_000, Documents::Index));
    let local = TokenStore::open(folder.path()).unwrap();
    let local = SourceReader::Local(WindowReader::new(local, SEQUENCE, 5_000, Documents::Index).unwrap());
    let windows = streamed.windows().count();
    assert_eq!(windows, local.windows().count());

    let mixer = Mixer::new(MixerConfig {
        seed: 3,
        order: Order::Even,
        windows: WindowOrder::Permuted,
        sequence_length: SEQUENCE,
        global_batch: 1,
        phases: vec![PhaseWeights {
            sequences: windows,
            weights: vec![(0, 1.0)],
        }],
        sources: vec![SourceInfo {
            name: "web".into(),
            windows: Some(streamed.windows()),
            max_epochs: 1.0,
        }],
    })
    .unwrap();
    let order: Vec<u64> = mixer
        .sequences(0..windows)
        .map(|pick| pick.place.unwrap().window)
        .collect();
    assert!(order.windows(2).any(|pair| pair[1] != pair[0] + 1), "shuffled");
    for (place, window) in order.iter().enumerate() {
        if let Some(ahead) = order.get(place + 3) {
            streamed.prefetch(*ahead);
        }
        assert_eq!(streamed.read(*window).unwrap(), local.read(*window).unwrap());
    }
    assert!(streamed.read(windows).is_err());
    for file in 0..5 {
        assert_eq!(counts.lock().unwrap()[&format!("/{file}.ds")], 1, "file {file}");
    }
}
