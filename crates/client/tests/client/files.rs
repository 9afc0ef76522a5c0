//! Files that come and go piece by piece.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentkernel_api as api;
use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{DEADLINE, refused, serve};

#[tokio::test]
async fn a_download_that_is_cut_short_is_no_whole() {
    async fn archive() -> Response {
        let pieces = stream::iter([Ok(Bytes::from_static(b"part")), Err(std::io::Error::other("lost"))]);
        Body::from_stream(pieces).into_response()
    }
    async fn whole() -> Response {
        let pieces = stream::iter((0..100).map(|_| Ok::<_, Infallible>(Bytes::from(vec![7; 10_000]))));
        Body::from_stream(pieces).into_response()
    }
    let server = serve(
        Router::new()
            .route("/v1/sandboxes/web/archive", get(archive))
            .route("/v1/sandboxes/web/files", get(whole)),
    );
    // Whether the head gets out first is chance.
    let cut = match server.client.pack("web", b"/x").await {
        Ok(download) => download.collect(1 << 20).await,
        Err(error) => Err(error),
    };
    assert!(cut.is_err());
    let whole = server.client.read_file("web", b"/x").await.expect("begun").collect(1 << 20).await;
    assert_eq!(whole.expect("all of it").len(), 1_000_000);
    let long = server.client.read_file("web", b"/x").await.expect("begun").collect(1000).await;
    assert!(long.is_err(), "more than was asked for");
}

/// Tells that it was dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_upload_is_whole_or_broken_off() {
    let received = Arc::new(AtomicUsize::new(0));
    let broken = Arc::new(Notify::new());
    let (count, told) = (received.clone(), broken.clone());
    let take = move |RawQuery(query): RawQuery, headers: HeaderMap, body: Body| async move {
        assert_eq!(query.as_deref(), Some("path=%2Fa%FF&mode=755"));
        assert_eq!(headers["content-type"], "application/octet-stream");
        // A server drops whoever serves a connection that broke.
        let _on_drop = Dropped(told);
        let bytes = axum::body::to_bytes(body, 1 << 30).await.map_err(|_| StatusCode::BAD_REQUEST)?;
        count.store(bytes.len(), Ordering::SeqCst);
        Ok::<_, StatusCode>(StatusCode::NO_CONTENT)
    };
    let server = serve(Router::new().route("/v1/sandboxes/web/files", put(take)));
    let upload = server.client.write_file("web", b"/a\xff", Some(0o755));
    for _ in 0..100 {
        assert!(upload.write(Bytes::from(vec![1; 10_000])).await);
    }
    upload.finish().await.expect("taken");
    timeout(DEADLINE, broken.notified()).await.expect("it was dropped");
    assert_eq!(received.swap(0, Ordering::SeqCst), 1_000_000);
    let upload = server.client.write_file("web", b"/a\xff", Some(0o755));
    // Enough for its beginning to be under way.
    for _ in 0..100 {
        assert!(upload.write(Bytes::from(vec![1; 10_000])).await);
    }
    drop(upload);
    timeout(DEADLINE, broken.notified()).await.expect("the daemon knows");
    assert_eq!(received.load(Ordering::SeqCst), 0, "half a file was taken for a whole");
}

#[tokio::test]
async fn an_upload_that_is_refused_says_why() {
    let server = serve(
        Router::new()
            .route("/v1/sandboxes/web/archive", put(|| async { refused(api::ErrorKind::NoSuchSandbox) })),
    );
    let upload = server.client.unpack("web", b"/x");
    while upload.write(Bytes::from(vec![0; 65536])).await {}
    let error = upload.finish().await.expect_err("refused");
    assert_eq!(error.kind(), Some(api::ErrorKind::NoSuchSandbox), "{error}");
}
