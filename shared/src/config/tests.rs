//! What is read, and what is refused in which words.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::address::database_address;
use super::*;

const URL: &str = "postgresql://reader:s3cret@localhost/atelier";

fn parse(pairs: &[(&str, &str)]) -> Result<Config, Error> {
    Config::from_lookup(&|name| {
        let pair = pairs.iter().find(|(variable, _)| *variable == name);
        pair.map(|(_, value)| (*value).to_owned()).or((name == "DATABASE_URL").then(|| URL.to_owned()))
    })
}

#[test]
fn everything_but_the_database_has_a_default() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.host.listen.to_string(), "127.0.0.1:3000");
    let database = &config.database;
    assert_eq!((database.connections, database.cart_connections, database.queue), (4, Some(2), 1024));
    assert_eq!(config.requests.timeout, Duration::from_secs(2));
    assert_eq!(config.requests.cache_bytes, 256 << 20);
    assert!(config.log.access);
    let missing = Config::from_lookup(&|_| None).unwrap_err().to_string();
    assert!(missing.starts_with("DATABASE_URL is not set: expected an address such as "), "{missing}");
}

#[test]
fn a_wrong_value_is_named_with_its_variable_and_what_was_expected() {
    for (variable, value, expected) in [
        ("LISTEN", "3000", "an address and a port such as 127.0.0.1:3000"),
        ("LISTEN", "", "an address and a port such as 127.0.0.1:3000"),
        ("DATABASE_CONNECTIONS", "0", "a whole number from 1 to 64"),
        ("DATABASE_CONNECTIONS", "four", "a whole number from 1 to 64"),
        ("WORKER_THREADS", "-1", "a whole number from 1 to 256"),
        ("REQUEST_TIMEOUT", "2", "a whole number with its unit, such as 500ms or 2s, from 10ms to 60s"),
        ("REQUEST_TIMEOUT", "61s", "a whole number with its unit, such as 500ms or 2s, from 10ms to 60s"),
        ("DATABASE_QUEUE", "0", "a whole number from 1 to 100000"),
        ("CACHE_BYTES", "256MB", "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB"),
        ("CACHE_BYTES", "20000000TiB", "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB"),
        ("CACHE_BYTES", "1025GiB", "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB"),
        ("LOG", "loud", "off, error, warn, info, debug or trace"),
        ("LOG_ACCESS", "false", "on or off"),
    ] {
        let error = parse(&[(variable, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("{variable}={value}: expected {expected}"));
    }
}

#[test]
fn sizes_take_units_of_1024_or_none() {
    for (value, bytes) in
        [("0", 0), ("1000", 1000), ("3KiB", 3 << 10), ("512MiB", 512 << 20), ("2GiB", 2 << 30)]
    {
        assert_eq!(parse(&[("CACHE_BYTES", value)]).unwrap().requests.cache_bytes, bytes);
    }
}

#[test]
fn a_function_keeps_nothing_in_memory_and_has_one_connection() {
    let function = Function::from_lookup(&|name| match name {
        "DATABASE_URL" => Some(URL.to_owned()),
        "CACHE_BYTES" => Some("1GiB".to_owned()),
        _ => None,
    });
    let function = function.unwrap();
    assert_eq!((function.requests.cache_bytes, function.database.connections), (0, 1));
    assert_eq!(function.database.cart_connections, None);
}

#[test]
fn each_of_several_servers_has_an_address_of_its_own() {
    let file = authority();
    let url = "postgresql://reader:s3cret@one.example.com:5433,two.example.com:5434/atelier\
               ?target_session_attrs=read-write&application_name=shop&keepalives_idle=7";
    let servers = address(url, &file).unwrap().servers();
    let hosts: Vec<String> = servers.iter().map(Address::host).collect();
    assert_eq!(hosts, ["one.example.com", "two.example.com"]);
    for (server, port) in servers.iter().zip([5433, 5434]) {
        let settings = server.settings();
        assert_eq!(settings.get_ports(), [port]);
        assert_eq!((settings.get_user(), settings.get_dbname()), (Some("reader"), Some("atelier")));
        assert_eq!(settings.get_password(), Some(&b"s3cret"[..]));
        assert_eq!(settings.get_application_name(), Some("shop"));
        assert_eq!(settings.get_keepalives_idle(), Duration::from_secs(7));
        assert_eq!(settings.get_target_session_attrs(), tokio_postgres::config::TargetSessionAttrs::Any);
        assert!(server.has_tls());
    }
    let one_port = address("host=/run/one,/run/two port=6000 user=reader", &file).unwrap().servers();
    assert!(one_port.iter().all(|server| server.settings().get_ports() == [6000]), "{one_port:?}");
}

#[test]
fn durations_take_milliseconds_and_seconds() {
    let config = parse(&[("REQUEST_TIMEOUT", "250ms"), ("SHUTDOWN_GRACE", "3s")]).unwrap();
    assert_eq!(config.requests.timeout, Duration::from_millis(250));
    assert_eq!(config.host.shutdown_grace, Duration::from_secs(3));
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

/// A certificate that vouches for itself: enough for a file of authorities.
fn authority() -> tempfile::NamedTempFile {
    let made = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    file
}

fn address(url: &str, file: &tempfile::NamedTempFile) -> Result<Address, Error> {
    database_address(url, Some(file.path().to_str().unwrap()))
}

#[test]
fn this_machine_is_spoken_to_without_encryption_unless_asked() {
    let file = authority();
    for url in [
        "postgresql:///atelier?host=/run/postgresql&user=reader",
        "host=/run/postgresql user=reader dbname=atelier sslmode=prefer",
        "postgresql://reader@127.0.0.1:5433/atelier?sslmode=disable",
        "postgresql://reader@[::1]/atelier",
        "postgresql://reader:what?sslmode=require&@localhost/atelier",
        r"host=localhost password='it\'s sslmode=require' user=reader",
    ] {
        assert!(!database_address(url, None).unwrap().has_tls(), "{url}");
        assert!(!address(url, &file).unwrap().has_tls(), "{url}");
    }
    for url in [
        "postgresql://reader@localhost/atelier?sslmode=require",
        "postgresql://reader@localhost/atelier?sslmode=verify-ca&connect_timeout=2",
        "postgresql://reader@localhost/atelier?connect_timeout=2&sslmode=verify-full",
        "host=localhost sslmode=verify-full user=reader",
        "sslmode = 'verify-ca' host=127.0.0.1 user=reader",
    ] {
        assert!(address(url, &file).unwrap().has_tls(), "{url}");
    }
}

#[test]
fn another_machine_is_spoken_to_with_tls_whatever_the_address_says() {
    let file = authority();
    for url in [
        "postgresql://reader:s3cret@db.example.com/atelier",
        "postgresql://reader:s3cret@10.0.0.7/atelier?sslmode=prefer",
        "postgresql://reader:s3cret@localhost,db.example.com/atelier?ssl%6Dode=disable",
        "host=localhost hostaddr=10.0.0.7 user=reader password=s3cret",
        "host=db.example.com hostaddr=127.0.0.1 user=reader password=s3cret",
    ] {
        let address = address(url, &file).unwrap();
        assert!(address.has_tls(), "{url}");
        assert_eq!(address.settings().get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        let missing = database_address(url, None).unwrap_err().to_string();
        assert!(missing.starts_with("DATABASE_CA_FILE is not set: expected a PEM file "), "{missing}");
        assert!(!missing.contains("s3cret"), "{missing}");
    }
}

#[test]
fn an_address_that_would_have_no_encryption_is_refused() {
    let file = authority();
    for (url, expected) in [
        (
            "postgresql://reader:s3cret@db.example.com/atelier?sslmode=disable",
            "DATABASE_URL=(host db.example.com): expected no sslmode=disable, because ",
        ),
        (
            "postgresql://reader:s3cret@localhost/atelier?sslmode=sometimes",
            "DATABASE_URL=(host localhost): expected sslmode to be disable, prefer, ",
        ),
        (
            "host=/run/postgresql user=reader password=s3cret sslmode=require",
            "DATABASE_URL=(host /run/postgresql): expected hosts reached by TCP and no Unix socket",
        ),
        (
            "hostaddr=10.0.0.7 user=reader password=s3cret",
            "DATABASE_URL=(host 10.0.0.7): expected a host beside hostaddr",
        ),
    ] {
        let error = address(url, &file).unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_file_of_authorities_that_is_of_no_use_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let begun = "-----BEGIN CERTIFICATE-----\nMIIB";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, cause) in [
        ("", "it holds no certificate"),
        ("garbage", "it holds no certificate"),
        (&key, "it holds no certificate"),
        (begun, "it is not PEM, or cut off)"),
        (no_certificate, "invalid peer certificate: BadEncoding"),
    ] {
        std::fs::write(path, content).unwrap();
        for url in [URL, "postgresql://reader@db.example.com/atelier"] {
            let error = database_address(url, Some(path)).unwrap_err().to_string();
            let start =
                format!("DATABASE_CA_FILE={path}: expected a PEM file with the authorities that may ");
            assert!(error.starts_with(&start) && error.contains(&format!("({cause}")), "{error}");
        }
    }
    let error = database_address(URL, Some("/nowhere/ca.pem")).unwrap_err().to_string();
    assert!(error.starts_with("DATABASE_CA_FILE=/nowhere/ca.pem: expected "), "{error}");
    assert!(error.ends_with("(No such file or directory (os error 2))"), "{error}");
}

const AWS: [(&str, &str); 5] = [
    ("DATABASE_AUTH", "iam"),
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "s3cret-key"),
    ("AWS_SESSION_TOKEN", "s3cret-session"),
    ("AWS_REGION", "eu-central-1"),
];

#[test]
fn with_iam_a_missing_variable_and_an_address_that_cannot_be_signed_for_are_named() {
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
        let function = Function::from_lookup(&|name| match name {
            "DATABASE_URL" => Some(URL.to_owned()),
            "DATABASE_CONNECTIONS" | "LISTEN" => Some("not for a function".to_owned()),
            "DATABASE_CONNECT_TIMEOUT" => Some("3s".to_owned()),
            "REQUEST_TIMEOUT" => Some(request_timeout.to_owned()),
            _ => None,
        })
        .unwrap();
        assert_eq!(function.database.connections, 1);
        assert_eq!(function.database.wait_for_connection, Duration::from_millis(wait));
    }
    assert_eq!(parse(&[]).unwrap().database.wait_for_connection, Duration::ZERO);
}

#[test]
fn every_variable_that_is_read_is_documented() {
    let file = authority();
    let names = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        match name {
            "DATABASE_URL" => Some("postgresql://reader@db.example.com/atelier".to_owned()),
            "DATABASE_CA_FILE" => Some(file.path().to_str().unwrap().to_owned()),
            _ => AWS.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()),
        }
    };
    Config::from_lookup(&lookup).unwrap();
    let by_host = names.take();
    Function::from_lookup(&lookup).unwrap();
    let by_function = names.take();
    assert!(by_function.is_subset(&by_host));
    for variable in &by_host {
        let (_, said) = VARIABLES.split_once(&format!("- `{variable}` (")).unwrap();
        let (condition, _) = said.split_once("): ").unwrap();
        assert_eq!(condition.ends_with("*host*"), !by_function.contains(variable), "{variable}: {condition}");
    }
    assert_eq!(VARIABLES.matches("\n- `").count(), by_host.len());
}
