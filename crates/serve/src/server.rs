//! The server: what it listens to, what it bounds, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use smollm3_chat::NaiveDate;
use smollm3_inference::TextModel;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use crate::connections::serve;
use crate::hosts::{self, Hosts};
use crate::queue::Queue;
use crate::reply::{Reply, Running};
use crate::shared::{Shared, now};
use crate::token_text::TokenTexts;
use crate::wire::{Checked, Fields, Json, Models, Refusal};
use crate::worker::{Job, Work, work};
use crate::{Limits, Result, ServeError, chat, completion};

/// How long answers may take to reach their clients after the server was told to stop.
const LEAVING: Duration = Duration::from_secs(5);

/// How often the flag that stops the server is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How a model is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to listen on, `127.0.0.1` for this machine alone.
    pub host: String,
    /// Port; 0 takes any that is free.
    pub port: u16,
    /// What requests call the model.
    pub name: String,
    /// The date that templates may tell.
    pub date: NaiveDate,
    /// Names, without a port, that requests may call this machine by, besides `localhost` and its loopback addresses. If
    /// there are none and the address is no loopback one, any name is allowed.
    pub allowed_hosts: Vec<String>,
    /// What it takes on.
    pub limits: Limits,
}

/// A server that listens already.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    hosts: Arc<Hosts>,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens for requests to `model`; [`Server::run`] answers them.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(model: TextModel, settings: Settings) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listen = |source| ServeError::Listen {
            address: format!("{}:{}", settings.host, settings.port),
            source,
        };
        let wanted = (settings.host.as_str(), settings.port);
        let listener = runtime.block_on(TcpListener::bind(wanted)).map_err(listen)?;
        let shared = Shared {
            texts: TokenTexts::new(&model.tokenizer),
            model: Arc::new(model),
            name: settings.name,
            date: settings.date,
            created: now(),
            queue: Queue::new(),
            places: Arc::new(Semaphore::new(settings.limits.requests)),
            reading: Semaphore::new(1),
            limits: settings.limits,
        };
        let address = listener.local_addr()?;
        Ok(Self {
            hosts: Arc::new(Hosts::new(address.ip(), settings.allowed_hosts)),
            address,
            runtime,
            listener,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is set. Then what is being computed is cut, who waits for it is told so, and a
    /// computation that cannot be cut at once is left behind.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn run(self, stop: &Arc<AtomicBool>) -> Result<()> {
        let Self {
            runtime,
            listener,
            hosts,
            shared,
            ..
        } = self;
        let (theirs, cut) = (Arc::clone(&shared), Arc::clone(stop));
        thread::Builder::new()
            .name("model".to_owned())
            .spawn(move || work(&theirs.model, &theirs.limits, &theirs.queue, &cut))?;
        let router = router(Arc::clone(&shared)).layer(from_fn_with_state(hosts, hosts::check));
        runtime.block_on(async {
            let stopped = || {
                let (stop, shared) = (Arc::clone(stop), Arc::clone(&shared));
                async move {
                    while !stop.load(Ordering::Relaxed) {
                        sleep(LOOK).await;
                    }
                    shared.queue.close();
                }
            };
            tokio::select! {
                () = serve(listener, router, &shared.limits, stopped()) => {},
                () = async { stopped().await; sleep(LEAVING).await } => {},
            }
        });
        shared.queue.close();
        runtime.shutdown_background();
        Ok(())
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let completions = |state, request| respond(state, request, completion::prepare);
    let chats = |state, request| respond(state, request, chat::prepare);
    Router::new()
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chats))
        .fallback(async || {
            let known = "there is /v1/completions, /v1/chat/completions, /v1/models and /health";
            Refusal::new(StatusCode::NOT_FOUND, format!("no such address; {known}"))
        })
        .method_not_allowed_fallback(async || {
            let other = "another method is meant: POST to complete, GET for /v1/models and /health";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, other)
        })
        .with_state(shared)
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let data = [shared.card()];
    Json(Models { object: "list", data }).into_response()
}

async fn model(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Checked<Response> {
    shared.check_model(Some(&name))?;
    Ok(Json(shared.card()).into_response())
}

/// What is computed for a request of one kind, and how it is answered.
type Prepare<R> = fn(&Arc<Shared>, Fields) -> Checked<(Work, R)>;

/// Answers a request of one kind: a place among those that wait, the body, what it asks for, and then the model.
async fn respond<R: Reply>(
    State(shared): State<Arc<Shared>>,
    request: Request,
    prepare: Prepare<R>,
) -> Checked<Response> {
    let place = Arc::clone(&shared.places).try_acquire_owned();
    let place = place.map_err(|_| Refusal::busy())?;
    let body = body(request, &shared.limits).await?;
    let reading = shared.reading.acquire().await;
    let preparing = Arc::clone(&shared);
    // Reading a long text takes a core for a while, which others need to be heard.
    let prepared = tokio::task::spawn_blocking(move || prepare(&preparing, Fields::parse(&body)?)).await;
    drop(reading);
    let (work, reply) = prepared.map_err(|_| Refusal::internal("the request could not be read"))??;
    let (sender, events) = mpsc::unbounded_channel();
    tracing::info!(
        rows = work.prompts.len() * work.n,
        tokens = reply.prompt_tokens(),
        "request"
    );
    let job = Job { work, events: sender };
    shared.queue.push(job, Job::is_wanted);
    let running = Running {
        reply,
        events,
        _place: place,
    };
    running.respond().await
}

async fn body(request: Request, limits: &Limits) -> Checked<Bytes> {
    let (most, sending) = (limits.body, limits.sending);
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // A web page can send anything else to this machine without being asked whether it may.
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        let problem = "the header `Content-Type` must be `application/json`";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    }
    match timeout(sending, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let problem = format!("the body is cut short, or longer than {most} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, problem))
        }
        Err(_) => {
            let problem = format!("the body took longer than {} seconds", sending.as_secs_f64());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, problem))
        }
    }
}
