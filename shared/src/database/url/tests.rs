use std::time::Duration;

use super::*;

const URL: &str = "postgresql://reader:s3cret@localhost/atelier";

/// A self-signed certificate, which is enough for a file of authorities.
fn authority() -> tempfile::NamedTempFile {
    let made = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    file
}

#[test]
fn an_address_of_several_servers_is_split_into_one_per_server() {
    let file = authority();
    let url = "postgresql://reader:s3cret@one.example.com:5433,two.example.com:5434/atelier\
               ?target_session_attrs=read-write&application_name=shop&keepalives_idle=7";
    let servers = address(url, &file).unwrap().servers();
    let hosts: Vec<String> = servers.iter().map(ConnectOptions::host).collect();
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

fn connect_options(url: &str, ca_file: Option<&str>) -> Result<ConnectOptions, Error> {
    target(url, ca_file).map(|target| target.options)
}

fn address(url: &str, file: &tempfile::NamedTempFile) -> Result<ConnectOptions, Error> {
    connect_options(url, Some(file.path().to_str().unwrap()))
}

#[test]
fn connections_to_this_machine_use_tls_only_on_request() {
    let file = authority();
    for url in [
        "postgresql:///atelier?host=/run/postgresql&user=reader",
        "host=/run/postgresql user=reader dbname=atelier sslmode=prefer",
        "postgresql://reader@127.0.0.1:5433/atelier?sslmode=disable",
        "postgresql://reader@[::1]/atelier",
        "postgresql://reader:what?sslmode=require&@localhost/atelier",
        r"host=localhost password='it\'s sslmode=require' user=reader",
    ] {
        assert!(!connect_options(url, None).unwrap().has_tls(), "{url}");
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
fn connections_to_another_machine_always_use_tls() {
    let file = authority();
    for url in [
        "postgresql://reader:s3cret@db.example.com/atelier",
        "postgresql://reader:s3cret@10.0.0.7/atelier?sslmode=prefer",
        "postgresql://reader:s3cret@localhost,db.example.com/atelier?ssl%6Dode=allow",
        "host=localhost hostaddr=10.0.0.7 user=reader password=s3cret",
        "host=db.example.com hostaddr=127.0.0.1 user=reader password=s3cret",
    ] {
        let address = address(url, &file).unwrap();
        assert!(address.has_tls(), "{url}");
        assert_eq!(address.settings().get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        let missing = connect_options(url, None).unwrap_err().to_string();
        assert!(missing.starts_with("DATABASE_CA_FILE is not set: expected a PEM file "), "{missing}");
        assert!(!missing.contains("s3cret"), "{missing}");
    }
}

#[test]
fn an_address_without_the_required_tls_is_rejected() {
    let file = authority();
    for (url, expected) in [
        (
            "postgresql://reader:s3cret@db.example.com/atelier?sslmode=disable",
            "DATABASE_URL=(host db.example.com): expected no sslmode=disable, because ",
        ),
        (
            "postgresql://reader:s3cret@localhost,db.example.com/atelier?ssl%6Dode=dis%61ble",
            "DATABASE_URL=(host localhost, db.example.com): expected no sslmode=disable, because ",
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
fn an_invalid_file_of_authorities_is_named_with_the_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let begun = "-----BEGIN CERTIFICATE-----\nMIIB";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, cause) in [
        ("", "the file contains no certificate"),
        ("garbage", "the file contains no certificate"),
        (&key, "the file contains no certificate"),
        (begun, "the file is not PEM, or it is truncated)"),
        (no_certificate, "invalid peer certificate: BadEncoding"),
    ] {
        std::fs::write(path, content).unwrap();
        for url in [URL, "postgresql://reader@db.example.com/atelier"] {
            let error = connect_options(url, Some(path)).unwrap_err().to_string();
            let start =
                format!("DATABASE_CA_FILE={path}: expected a PEM file with the authorities that may ");
            assert!(error.starts_with(&start) && error.contains(&format!("({cause}")), "{error}");
        }
    }
    let error = connect_options(URL, Some("/nowhere/ca.pem")).unwrap_err().to_string();
    assert!(error.starts_with("DATABASE_CA_FILE=/nowhere/ca.pem: expected "), "{error}");
    assert!(error.ends_with("(No such file or directory (os error 2))"), "{error}");
}

/// Returns the settings of an address on this machine, in both forms.
fn both_forms(parameter: &str, value: &str) -> [Result<Target, Error>; 2] {
    [
        target(&format!("postgresql://reader:s3cret@localhost/atelier?{parameter}={value}"), None),
        target(&format!("host=localhost user=reader password='s3cret' {parameter} = '{value}'"), None),
    ]
}

#[test]
fn a_parameter_is_used_in_both_forms() {
    use tokio_postgres::config::{ChannelBinding, TargetSessionAttrs};
    let all = |parameter: &str, value: &str, is_used: &dyn Fn(&Config) -> bool| {
        for target in both_forms(parameter, value) {
            let settings = target.unwrap().options.settings().clone();
            assert!(is_used(&settings), "{parameter}={value}: {settings:?}");
        }
    };
    let seconds = |n| Some(Duration::from_secs(n));
    all("connect_timeout", "7", &|used| used.get_connect_timeout().copied() == seconds(7));
    all("tcp_user_timeout", "8000", &|used| used.get_tcp_user_timeout().copied() == seconds(8));
    all("keepalives_count", "9", &|used| used.get_keepalives_retries() == Some(9));
    all("keepalives_interval", "6", &|used| used.get_keepalives_interval() == seconds(6));
    all("fallback_application_name", "shop", &|used| used.get_application_name() == Some("shop"));
    all("options", "-c%20jit=off", &|used| used.get_options().is_some_and(|text| text.ends_with("jit=off")));
    all("channel_binding", "require", &|used| used.get_channel_binding() == ChannelBinding::Require);
    for (value, expected) in [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("primary", TargetSessionAttrs::ReadWrite),
        ("read-only", TargetSessionAttrs::ReadOnly),
        ("standby", TargetSessionAttrs::ReadOnly),
    ] {
        all("target_session_attrs", value, &|used| used.get_target_session_attrs() == expected);
    }
    for (parameter, value) in [
        ("client_encoding", "UTF8"),
        ("gssencmode", "prefer"),
        ("sslnegotiation", "postgres"),
        ("sslsni", "1"),
        ("replication", "off"),
    ] {
        all(parameter, value, &|used| used.get_user() == Some("reader"));
    }
    let target =
        target("postgresql://localhost:5433/one?h%6Fst=%2Frun%2Fdb&user=a%40b&dbname=two", None).unwrap();
    let settings = target.options.settings();
    assert_eq!(settings.get_hosts(), [Host::Unix("/run/db".into())], "the last value counts, as in libpq");
    assert_eq!((settings.get_user(), settings.get_dbname()), (Some("a@b"), Some("two")));
    assert_eq!(settings.get_ports(), [5433]);
}

#[test]
fn a_parameter_that_cannot_be_used_is_named_and_no_secret_is_shown() {
    for (parameter, value, expected) in [
        ("pgbouncer", "true", "no parameter pgbouncer: the service needs its session to itself"),
        ("schema", "shop", "no parameter schema: the schemas have fixed names"),
        ("connection_limit", "5", "no parameter connection_limit: the pool is set by DATABASE_CONNECTIONS"),
        ("pool_timeout", "5", "no parameter pool_timeout: the pool is set by"),
        ("sslcert", "/c.pem", "no parameter sslcert: client certificates are not supported"),
        ("sslkey", "/k.pem", "no parameter sslkey: client certificates are not supported"),
        ("gssencmode", "require", "gssencmode to be disable or prefer"),
        ("client_encoding", "LATIN1", "client_encoding to be UTF8"),
        ("sslnegotiation", "direct", "sslnegotiation to be postgres"),
        ("target_session_attrs", "secondary", "target_session_attrs to be any, "),
        ("sslrootcert", "system", "sslrootcert to be a file"),
        ("require_auth", "scram-sha-256", "no parameter require_auth: the method cannot be restricted"),
        ("connect_timeout", "soon", "a valid value of connect_timeout"),
        ("tcp_user_timeout", "soon", "tcp_user_timeout to be a number"),
        ("port", "none", "a valid value of port"),
    ] {
        for error in both_forms(parameter, value) {
            let error = error.err().unwrap().to_string();
            let start = format!("DATABASE_URL=(host localhost): expected {expected}");
            assert!(error.starts_with(&start) && !error.contains("s3cret"), "{error}");
        }
    }
    for (unknown, shown) in [
        ("postgresql://reader:s3cret@localhost/atelier?colour=red", true),
        ("host=localhost colour=red user=reader password=s3cret", true),
        ("host=localhost password='s3cret' colour=red", true),
        // The name may be a part of the password.
        ("host=localhost password=s3cret colour=red", false),
        ("postgresql://reader:s3cret@s3?colour=red@localhost/atelier", false),
    ] {
        let error = target(unknown, None).err().unwrap().to_string();
        assert_eq!(error.contains("no parameter colour, which is unknown: remove it"), shown, "{error}");
        assert_eq!(error.contains("colour"), shown, "{error}");
        assert!(!error.contains("s3"), "{error}");
    }
    for invalid in [
        "postgresql://reader:s3@cret@localhost/atelier",
        "postgresql://reader:s3@s3/cret@localhost/atelier",
        "host=localhost password='s3cret",
        "host=localhost password=s3 cret",
        "jdbc:postgresql://localhost/atelier?password=s3cret",
        "s3cret",
        "reader:s3cret=1@localhost/atelier",
    ] {
        let error = target(invalid, None).err().unwrap().to_string();
        assert!(!error.contains("s3") && !error.contains("cret"), "{error}");
    }
}

#[test]
fn the_authorities_of_the_address_replace_the_variable_and_may_not_contradict_it() {
    let file = authority();
    let path = file.path().to_str().unwrap();
    let url =
        format!("postgresql://reader:s3cret@db.example.com/atelier?sslrootcert={path}&sslmode=verify-full");
    for ca_file in [None, Some(path)] {
        assert!(connect_options(&url, ca_file).unwrap().has_tls());
    }
    let error = connect_options(&url, Some("/other.pem")).unwrap_err().to_string();
    let expected =
        "DATABASE_URL=(host db.example.com): expected no sslrootcert, because DATABASE_CA_FILE names ";
    assert!(error.starts_with(expected), "{error}");
    let missing = connect_options("host=localhost sslrootcert=/nowhere.pem", None).unwrap_err().to_string();
    assert!(missing.starts_with("DATABASE_CA_FILE=/nowhere.pem: expected a PEM file"), "{missing}");
}
