//! The server: routes, limits on requests, shutdown.

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
use crate::queue::{Place, Queue};
use crate::reply::{Reply, Running};
use crate::shared::{Shared, now};
use crate::token_text::TokenTexts;
use crate::wire::{Checked, Fields, Json, Models, Refusal};
use crate::worker::{GenerationRequest, Job, work};
use crate::{Limits, Result, ServeError, chat, completion};

/// How long answers may take to reach their clients after a stop.
const GRACE: Duration = Duration::from_secs(5);

/// How often the stop flag is checked.
const POLL: Duration = Duration::from_millis(50);

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to listen on; `127.0.0.1` accepts only this machine.
    pub host: String,
    /// Port; 0 for any free one.
    pub port: u16,
    /// The model's name in requests.
    pub name: String,
    /// The current date for templates.
    pub date: NaiveDate,
    /// Host names, without a port, that requests may use besides `localhost` and loopback addresses. If there are none and
    /// the address is not a loopback one, any name is allowed.
    pub allowed_hosts: Vec<String>,
    /// Limits on requests and connections.
    pub limits: Limits,
}

/// A listening server.
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
    /// It cannot listen on the address.
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

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is set. The current request is then interrupted, and its client is told; a computation
    /// that does not end at once is abandoned.
    ///
    /// # Errors
    /// No thread can be started.
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
                        sleep(POLL).await;
                    }
                    shared.queue.close();
                }
            };
            tokio::select! {
                () = serve(listener, router, &shared.limits, stopped()) => {},
                () = async { stopped().await; sleep(GRACE).await } => {},
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
            let known = "the paths are /v1/completions, /v1/chat/completions, /v1/models and /health";
            Refusal::new(StatusCode::NOT_FOUND, format!("no such path; {known}"))
        })
        .method_not_allowed_fallback(async || {
            let methods = "wrong method; use POST for completions, GET for /v1/models and /health";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, methods)
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

/// Reads a request of one kind: what to compute, and how to reply.
type Prepare<R> = fn(&Arc<Shared>, Fields) -> Checked<(GenerationRequest, R)>;

/// Answers a request of one kind: takes a place in the queue, reads the body, checks it, and runs the model.
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
    // Parsing a long text blocks a thread for a while.
    let prepared = tokio::task::spawn_blocking(move || prepare(&preparing, Fields::parse(&body)?)).await;
    drop(reading);
    let (work, reply) = prepared.map_err(|_| Refusal::internal("the request could not be read"))??;
    let (sender, events) = mpsc::unbounded_channel();
    tracing::info!(
        rows = work.prompts.len() * work.n,
        tokens = reply.prompt_tokens(),
        "request"
    );
    let (place, of_reply) = Place::shared(place);
    let job = Job {
        work,
        events: sender,
        place,
    };
    shared.queue.push(job, Job::is_wanted);
    Running::new(reply, events, of_reply).respond().await
}

async fn body(request: Request, limits: &Limits) -> Checked<Bytes> {
    let (most, sending) = (limits.body, limits.sending);
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Browsers let any web page send other content types without a preflight request.
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        let problem = "the header `Content-Type` must be `application/json`";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    }
    match timeout(sending, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let problem = format!("the body is incomplete, or longer than {most} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, problem))
        }
        Err(_) => {
            let problem = format!("the body took longer than {} seconds", sending.as_secs_f64());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, problem))
        }
    }
}
