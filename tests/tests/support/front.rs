//! An HTTP server in front of a transport, for clients that are programs of their own.

use std::convert::Infallible;
use std::net::SocketAddr;

use conformance::Transport;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves a transport from the shared runtime until the test binary exits. Returns the address.
pub async fn serve_transport(transport: impl Transport + Clone + Send + 'static) -> SocketAddr {
    let serving = async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let transport = transport.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let transport = transport.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let response = transport.call(Request::from_parts(parts, body)).await;
                        Ok::<_, Infallible>(response.map(Full::new))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    };
    super::SHARED_RUNTIME.spawn(serving).await.unwrap()
}
