//! Tests of valid and invalid values, and of the documentation of variables.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;
use crate::database::Connections;
use crate::variables;

const URL: &str = "postgresql://reader:s3cret@localhost/atelier";

/// Returns a lookup of these variables, and of `DATABASE_URL`.
fn lookup(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    |name| {
        let pair = pairs.iter().find(|(variable, _)| *variable == name);
        pair.map(|(_, value)| (*value).to_owned()).or((name == "DATABASE_URL").then(|| URL.to_owned()))
    }
}

fn parse(pairs: &[(&str, &str)]) -> Result<HostConfig, Error> {
    HostConfig::from_lookup(&lookup(pairs))
}

#[test]
fn every_variable_but_the_database_url_has_a_default() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:3000");
    let database = &config.database;
    assert_eq!(database.connections, Connections::Pool { catalog: 4, carts: 2 });
    assert_eq!(database.max_waiting, 1024);
    assert_eq!(config.requests.timeout, Duration::from_secs(2));
    assert_eq!(config.requests.cache_bytes, 256 << 20);
    assert!(config.log.access);
    let missing = HostConfig::from_lookup(&|_| None).unwrap_err().to_string();
    assert!(missing.starts_with("DATABASE_URL is not set: expected an address such as "), "{missing}");
}

#[test]
fn an_invalid_value_is_named_with_its_variable_and_the_expected_values() {
    for (variable, value, expected) in [
        ("LISTEN", "3000", "an IP address and a port such as 127.0.0.1:3000"),
        ("LISTEN", "", "an IP address and a port such as 127.0.0.1:3000"),
        ("DATABASE_CONNECTIONS", "0", "a whole number from 1 to 64"),
        ("DATABASE_CONNECTIONS", "four", "a whole number from 1 to 64"),
        ("WORKER_THREADS", "-1", "a whole number from 1 to 256"),
        ("REQUEST_TIMEOUT", "2", "a whole number with its unit, such as 500ms or 2s, from 10ms to 60s"),
        ("REQUEST_TIMEOUT", "61s", "a whole number with its unit, such as 500ms or 2s, from 10ms to 60s"),
        ("DATABASE_MAX_WAITING", "0", "a whole number from 1 to 100000"),
        ("CACHE_BYTES", "256MB", "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB"),
        ("CACHE_BYTES", "20000000TiB", "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB"),
        ("CACHE_BYTES", "1025GiB", "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB"),
        ("LOG", "loud", "off, error, warn, info, debug or trace"),
        ("LOG", "", "off, error, warn, info, debug or trace"),
        ("LOG", "INFO", "off, error, warn, info, debug or trace"),
        ("LOG", "3", "off, error, warn, info, debug or trace"),
        ("LOG_ACCESS", "false", "on or off"),
    ] {
        let error = parse(&[(variable, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("{variable}={value}: expected {expected}"));
    }
}

#[test]
fn sizes_accept_units_of_1024_or_none() {
    for (value, bytes) in
        [("0", 0), ("1000", 1000), ("3KiB", 3 << 10), ("512MiB", 512 << 20), ("2GiB", 2 << 30)]
    {
        assert_eq!(parse(&[("CACHE_BYTES", value)]).unwrap().requests.cache_bytes, bytes);
    }
}

#[test]
fn a_function_has_no_cache_and_one_connection() {
    let function = FunctionConfig::from_lookup(&|name| match name {
        "DATABASE_URL" => Some(URL.to_owned()),
        "CACHE_BYTES" => Some("1GiB".to_owned()),
        _ => None,
    });
    let function = function.unwrap();
    assert_eq!(function.requests.cache_bytes, 0);
}

#[test]
fn durations_accept_milliseconds_and_seconds() {
    let config = parse(&[("REQUEST_TIMEOUT", "250ms"), ("SHUTDOWN_GRACE", "3s")]).unwrap();
    assert_eq!(config.requests.timeout, Duration::from_millis(250));
    assert_eq!(config.http.shutdown_grace, Duration::from_secs(3));
}

#[test]
fn the_database_password_is_never_printed() {
    let shown = format!("{:?}", parse(&[]).unwrap());
    assert!(shown.contains("reader") && !shown.contains("s3cret"), "{shown}");
    for url in ["postgresql://reader:s3cret@localhost:port/atelier", "password=s3cret host", "s3cret=1"] {
        let error = parse(&[("DATABASE_URL", url)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

/// A self-signed certificate, which is enough for a file of authorities.
fn authority() -> tempfile::NamedTempFile {
    let made = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    file
}

const AWS: [(&str, &str); 5] = [
    ("DATABASE_AUTH", "iam"),
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "s3cret-key"),
    ("AWS_SESSION_TOKEN", "s3cret-session"),
    ("AWS_REGION", "eu-central-1"),
];

#[test]
fn iam_reports_a_missing_variable_and_an_address_that_cannot_be_signed_for() {
    let file = authority();
    let file = ("DATABASE_CA_FILE", file.path().to_str().unwrap());
    let with = |url: &'static str, left_out: &str| {
        let aws = AWS.into_iter().filter(|(variable, _)| *variable != left_out);
        parse(&aws.chain([file, ("DATABASE_URL", url)]).collect::<Vec<_>>())
    };
    let url = "postgresql://reader@db.example.com:5433/atelier";
    for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        let error = with(url, variable).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{variable} is not set: expected ")), "{error}");
    }
    with(url, "AWS_SESSION_TOKEN").unwrap();
    let shown = format!("{:?}", with(url, "").unwrap());
    assert!(shown.contains("reader at db.example.com:5433") && !shown.contains("s3cret"), "{shown}");

    for (url, expected) in [
        ("postgresql://reader@localhost/atelier", "expected sslmode=verify-full, because "),
        ("postgresql://db.example.com/atelier", "expected a user, as in "),
        ("postgresql://reader:s3cret@db.example.com/atelier", "expected no password, because "),
        ("postgresql://reader@one.example,two.example/atelier", "expected one host, reached by TCP, "),
        ("host=/run/postgresql user=reader", "expected one host, reached by TCP, "),
    ] {
        let error = with(url, "").unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_function_has_one_connection_and_waits_for_it() {
    for (request_timeout, wait) in [("10s", 3_000), ("2s", 1_500)] {
        let function = FunctionConfig::from_lookup(&|name| match name {
            "DATABASE_URL" => Some(URL.to_owned()),
            "DATABASE_CONNECTIONS" | "LISTEN" => Some("not for a function".to_owned()),
            "DATABASE_CONNECT_TIMEOUT" => Some("3s".to_owned()),
            "REQUEST_TIMEOUT" => Some(request_timeout.to_owned()),
            _ => None,
        })
        .unwrap();
        let connect_wait = Duration::from_millis(wait);
        assert_eq!(function.database.connections, Connections::Single { connect_wait });
    }
}

#[test]
fn a_program_reads_the_variables_that_it_documents_and_no_others() {
    let file = authority();
    let names = RefCell::new(BTreeSet::new());
    let read = |name: &str, auth: &str| {
        names.borrow_mut().insert(name.to_owned());
        match name {
            "DATABASE_URL" => Some("postgresql://reader@db.example.com/atelier".to_owned()),
            "DATABASE_CA_FILE" => Some(file.path().to_str().unwrap().to_owned()),
            "DATABASE_AUTH" => Some(auth.to_owned()),
            _ => AWS.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()),
        }
    };
    let documented = |variables: Vec<&'static Variable>| -> BTreeSet<String> {
        let names = variables.iter().flat_map(|variable| [Some(variable.name), variable.former_name]);
        names.flatten().map(str::to_owned).collect()
    };
    let read_names = || {
        let mut names = names.take();
        assert!(names.remove("HOME"), "the folder of .pgpass");
        names
    };
    for auth in ["iam", "password"] {
        HostConfig::from_lookup(&|name| read(name, auth)).unwrap();
    }
    assert_eq!(read_names(), documented(host_variables()));
    for auth in ["iam", "password"] {
        FunctionConfig::from_lookup(&|name| read(name, auth)).unwrap();
    }
    assert_eq!(read_names(), documented(function_variables()));
}

#[test]
fn a_former_name_is_read_and_noted_unless_the_new_one_is_set() {
    let noted = |pairs: &[(&str, &str)]| -> Vec<&str> {
        let lookup = lookup(pairs);
        let variables = host_variables().into_iter().filter(|variable| variable.has_former_name(&lookup));
        variables.map(|variable| variable.name).collect()
    };
    let former = [("DATABASE_QUEUE", "7"), ("DATABASE_PROBE_AFTER", "3s")];
    let config = parse(&former).unwrap();
    assert_eq!((config.database.max_waiting, config.database.idle_check_after), (7, Duration::from_secs(3)));
    assert_eq!(noted(&former), ["DATABASE_MAX_WAITING", "DATABASE_IDLE_CHECK_AFTER"]);
    let both = [("DATABASE_QUEUE", "7"), ("DATABASE_MAX_WAITING", "8")];
    assert_eq!((parse(&both).unwrap().database.max_waiting, noted(&both).len()), (8, 0));
    let error = parse(&[("DATABASE_QUEUE", "many")]).unwrap_err().to_string();
    assert_eq!(error, "DATABASE_QUEUE=many: expected a whole number from 1 to 100000");
}

#[test]
fn help_names_each_variable_with_its_default_and_bounds() {
    let help = variables::help(&host_variables());
    for expected in [
        "\n  DATABASE_URL [required]\n",
        "\n  DATABASE_CA_FILE [required with TLS]\n",
        "\n  DATABASE_MAX_WAITING [default: 1024; 1 to 100000; formerly DATABASE_QUEUE]\n",
        "\n  CACHE_BYTES [default: 256MiB; up to 1024GiB; host only]\n",
        "\n  LOG [default: info; off, error, warn, info, debug, trace]\n",
    ] {
        assert!(help.contains(expected), "{expected} in {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    assert!(!variables::help(&function_variables()).contains("LISTEN"));
}

#[test]
fn each_level_of_the_log_is_read() {
    for (word, level) in [
        ("off", LogLevel::OFF),
        ("error", LogLevel::ERROR),
        ("warn", LogLevel::WARN),
        ("info", LogLevel::INFO),
        ("debug", LogLevel::DEBUG),
        ("trace", LogLevel::TRACE),
    ] {
        assert_eq!(parse(&[("LOG", word)]).unwrap().log.level, level);
    }
}

#[test]
fn an_empty_file_of_authorities_is_an_error_even_where_none_is_needed() {
    let error = parse(&[("DATABASE_CA_FILE", "")]).unwrap_err().to_string();
    assert!(error.starts_with("DATABASE_CA_FILE=: expected a PEM file"), "{error}");
}
