//! A served model and a minimal client, to test what is sent over the wire.

#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use burn::tensor::TensorData;
use serde_json::{Value, json};
use smollm3_chat::{NaiveDate, Template};
use smollm3_corpus::Tokenizer;
use smollm3_inference::TextModel;
use smollm3_kernels::{compiled_backends, device};
use smollm3_model::hf::GenerationConfig;
use smollm3_model::{Init, ModelConfig, ParameterError, Parameters, SmolLm3};
use smollm3_serve::{Limits, Server, Settings};

/// Tokens of the random model's context.
pub const CONTEXT: usize = 200;

/// Tokens of a scripted model's context: too many to wait for.
const LONG: usize = 200_000;

/// A tokenizer with further tokens behind the fixture's.
pub fn tokenizer(further: &[&str]) -> Tokenizer {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/tokenizer/tokenizer.json"
    );
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let added = json["added_tokens"].as_array_mut().unwrap();
    for text in further {
        let mut token = added.last().unwrap().clone();
        token["id"] = json!(token["id"].as_u64().unwrap() + 1);
        token["content"] = json!(text);
        added.push(token);
    }
    Tokenizer::from_json("test", json.to_string().as_bytes()).unwrap()
}

fn text_model(
    tokenizer: Tokenizer,
    hidden: usize,
    shape: &str,
    source: impl Fn(&ModelConfig) -> Box<dyn Source>,
    template: Option<&str>,
) -> TextModel {
    let vocab_size = tokenizer.info().vocab_size;
    let text = format!(
        "vocab_size = {vocab_size}\nhidden_size = {hidden}\n\
         rope_theta = 1000.0\ninitializer_range = 0.3\n{shape}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.toml");
    std::fs::write(&file, text).unwrap();
    let mut config = ModelConfig::from_toml_file(&file).unwrap();
    config.eos_token_id = Some(tokenizer.info().end_of_text);
    let device = device(compiled_backends()[0], None).unwrap();
    let model = SmolLm3::new(&config, &Boxed(source(&config)), &device).unwrap();
    TextModel {
        folder: "test".into(),
        generation: GenerationConfig {
            end_tokens: config.eos_token_id.into_iter().collect(),
            ..GenerationConfig::default()
        },
        config,
        model,
        tokenizer,
        template: template.map(|source| Template::parse("test", source).unwrap()),
    }
}

/// A source of values that can be boxed.
trait Source {
    fn values(&self, name: &str, shape: &[usize]) -> TensorData;
}

struct Boxed(Box<dyn Source>);

impl Parameters for Boxed {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        Ok(self.0.values(name, shape))
    }
}

impl Source for Init {
    fn values(&self, name: &str, shape: &[usize]) -> TensorData {
        self.parameter(name, shape).unwrap()
    }
}

/// A model with random weights, which always gives the same answer.
pub fn random() -> TextModel {
    random_with(|config| Box::new(Init::new(config, 4)))
}

fn random_with(source: impl Fn(&ModelConfig) -> Box<dyn Source>) -> TextModel {
    let shape = format!(
        "max_position_embeddings = {CONTEXT}\nintermediate_size = 48\nnum_hidden_layers = 4\nnum_attention_heads = 4\n\
                 num_key_value_heads = 2\nno_rope_layer_interval = 4\n"
    );
    let chatml = Template::chatml();
    text_model(tokenizer(&[]), 32, &shape, source, Some(chatml.source()))
}

/// The same with one weight that is NaN, in the embedding, which is also the head.
pub fn broken() -> TextModel {
    struct Broken(Init);
    impl Source for Broken {
        fn values(&self, name: &str, shape: &[usize]) -> TensorData {
            let mut values: Vec<f32> = self.0.values(name, shape).iter().collect();
            if name == "model.embed_tokens.weight" {
                values[0] = f32::NAN;
            }
            TensorData::new(values, shape.to_vec())
        }
    }
    random_with(|config| Box::new(Broken(Init::new(config, 4))))
}

/// After a token comes the one that follows it here.
struct Script(Vec<(u32, u32)>);

impl Source for Script {
    fn values(&self, name: &str, shape: &[usize]) -> TensorData {
        let mut values = vec![if shape.len() == 1 { 1f32 } else { 0.0 }; shape.iter().product()];
        match name {
            "model.embed_tokens.weight" => {
                (0..shape[0]).for_each(|token| values[token * shape[1] + token] = 1.0)
            }
            "lm_head.weight" => {
                for (token, next) in &self.0 {
                    values[*next as usize * shape[1] + *token as usize] = 1.0;
                }
            }
            _ => {}
        }
        TensorData::new(values, shape.to_vec())
    }
}

/// A model that says `words`, of which the first is the prompt's last; each is one token.
pub fn scripted(words: &[&str], further: &[&str], template: &str) -> TextModel {
    let tokenizer = tokenizer(further);
    let ids: Vec<u32> = words
        .iter()
        .map(|word| match tokenizer.encode(word).unwrap()[..] {
            [id] => id,
            ref ids => panic!("{word} is {} tokens", ids.len()),
        })
        .collect();
    let pairs: Vec<(u32, u32)> = ids.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let hidden = tokenizer.info().vocab_size.next_multiple_of(16) as usize;
    let shape = format!(
        "max_position_embeddings = {LONG}\nintermediate_size = 16\nnum_hidden_layers = 1\nnum_attention_heads = 1\nnum_key_value_heads = 1\n\
                 head_dim = 16\ntie_word_embeddings = false\n"
    );
    text_model(
        tokenizer,
        hidden,
        &shape,
        |_| Box::new(Script(pairs.clone())),
        Some(template),
    )
}

/// A server that ends with the test.
pub struct Served {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    runs: Option<JoinHandle<()>>,
}

pub fn served(model: TextModel) -> Served {
    served_with(model, Limits::default())
}

pub fn served_with(model: TextModel, limits: Limits) -> Served {
    let settings = Settings {
        host: "127.0.0.1".to_owned(),
        port: 0,
        name: "tiny".to_owned(),
        date: NaiveDate::from_ymd_opt(2025, 7, 8).unwrap(),
        allowed_hosts: vec!["box.lan".to_owned()],
        limits,
    };
    let server = Server::bind(model, settings).unwrap();
    let address = server.address();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runs = thread::spawn(move || server.run(&flag).unwrap());
    Served {
        address,
        stop,
        runs: Some(runs),
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Served {
    /// Stops the server and waits until it has.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(runs) = self.runs.take() {
            runs.join().unwrap();
        }
    }

    /// Sends a request without waiting for the answer. HTTP/1.0: the answer ends where the connection does.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // A test that waits for ever says nothing.
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // A server that refuses a request may not read all of it.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        stream
    }

    /// Status, head and body.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
        received(self.send(method, path, kind, body))
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, text) = self.ask("POST", path, "application/json", body.to_string().as_bytes());
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")),
        )
    }

    #[track_caller]
    pub fn done(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, body);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The pieces of a stream, which must end as streams do.
    #[track_caller]
    pub fn streamed(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let (status, head, text) = self.ask("POST", path, "application/json", body.to_string().as_bytes());
        assert_eq!(status, 200, "{text}");
        assert!(head.to_lowercase().contains("text/event-stream"), "{head}");
        let mut data: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"));
        data.iter()
            .map(|json| serde_json::from_str(json).unwrap())
            .collect()
    }
}

pub fn received(mut stream: TcpStream) -> (u16, String, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), head.to_owned(), body.to_owned())
}
