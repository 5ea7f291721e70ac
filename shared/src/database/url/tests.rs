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
        "postgresql://reader:s3cret@localhost,db.example.com/atelier?ssl%6Dode=disable",
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
