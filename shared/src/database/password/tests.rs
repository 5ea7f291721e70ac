use std::fs::Permissions;
use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

/// A password file with this text and these permissions.
fn file(text: &str, mode: u32) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
    file
}

/// Returns the password that a program uses with these variables.
fn password(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
    let own = [("DATABASE_URL", url)];
    let lookup = |name: &str| {
        let mut all = variables.iter().chain(&own).copied();
        all.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    let options = ConnectOptions::from_lookup(&lookup).map_err(|error| error.to_string())?;
    let password = options.settings().get_password();
    Ok(password.map(|password| String::from_utf8(password.to_vec()).unwrap()))
}

#[test]
fn the_first_line_that_matches_has_the_password() {
    let lines = "# localhost:5432:shop:reader:comment\n\
                 localhost:5433:shop:reader:other port\n\
                 localhost:*:shop:writer:other user\n\
                 localhost:5432:stock:*:other database\r\n\
                 localhost:5432:shop:reader:with \\: and \\\\:ignored\n\
                 *:*:*:reader:second\n\
                 /srv/sockets:5432:shop:a\\:b:socket\n\
                 localhost:5432:shop\n\
                 localhost:5432:shop:star:\n\
                 \\*:5432:shop:star:no host is called so";
    let file = file(lines, 0o600);
    for (url, expected) in [
        ("postgresql://reader@localhost/shop", Some("with : and \\")),
        ("postgresql://reader@localhost:5433/shop", Some("other port")),
        ("postgresql://writer@localhost:5434/shop", Some("other user")),
        ("postgresql://anyone@localhost/stock", Some("other database")),
        ("postgresql://reader@127.0.0.1:7/any", Some("second")),
        ("postgresql:///shop?host=/var/run/postgresql&user=reader", Some("with : and \\")),
        ("host=/srv/sockets user=a:b dbname=shop", Some("socket")),
        ("postgresql://nobody@localhost/shop", None),
        ("postgresql://star@localhost/shop", None),
        ("postgresql://reader@localhost,127.0.0.1:5433/any", Some("second")),
    ] {
        let found = password(url, &[("PGPASSFILE", file.path().to_str().unwrap())]);
        assert_eq!(found.as_ref().map(|found| found.as_deref()), Ok(expected), "{url}");
    }
}

#[test]
fn the_url_takes_precedence_over_pgpassword_and_that_over_a_file() {
    let named = file("*:*:*:*:of passfile", 0o400);
    let home = tempfile::tempdir().unwrap();
    let in_home = home.path().join(".pgpass");
    std::fs::write(&in_home, "*:*:*:*:of home").unwrap();
    std::fs::set_permissions(&in_home, Permissions::from_mode(0o600)).unwrap();
    let other = file("*:*:*:*:of PGPASSFILE", 0o600);

    let home = ("HOME", home.path().to_str().unwrap());
    let variable = ("PGPASSFILE", other.path().to_str().unwrap());
    let url = "postgresql://reader@localhost/shop";
    let with_file = format!("{url}?passfile={}", named.path().display());
    let of = |url: &str, variables: &[(&str, &str)]| password(url, variables).unwrap().unwrap();
    assert_eq!(of(url, &[home]), "of home");
    assert_eq!(of(url, &[home, variable]), "of PGPASSFILE");
    assert_eq!(of(&with_file, &[home, variable]), "of passfile");
    assert_eq!(of(&with_file, &[home, variable, ("PGPASSWORD", "of PGPASSWORD")]), "of PGPASSWORD");
    assert_eq!(of(&with_file, &[home, variable, ("PGPASSWORD", "")]), "of passfile");
    let with_password = "postgresql://reader:of-url@localhost/shop";
    assert_eq!(of(with_password, &[home, variable, ("PGPASSWORD", "of PGPASSWORD")]), "of-url");
    assert_eq!(password(url, &[("HOME", "/nowhere")]), Ok(None));
}

#[test]
fn a_password_file_that_must_not_be_used_is_an_error_without_the_password() {
    let url = "postgresql://reader@localhost/shop";
    let open = file("localhost:*:*:reader:s3cret", 0o640);
    let path = open.path().to_str().unwrap();
    let error = password(url, &[("PGPASSFILE", path)]).unwrap_err();
    let expected = "expected a file to which only its owner has access (chmod 0600), not mode 0640";
    assert_eq!(error, format!("PGPASSFILE={path}: {expected}"));
    let error = password(&format!("{url}?passfile={path}"), &[]).unwrap_err();
    assert_eq!(error, format!("DATABASE_URL=(passfile {path}): {expected}"));
    let other_user = password("postgresql://writer@localhost/shop", &[("PGPASSFILE", path)]);
    assert_eq!(other_user, Ok(None), "the file has no password for this login");

    let missing = password(url, &[("PGPASSFILE", "/nowhere")]).unwrap_err();
    assert_eq!(
        missing,
        "PGPASSFILE=/nowhere: expected a password file (No such file or directory (os error 2))"
    );
    let folder = password(url, &[("PGPASSFILE", "/tmp")]).unwrap_err();
    assert_eq!(folder, "PGPASSFILE=/tmp: expected a password file (it is not a regular file)");

    let two = file("localhost:1:*:*:s3cret\nlocalhost:2:*:*:s3cret too", 0o600);
    let servers = "postgresql://reader@localhost:1,localhost:2/shop";
    let error = password(servers, &[("PGPASSFILE", two.path().to_str().unwrap())]).unwrap_err();
    let expected = "expected servers with the same password in the password file";
    assert_eq!(error, format!("DATABASE_URL=(host localhost, localhost): {expected}"));
}

#[test]
fn a_token_replaces_every_password() {
    let ca = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap();
    let ca = file(&ca.cert.pem(), 0o600);
    let iam = [
        ("DATABASE_AUTH", "iam"),
        ("DATABASE_CA_FILE", ca.path().to_str().unwrap()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
        ("PGPASSWORD", "s3cret"),
        ("PGPASSFILE", "/nowhere"),
    ];
    assert_eq!(password("postgresql://reader@db.example.com/shop", &iam), Ok(None));
    let error = password("postgresql://reader@db.example.com/shop?passfile=/nowhere", &iam).unwrap_err();
    assert!(error.contains("expected no passfile, because with DATABASE_AUTH=iam"), "{error}");
}
