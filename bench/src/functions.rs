//! The Lambda functions: size, cold start, throughput and memory.
//!
//! The Runtime API is the stand-in of the tests on the same machine, so all figures include its own time. The functions
//! connect to the database over TLS, on the loopback interface.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use conformance::lambda::{self, Function, response};
use http::Request;
use local::{HOST_LOGIN, Settings, free_address, program};

use crate::bench_env::{BenchEnv, CATALOG, memory_kib};
use crate::load::{Source, load};
use crate::{Options, median};

/// Each function with a request that needs the database.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("list-products", "GET", "/products"),
    ("get-product", "GET", "/products/1"),
    ("get-styles", "GET", "/products/1/styles"),
    ("get-related", "GET", "/products/1/related"),
    ("get-overview", "GET", "/products/1/overview"),
    ("get-cart", "GET", "/cart"),
    ("add-to-cart", "POST", "/cart"),
    ("clear-cart", "DELETE", "/cart"),
    ("remove-from-cart", "DELETE", "/cart/1"),
];

/// A path that functions reject without the database.
const REJECTED: &str = "/products/abc";

/// Requests per cart: a cart is full at 9,999 of a sku.
const REQUESTS_PER_CART: u32 = 5_000;

/// The number of cold starts per figure.
const STARTS: usize = 25;

/// The size of the catalog, which does not affect the figures.
const SCALE: f64 = 0.001;

/// Measures each function and prints one line per function.
pub(crate) async fn measure(options: &Options) -> Result<()> {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (trusted, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let port = free_address()?.port();
    let settings = Settings::durable().and("listen_addresses", "localhost").and("port", port.to_string());
    let settings =
        settings.and("ssl", "on").and_file("ssl_cert_file", &trusted).and_file("ssl_key_file", key);
    BenchEnv::with(&options.dir, SCALE, &settings, async |env: &mut BenchEnv| {
        load(env, Source::Disk, Stdio::null()).await?;
        env.let_hosts_in(CATALOG).await?;
        let ca_file = env.scratch().join("ca.pem");
        std::fs::write(&ca_file, trusted).context("cannot write the certificate")?;
        let url = format!("postgresql://{HOST_LOGIN}@localhost:{port}/{CATALOG}?sslmode=verify-full");
        let variables: [(&str, OsString); 3] = [
            ("DATABASE_URL", url.into()),
            ("DATABASE_CA_FILE", ca_file.into()),
            ("LOG_ACCESS", "off".into()),
        ];
        println!(
            "functions: medians of {STARTS} cold starts; warm: {} s of sequential events",
            options.seconds
        );
        for (name, method, path) in FUNCTIONS.iter().copied() {
            println!("{name}: {}", figures(name, (method, path), &variables, options).await?);
        }
        println!("not-found: {}", figures("not-found", ("GET", "/nothing"), &[], options).await?);
        Ok(())
    })
    .await
}

async fn figures(
    name: &str,
    request: (&str, &str),
    variables: &[(&str, OsString)],
    options: &Options,
) -> Result<String> {
    let program = program(name)?;
    let (mut inits, mut first_rejections, mut first_reads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let since = Instant::now();
        let function = Function::start(&program, variables, false).await;
        function.api().polled(1).await;
        inits.push(milliseconds(since));
        function.kill().await; // otherwise its end would slow down the next start
        for (request, figures) in [(("GET", REJECTED), &mut first_rejections), (request, &mut first_reads)] {
            let since = Instant::now();
            let function = Function::start(&program, variables, false).await;
            invoke(&function, name, request, 0).await?;
            figures.push(milliseconds(since));
            function.kill().await;
        }
    }
    let function = Function::start(&program, variables, false).await;
    let (since, mut invocations) = (Instant::now(), 0_u32);
    let duration = Duration::from_secs(options.seconds.into());
    while since.elapsed() < duration {
        invoke(&function, name, request, invocations).await?;
        invocations += 1;
    }
    let rate = f64::from(invocations) / since.elapsed().as_secs_f64();
    let memory =
        memory_kib(function.pid(), "VmRSS").context("/proc does not show the memory of the function")?;
    let size = std::fs::metadata(&program)?.len() as f64 / 1e6;
    Ok(format!(
        "{size:.2} MB, first poll {:.1} ms, first response {:.1} ms without the database and {:.1} ms with it, \
         {rate:.0} warm invocations/s, {:.1} MiB after {invocations} of them",
        median(&inits),
        median(&first_rejections),
        median(&first_reads),
        memory as f64 / 1024.0,
    ))
}

/// Invokes the function with a request, the `nth` of its process.
async fn invoke(function: &Function, name: &str, (method, path): (&str, &str), nth: u32) -> Result<()> {
    let owner = format!("bench {}", nth / REQUESTS_PER_CART);
    let request = Request::builder().method(method).uri(path).header("authorization", owner);
    let request = if method == "POST" {
        request.header("content-type", "application/json").body(Bytes::from_static(br#"{"sku_id":1}"#))
    } else {
        request.header("accept-encoding", "gzip").body(Bytes::new())
    };
    let outcome = function.invoke(lambda::Source::Url.event(&request?).to_string()).await;
    let status = response(&outcome).status().as_u16();
    let expected = if path == REJECTED || path == "/nothing" { 400..=404 } else { 200..=204 };
    ensure!(expected.contains(&status), "{name} returned {status} for {path}: {outcome:?}");
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
