//! The Lambda functions: size, cold start, throughput and memory.
//!
//! The Runtime API is the stand-in of the tests on the same machine, so all figures include its own time. The functions
//! connect to the database over TLS, on the loopback interface.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use conformance::lambda::{self, Function, response};
use http::Request;
use local::{HOST_LOGIN, program};

use crate::Options;
use crate::env::{Env, memory_kib};
use crate::turns::median;

/// Each function with a request; all but the last need the database.
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
    ("set-cart-line", "PUT", "/cart/1"),
    ("get-cart-lines", "GET", "/cart/lines"),
    ("list-cards", "GET", "/cards"),
    ("list-categories", "GET", "/categories"),
    ("get-catalog", "GET", "/catalog"),
    ("not-found", "GET", "/nothing"),
];

/// A path that functions reject without the database.
const REJECTED: &str = "/products/abc";

/// Requests per cart: a cart is full at 9,999 of a sku.
const REQUESTS_PER_CART: u32 = 5_000;

/// The number of cold starts per figure.
const STARTS: usize = 25;

/// Measures each function and prints one line per function.
pub(crate) async fn measure(env: &Env, options: &Options) -> Result<()> {
    env.load_all().await?;
    let ca_file = env.file("ca.pem")?;
    std::fs::write(&ca_file, &env.certificate).context("cannot write the certificate")?;
    let (port, database) = (env.address().port(), env.builds[0].name);
    let url = format!("postgresql://{HOST_LOGIN}@localhost:{port}/{database}?sslmode=verify-full");
    let variables: [(&str, OsString); 3] =
        [("DATABASE_URL", url.into()), ("DATABASE_CA_FILE", ca_file.into()), ("LOG_ACCESS", "off".into())];
    println!("\n## Functions\n\nMedians of {STARTS} cold starts; warm: {} s of events\n", options.seconds);
    for (name, method, path) in FUNCTIONS.iter().copied() {
        println!("{name}: {}", figures(name, (method, path), &variables, options.seconds).await?);
    }
    Ok(())
}

async fn figures(
    name: &str,
    request: (&str, &str),
    variables: &[(&str, OsString)],
    seconds: u32,
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
    let duration = Duration::from_secs(seconds.into());
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
    let body = match method {
        "POST" => r#"{"sku_id":1}"#,
        "PUT" => r#"{"count":1}"#,
        _ => "",
    };
    let request = match body {
        "" => request.header("accept-encoding", "gzip"),
        _ => request.header("content-type", "application/json"),
    };
    let request = request.body(Bytes::from_static(body.as_bytes()));
    let outcome = function.invoke(lambda::Source::Url.event(&request?).to_string()).await;
    let status = response(&outcome).status().as_u16();
    let expected = if path == REJECTED || path == "/nothing" { 400..=404 } else { 200..=204 };
    ensure!(expected.contains(&status), "{name} returned {status} for {path}: {outcome:?}");
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
