//! The configuration of the load balancer that `deploy/nginx/render` writes.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::process::{Command, Output};
use std::time::Duration;

use local::{RENDER, nginx};
use shared::config::HostConfig;

/// Runs the script with only these variables.
fn render(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(RENDER);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().copied()).output().unwrap()
}

fn rendered(variables: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = render(variables);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

const HOSTS: (&str, &str) = ("HOSTS", "10.0.1.10:3000 10.0.1.11:3000 10.0.1.12:3000");

#[test]
fn the_error_for_an_invalid_value_names_the_variable_and_the_expected_format() {
    let certificate = ("TLS_CERTIFICATE", "/c.pem");
    for (given, others) in [
        (("HOSTS", ""), vec![]),
        (("HOSTS", "10.0.1.10"), vec![]),
        (("HOSTS", "10.0.1.10:3000,10.0.1.11:3000"), vec![]),
        (("HOSTS", "10.0.1.10:3000 10.0.1.11:65536"), vec![]),
        (("HOSTS", "10.0.1.10:3000; } evil {"), vec![]),
        (("HOSTS", "10.0.1.10:3000\n;"), vec![]),
        (("LISTEN", "80"), vec![HOSTS]),
        (("LISTEN", "0.0.0.0:0"), vec![HOSTS]),
        (("TLS_KEY", ""), vec![HOSTS, certificate]),
        (("TLS_CERTIFICATE", ""), vec![HOSTS, ("TLS_KEY", "/k.pem")]),
        (("TLS_KEY", "k.pem"), vec![HOSTS, certificate]),
        (("REDIRECT_LISTEN", "0.0.0.0:80"), vec![HOSTS]),
        (("REDIRECT_LISTEN", "on"), vec![HOSTS, certificate, ("TLS_KEY", "/k.pem")]),
        (("RATE_LIMIT", "0"), vec![HOSTS]),
        (("RATE_LIMIT", "2000r/s"), vec![HOSTS]),
        (("NEW_CART_LIMIT", "0"), vec![HOSTS]),
        (("CONNECTION_LIMIT", "65536"), vec![HOSTS]),
        (("WORKERS", "two"), vec![HOSTS]),
        (("ACCESS_LOG", "access.log"), vec![HOSTS]),
        (("LOG_ADDRESSES", "on"), vec![HOSTS]),
        (("ERROR_LOG", "off"), vec![HOSTS]),
        (("STATUS_LISTEN", "0.0.0.0:8081"), vec![HOSTS]),
        (("PID_FILE", "/run/nginx\"; evil \""), vec![HOSTS]),
        (("TEMPORARY", "/tmp;"), vec![HOSTS]),
        (("RUN_AS", "www-data adm"), vec![HOSTS]),
    ] {
        let output = render(&[&others[..], &[given]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{given:?}: {error}");
        assert!(error.contains(&format!("{}={}: expected ", given.0, given.1)), "{given:?}: {error}");
        assert!(output.stdout.is_empty(), "{given:?}");
    }
}

#[test]
fn nginx_accepts_the_configuration_with_all_variables_and_with_defaults() {
    let directory = tempfile::Builder::new().prefix("a folder with spaces ").tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let signed = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let (certificate, key) =
        (file("c.pem", &signed.cert.pem()), file("k.pem", &signed.signing_key.serialize_pem()));
    let (pid, log) = (file("pid", ""), file("error.log", ""));
    let required =
        [HOSTS, ("PID_FILE", &pid), ("ERROR_LOG", &log), ("TEMPORARY", directory.path().to_str().unwrap())];
    let off =
        ["ACCESS_LOG", "LOG_ADDRESSES", "RATE_LIMIT", "NEW_CART_LIMIT", "CONNECTION_LIMIT", "STATUS_LISTEN"];
    let off = off.map(|name| (name, "off"));
    let access_log = ("ACCESS_LOG", file("access.log", ""));
    let usual = [("ACCESS_LOG", access_log.1.as_str()), ("LISTEN", "127.0.0.1:8080")];
    let all = [
        ("LOG_ADDRESSES", "full"),
        ("ACCESS_LOG", access_log.1.as_str()),
        ("TLS_CERTIFICATE", &certificate),
        ("TLS_KEY", &key),
        ("LISTEN", "[::1]:8443"),
        ("REDIRECT_LISTEN", "127.0.0.1:8080"),
        ("STATUS_LISTEN", "[::1]:8081"),
        ("RUN_AS", "root"),
        ("WORKERS", "2"),
    ];
    for variables in
        [[&required[..], &off].concat(), [&required[..], &usual].concat(), [&required[..], &all].concat()]
    {
        let text = rendered(&variables);
        let after = text.split('@').skip(1);
        let names = after.filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()));
        assert_eq!(names.count(), 0, "each @NAME@ is replaced: {text}");
        let mut command = Command::new(nginx().unwrap());
        command.arg("-t").args(["-e", &log, "-c", &file("nginx.conf", &text)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_rate_limit_of_large_pages_is_a_fortieth_of_the_rate_limit() {
    for (rate_limit, large_pages) in
        [("2000", Some("50")), ("79", Some("1")), ("1", Some("1")), ("off", None)]
    {
        let text = rendered(&[HOSTS, ("RATE_LIMIT", rate_limit)]);
        let lines: Vec<_> =
            text.lines().map(str::trim).filter(|line| line.contains("zone=large_pages")).collect();
        let expected = large_pages.map(|limit| {
            [
                format!("limit_req_zone $large_page_client zone=large_pages:16m rate={limit}r/s;"),
                format!("limit_req zone=large_pages burst={limit} nodelay;"),
            ]
        });
        assert_eq!(lines, expected.as_ref().map_or(&[][..], |lines| &lines[..]), "RATE_LIMIT={rate_limit}");
    }
}

#[test]
fn timeouts_of_nginx_and_hosts_increase_from_the_inside_out() {
    let text = rendered(&[HOSTS]);
    let limits = |name: &str| -> Vec<Duration> {
        let values = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
        values.map(|value| duration(value.split(';').next().unwrap())).collect()
    };
    let limit = |name: &str| match limits(name)[..] {
        [one] => one,
        ref others => panic!("{name}: {others:?}"),
    };
    let host = HostConfig::from_lookup(&|name| {
        (name == "DATABASE_URL").then(|| "postgresql://a@localhost/a".to_owned())
    })
    .unwrap();
    assert!(limit("proxy_connect_timeout") < limit("proxy_send_timeout"));
    assert!(limit("proxy_send_timeout") < host.requests.timeout);
    assert!(host.requests.timeout < limit("proxy_read_timeout"), "a host responds before NGINX times out");
    assert!(
        limit("proxy_read_timeout") < limit("proxy_next_upstream_timeout"),
        "otherwise NGINX would try no other host"
    );
    let idle = limits("keepalive_timeout");
    assert_eq!(idle.len(), 2, "one for the hosts and one for the clients");
    assert!(
        idle[0] < host.http.header_read_timeout,
        "NGINX must close an idle connection before the host does"
    );
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap());
    let number = number.parse().unwrap();
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => panic!("{text}: expected a number of s or ms"),
    }
}
