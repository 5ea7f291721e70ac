//! Large documents: read one at a time, in no batch, within a memory budget.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

mod support;

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use rig::{TEST_TIMEOUT, until};
use shared::endpoint::{ALLOW_GET, Method};
use shared::http::{Content, Document, Timing};
use shared::{Endpoint, Problem, Response};
use support::host::{LONG_TIMEOUTS, app, array_of, count, database, waiting_for_locks};
use support::proxy_to;

/// Gzips a body as the loader does.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::best());
    let mut gzipped = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(plain, &mut gzipped).unwrap();
    gzipped.truncate(length);
    gzipped
}

/// Returns the plain body of a document.
fn plain(document: &Document) -> Vec<u8> {
    let Content::Gzipped(gzipped) = &document.content else {
        let Content::Plain(plain) = &document.content else { unreachable!() };
        return plain.to_vec();
    };
    let length = u32::from_le_bytes(*gzipped.last_chunk().unwrap());
    let mut plain = vec![0; usize::try_from(length).unwrap()];
    Decompressor::new().gzip_decompress(gzipped, &mut plain).unwrap();
    plain
}

/// A list of random numbers of about this many digits, which gzip compresses to half.
fn numbers(digits: usize) -> Vec<u8> {
    let numbers: Vec<String> =
        (0..digits / 8).map(|_| fastrand::u32(1_000_000..9_999_999).to_string()).collect();
    format!("[{}]", numbers.join(",")).into_bytes()
}

#[tokio::test]
async fn a_large_document_is_in_no_batch_and_is_read_once_more_by_itself() {
    let (database, client) = database().await;
    let (styles, related) = (numbers(400_000), numbers(40_000));
    let update = "update catalog.documents set styles = $1, related = $2 where product_id = 1";
    client.execute(update, &[&gzip(&styles), &related]).await.unwrap();
    let overview = [br#"{"product":{},"styles":"#, &styles[..], br#","related":"#, &related, b"}"].concat();
    for cache in ["0", "1MiB"] {
        let (proxy, url) = proxy_to(&database).await;
        let app = app(&url, &[&LONG_TIMEOUTS[..], &[("CACHE_BYTES", cache)]].concat()).await;
        let (catalog, timing) = (&app.catalog, Timing::default());
        let before = proxy.traffic(|traffic| traffic.received);
        let documents = [
            catalog.product(1, &timing).await,
            catalog.styles(1, &timing).await,
            catalog.related(1, &timing).await,
            catalog.overview(1, &timing).await,
        ];
        let documents = documents.map(|document| plain(&document.unwrap().unwrap()));
        assert!(documents == [b"{}".to_vec(), styles.clone(), related.clone(), overview.clone()]);
        let received = proxy.traffic(|traffic| traffic.received) - before;
        let (gzipped, related) = (gzip(&styles).len(), related.len());
        let once = gzipped + related + (gzipped + related);
        assert!((once..once + 20_000).contains(&received), "{received} bytes for {once} of documents");
        // A batch for each column, or one for the product, and three reads of large documents.
        let statements = proxy.traffic(|traffic| count(&traffic.forwarded, &array_of(1)));
        assert_eq!(statements, if cache == "0" { 4 + 3 } else { 1 + 3 });
        assert!(catalog.styles(2, &timing).await.unwrap().is_some());
        assert!(catalog.overview(10, &timing).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn large_documents_are_read_one_at_a_time_and_do_not_delay_small_ones() {
    let (database, mut client) = database().await;
    // The styles of products 1 to 4 are large, and a read of them takes until the lock is released.
    let statement = "alter table catalog.documents rename to real_documents;
        create function catalog.slow(id integer) returns bytea language plpgsql as $$ begin
            perform pg_advisory_xact_lock_shared(42);
            return decode(repeat('1f8b0800000000000203abae050043bfa6a302000000', 10000), 'hex');
        end $$;
        create view catalog.documents as
            select product_id, generation, product, product_tag,
                case when product_id < 5 then catalog.slow(product_id) else styles end as styles, styles_tag,
                related, related_tag
            from catalog.real_documents;
        grant select on catalog.documents to atelier_reader";
    client.batch_execute(statement).await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&url, &LONG_TIMEOUTS).await;
    let styles = async |id| app.catalog.styles(id, &Timing::default()).await.unwrap().unwrap();
    // From now on, the host knows that they are large.
    for id in 1..5 {
        app.catalog.product(id, &Timing::default()).await.unwrap();
    }
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("select pg_advisory_xact_lock(42)").await.unwrap();
    let meanwhile = async {
        until("a read waits", async || waiting_for_locks(&observer).await == 1).await;
        join_all((5..=9).map(styles)).await;
        assert_eq!(waiting_for_locks(&observer).await, 1);
        let statements = |id| proxy.traffic(|traffic| count(&traffic.forwarded, &array_of(id)));
        assert_eq!(
            (1..5).map(statements).sum::<usize>(),
            4 + 1,
            "the first reads, and that of one large document"
        );
        lock.commit().await.unwrap();
    };
    let large = join_all([1, 2, 3, 4, 1, 2].map(styles));
    let (large, ()) =
        tokio::time::timeout(TEST_TIMEOUT, async { tokio::join!(large, meanwhile) }).await.unwrap();
    assert!(
        large.iter().all(|styles| matches!(&styles.content, Content::Gzipped(body) if body.len() == 220_000))
    );
}

#[tokio::test]
async fn while_the_budget_for_large_responses_is_exhausted_others_get_503_and_small_ones_200() {
    const STYLES: Endpoint = Endpoint {
        name: "tested",
        method: Method::Get,
        path: "/products/{product_id}/styles",
        query: &[],
        allow: ALLOW_GET,
        handler: |app, request| {
            Box::pin(async {
                let styles = app.catalog.styles(request.product_id()?, &request.timing).await?;
                styles.map(Response::document).ok_or(Problem::no_such_product())
            })
        },
    };
    let (database, client) = database().await;
    // Each is small while it is gzipped. The one of product 9 is large.
    let (blank, large) = (gzip(&vec![b' '; 24 << 20]), gzip(&numbers(100_000)));
    let update = "update catalog.documents set styles = case product_id when 9 then $1::bytea else $2 end
        where product_id <> 1";
    client.execute(update, &[&large, &blank]).await.unwrap();
    let url = database.host_url();
    let app = app(&url, &LONG_TIMEOUTS).await;
    let get = async |id: i32, coding: &str| {
        let request = http::Request::get(format!("/products/{id}/styles")).header("accept-encoding", coding);
        let request = request.body(Bytes::new()).unwrap();
        shared::respond(&app, &[&STYLES], request, TEST_TIMEOUT).await.response
    };
    let mut responses = Vec::new();
    let mut ids = (2..9).cycle();
    let rejected = loop {
        let response = get(ids.next().unwrap(), "identity").await;
        if response.status() != StatusCode::OK {
            break response;
        }
        assert_eq!(response.body().len(), 24 << 20);
        responses.push(response);
    };
    assert_eq!((rejected.status(), responses.len()), (StatusCode::SERVICE_UNAVAILABLE, 10));
    assert_eq!(rejected.headers()["retry-after"], "1");
    assert_eq!(get(1, "identity").await.body(), "{}");
    assert_eq!(get(2, "gzip").await.body(), &blank);
    assert_eq!(get(9, "gzip").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    responses.truncate(1);
    assert_eq!(get(2, "identity").await.status(), StatusCode::OK);
    assert_eq!(get(9, "gzip").await.body(), &large);
}
