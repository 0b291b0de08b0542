//! Connections: their number, their timeouts, their shutdown.
//!
//! [`axum::serve()`] limits neither, so connections are accepted here and passed to hyper.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::Limits;
use crate::write_timeout::WriteTimeout;

/// Serves `router` until `stopped`, then closes idle connections and waits for the answers in progress.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: &Limits,
    stopped: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    // The timeout also applies between two requests.
    http.timer(TokioTimer::new()).header_read_timeout(limits.sending);
    let places = Arc::new(Semaphore::new(limits.connections));
    let (running, ends) = watch::channel(());
    let mut stopped = pin!(stopped);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            // Logs failures and continues.
            let (stream, _) = Listener::accept(&mut listener).await;
            (place, stream)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            () = &mut stopped => break,
        };
        let stream = TokioIo::new(WriteTimeout::new(stream, limits.sending));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone()));
        let mut ends = ends.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // A client that leaves is not an error.
            let done = tokio::select! {
                _ = connection.as_mut() => true,
                _ = ends.changed() => false,
            };
            if !done {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(place);
        });
    }
    drop((listener, running));
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}
