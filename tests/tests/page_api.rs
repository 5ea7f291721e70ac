//! openapi.json as its users have it: schemathesis sends what the document permits and forbids, and a client in TypeScript
//! uses its types. Both do so to a host, and to the functions behind API Gateway. `make test-page` installs the programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::net::SocketAddr;
use std::process::Stdio;

use support::front::serve_transport;
use support::functions::gateway;
use support::root;
use support::serving::small_host;
use tokio::process::Command;

/// Runs a program, and panics with its output if it fails. The program's caches go to a temporary folder.
async fn run(program: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await;
    let output = output.unwrap_or_else(|error| panic!("{program}, which `make test-page` installs: {error}"));
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}:\n{}", String::from_utf8_lossy(&text));
}

/// Runs schemathesis with all its checks. `options` choose the operations.
async fn schemathesis(address: SocketAddr, options: &[&str]) {
    let file = |path: &str| root().canonicalize().unwrap().join(path).to_str().unwrap().to_owned();
    let (config, document) = (file("tests/page/schemathesis.toml"), file("openapi.json"));
    let url = format!("http://{address}");
    let arguments = ["--config-file", &config, "--no-color", "run", &document, "--url", &url];
    run("schemathesis", &[&arguments, options].concat()).await;
}

/// Runs the compiled tests/page/client.ts.
async fn client(address: SocketAddr) {
    let program = root().canonicalize().unwrap().join("tests/page/out/client.js");
    run("node", &[program.to_str().unwrap(), &format!("http://{address}")]).await;
}

#[tokio::test]
async fn a_host_passes_all_checks_of_schemathesis() {
    schemathesis(small_host().await.0, &[]).await;
}

#[tokio::test]
async fn the_functions_pass_all_checks_of_schemathesis() {
    let of_hosts = ["--exclude-path-regex", "^/(healthz|readyz)$"];
    schemathesis(serve_transport(gateway().await).await, &of_hosts).await;
}

#[tokio::test]
async fn a_typed_client_works_with_a_host_and_with_the_functions() {
    client(small_host().await.0).await;
    client(serve_transport(gateway().await).await).await;
}
