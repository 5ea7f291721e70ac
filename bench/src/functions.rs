//! The functions as Lambda starts and runs them: how large they are, how soon they answer, how fast, in how much memory.
//!
//! The Runtime API is the stand-in that the tests use, on the same machine, so its own time is in every figure. The
//! database is reached over TLS, on a port of the loopback interface.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use conformance::lambda::{self, Function, response};
use http::Request;
use local::{HOST_LOGIN, Settings, free_address, program};

use crate::load::{Source, load};
use crate::stage::{CATALOG, Stage, memory_kib};
use crate::{Options, median};

/// Each function with a request that it answers from the database.
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

/// A path that is refused before a database is asked.
const REFUSED: &str = "/products/abc";

/// Requests to add to one cart before the next is taken: it is full at 9,999 of a sku.
const CART_HOLDS: u32 = 5_000;

/// How often a process is started for each of the first three times.
const STARTS: usize = 25;

/// Products of the catalog behind it: what is measured does not depend on how many there are.
const SCALE: f64 = 0.001;

/// Measures each function and prints a line for it.
pub(crate) async fn measure(options: &Options) -> Result<()> {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (trusted, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let port = free_address()?.port();
    let settings = Settings::durable().and("listen_addresses", "localhost").and("port", port.to_string());
    let settings =
        settings.and("ssl", "on").and_file("ssl_cert_file", &trusted).and_file("ssl_key_file", key);
    Stage::with(&options.dir, SCALE, &settings, async |stage: &mut Stage| {
        load(stage, Source::Disk, Stdio::null()).await?;
        stage.let_hosts_in().await?;
        let ca_file = stage.scratch().join("ca.pem");
        std::fs::write(&ca_file, trusted).context("cannot write the certificate")?;
        let url = format!("postgresql://{HOST_LOGIN}@localhost:{port}/{CATALOG}?sslmode=verify-full");
        let variables: [(&str, OsString); 3] = [
            ("DATABASE_URL", url.into()),
            ("DATABASE_CA_FILE", ca_file.into()),
            ("LOG_ACCESS", "off".into()),
        ];
        println!(
            "functions: medians of {STARTS} starts; warm: {} s of one event after another",
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
    let (mut inits, mut first_refusals, mut first_answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let since = Instant::now();
        let function = Function::start(&program, variables, false).await;
        function.api().polled(1).await;
        inits.push(milliseconds(since));
        function.kill().await; // what is still ending would be measured with the next
        for (request, figures) in [(("GET", REFUSED), &mut first_refusals), (request, &mut first_answers)] {
            let since = Instant::now();
            let function = Function::start(&program, variables, false).await;
            answer(&function, name, request, 0).await?;
            figures.push(milliseconds(since));
            function.kill().await;
        }
    }
    let function = Function::start(&program, variables, false).await;
    let (since, mut answers) = (Instant::now(), 0_u32);
    let duration = Duration::from_secs(options.seconds.into());
    while since.elapsed() < duration {
        answer(&function, name, request, answers).await?;
        answers += 1;
    }
    let rate = f64::from(answers) / since.elapsed().as_secs_f64();
    let memory =
        memory_kib(function.pid(), "VmRSS").context("/proc does not tell the memory of a process")?;
    let size = std::fs::metadata(&program)?.len() as f64 / 1e6;
    Ok(format!(
        "{size:.2} MB, first poll {:.1} ms, first answer {:.1} ms without the database and {:.1} ms with it, \
         {rate:.0} warm invocations/s, {:.1} MiB after {answers} of them",
        median(&inits),
        median(&first_refusals),
        median(&first_answers),
        memory as f64 / 1024.0,
    ))
}

/// Has it answer a request, the `nth` of its process.
async fn answer(function: &Function, name: &str, (method, path): (&str, &str), nth: u32) -> Result<()> {
    let owner = format!("bench {}", nth / CART_HOLDS);
    let request = Request::builder().method(method).uri(path).header("authorization", owner);
    let request = if method == "POST" {
        request.header("content-type", "application/json").body(Bytes::from_static(br#"{"sku_id":1}"#))
    } else {
        request.header("accept-encoding", "gzip").body(Bytes::new())
    };
    let outcome = function.invoke(lambda::Source::Url.event(&request?).to_string()).await;
    let status = response(&outcome).status().as_u16();
    let expected = if path == REFUSED || path == "/nothing" { 400..=404 } else { 200..=204 };
    ensure!(expected.contains(&status), "{name} answered {path} with {status}: {outcome:?}");
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
