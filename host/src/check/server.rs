//! The checks of one server: connection, version, schema, rights and catalog.

use std::time::Duration;

use shared::database::{ConnectOptions, error_chain, unsupported};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Error, Row};

use super::Finding;

/// The timeout of all checks of a server.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// What the checks of all servers need to know of one.
pub(super) struct Server {
    /// Its host and port.
    pub(super) name: String,
    /// Whether it accepts no writes.
    pub(super) is_replica: bool,
    /// The id of its latest publication; 0 if there is none, `None` if the login cannot read it.
    pub(super) publication: Option<i64>,
}

const SERVER: &str = "select current_user::text, current_setting('server_version'), current_setting('server_encoding'), \
     current_setting('transaction_read_only') = 'on'";

/// Each row is a reason why the login has more rights than a host needs.
const EXCESS: &str = "
    with login as (
        select oid, rolsuper as is_superuser, rolcreaterole as creates_roles from pg_roles where rolname = current_user
    ), groups as (
        select rolname from login, pg_roles as role where role.rolname in ('atelier_owner', 'atelier_loader')
            and pg_has_role(login.oid, role.oid, 'member') and not is_superuser
    )
    select 'it is a superuser' from login where is_superuser
    union all
    select 'it may create roles' from login where creates_roles and not is_superuser
    union all
    select 'it is a member of ' || rolname from groups
    union all
    select 'it may change ' || nspname || '.' || relname
    from login, pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname in ('catalog', 'cart', 'etl') and relkind in ('r', 'p')
        and has_table_privilege(login.oid, pg_class.oid, 'insert, update, delete, truncate')
        and not is_superuser and not exists (select from groups)";

const PUBLICATION: &str = "select id, generation, to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') \
     from etl.publication order by id desc limit 1";

/// How a statement of the host fails on a server.
#[derive(Default)]
struct Failures {
    /// The schemas that outlive a catalog lack something.
    schema: Option<String>,
    /// The login lacks a right.
    rights: Option<String>,
    /// The catalog lacks something.
    catalog: Option<String>,
    /// Anything else.
    other: Option<String>,
}

/// Checks a server. Returns none of its properties if it cannot be used.
pub(super) async fn check_server(
    options: &ConnectOptions,
    connect_timeout: Duration,
) -> (Vec<Finding>, Option<Server>) {
    let name = server_name(options);
    let client = match timeout(connect_timeout, options.connect()).await {
        Ok(Ok((client, driver))) => {
            tokio::spawn(driver);
            client
        }
        Ok(Err(error)) => {
            let finding =
                Finding::failed(name, format!("cannot connect: {}", error_chain(&error)), remedy(&error));
            return (vec![finding], None);
        }
        Err(_) => {
            let detail = format!("cannot connect: no response within {} ms", connect_timeout.as_millis());
            let remedy = "start Postgres there, or open the firewall for its port, or correct DATABASE_URL";
            return (vec![Finding::failed(name, detail, remedy)], None);
        }
    };
    let mut findings = Vec::new();
    let checked = timeout(CHECK_TIMEOUT, check_connected(&client, options, &name, &mut findings)).await;
    let why = match checked {
        Ok(Ok(server)) => return (findings, Some(server)),
        Ok(Err(error)) => error_chain(&error),
        Err(_) => format!("no response within {} s", CHECK_TIMEOUT.as_secs()),
    };
    let remedy = "see the log of Postgres, then run the check again";
    findings.push(Finding::failed(name, format!("a check failed: {why}"), remedy));
    (findings, None)
}

async fn check_connected(
    client: &Client,
    options: &ConnectOptions,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Result<Server, Error> {
    let row = client.query_one(SERVER, &[]).await?;
    let (login, version, encoding): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    let is_replica: bool = row.get(3);
    let tls = if options.has_tls() { "TLS" } else { "no TLS" };
    let role = if is_replica { "a replica" } else { "the primary" };
    findings.push(Finding::ok(name, format!("{role}, Postgres {version}, login {login}, {tls}")));
    if let Some(reason) = unsupported(&version, &encoding) {
        let (detail, remedy) = reason.split_once(": ").unwrap_or((&reason, ""));
        findings.push(Finding::failed(format!("{name} version"), detail, remedy));
    }
    let mut failures = Failures::default();
    for statement in shared::statements() {
        try_statement(client, statement, &mut failures).await?;
    }
    let publication = match failures.schema {
        None => client.query_opt(PUBLICATION, &[]).await.unwrap_or(None), // the right to read it is checked below
        Some(_) => None,
    };
    let (of_schema, is_migrated) = schema(name, &failures);
    if failures.rights.is_none() || !is_migrated {
        findings.push(of_schema); // without its rights, the login does not see all that there is
    }
    if is_migrated {
        findings.push(rights(name, &login, &failures, &client.query(EXCESS, &[]).await?));
        findings.push(catalog(name, &failures, publication.as_ref()));
    }
    if let Some(error) = &failures.other {
        let remedy = "see the log of Postgres; docs/engines.md says which servers the host supports";
        findings.push(Finding::failed(format!("{name} statements"), error.as_str(), remedy));
    }
    let is_known = failures.rights.is_none() && failures.schema.is_none();
    let publication = is_known.then(|| publication.map_or(0, |row| row.get(0)));
    Ok(Server { name: name.to_owned(), is_replica, publication })
}

/// Plans a statement without running it. Postgres then checks that tables, columns and functions exist and that the login
/// may use them. A generic plan keeps the parameters, so that no call of a function is replaced by its result.
async fn try_statement(client: &Client, statement: &str, failures: &mut Failures) -> Result<(), Error> {
    let parameters = (1..).take_while(|number| statement.contains(&format!("${number}"))).map(|_| "null");
    let parameters = parameters.collect::<Vec<_>>().join(", ");
    let arguments = if parameters.is_empty() { parameters } else { format!("({parameters})") };
    let explain = format!(
        "begin; set local plan_cache_mode = force_generic_plan; \
         prepare atelier_check as {statement}; explain execute atelier_check{arguments}; deallocate atelier_check"
    );
    let Err(error) = client.batch_execute(&explain).await else {
        return client.batch_execute("rollback").await;
    };
    let Some(refusal) = error.as_db_error() else { return Err(error) };
    client.batch_execute("rollback; deallocate all").await?;
    let message = refusal.message();
    let names_schema =
        |schema: &str| message.contains(&format!("{schema}.")) || message.contains(&format!("\"{schema}\""));
    let is_of_catalog = statement.contains("catalog.") && !names_schema("cart") && !names_schema("etl");
    let failure = match refusal.code().code() {
        "42501" => &mut failures.rights,
        // No such schema, table, column or function.
        "3F000" | "42P01" | "42703" | "42883" if is_of_catalog => &mut failures.catalog,
        "3F000" | "42P01" | "42703" | "42883" => &mut failures.schema,
        _ => &mut failures.other,
    };
    failure.get_or_insert_with(|| message.to_owned());
    Ok(())
}

/// Returns the finding on the schema, and whether further ones make sense.
fn schema(name: &str, failures: &Failures) -> (Finding, bool) {
    let check = format!("{name} schema");
    match &failures.schema {
        None => (Finding::ok(check, "has all that this release needs"), true),
        Some(error) => {
            let detail = format!("is not migrated to this release: {error}");
            let remedy = "run `atelier-etl migrate` of this release with a login that owns the database";
            (Finding::failed(check, detail, remedy), false)
        }
    }
}

fn rights(name: &str, login: &str, failures: &Failures, excess: &[Row]) -> Finding {
    let check = format!("{name} rights");
    if !excess.is_empty() {
        let reasons: Vec<String> = excess.iter().map(|row| row.get(0)).collect();
        let detail = format!("the login {login} has more rights than a host needs: {}", reasons.join(", "));
        let remedy =
            "use another one: `create role web login password '…' in role atelier_reader, atelier_cart`";
        return Finding::failed(check, detail, remedy);
    }
    match &failures.rights {
        Some(error) => {
            let detail = format!("the login {login} lacks a right: {error}");
            let grant =
                format!("run `grant atelier_reader, atelier_cart to {login}` as the owner of the database");
            Finding::failed(check, detail, grant)
        }
        None => {
            Finding::ok(check, format!("{login} can read the catalog and change carts, and nothing else"))
        }
    }
}

fn catalog(name: &str, failures: &Failures, publication: Option<&Row>) -> Finding {
    let check = format!("{name} catalog");
    let load = "run `atelier-etl load` of this release";
    match (publication, &failures.catalog) {
        (None, _) if failures.rights.is_some() => {
            Finding::failed(check, "cannot be read", "correct the rights of the login")
        }
        (None, _) => Finding::failed(check, "no catalog has been published yet", load),
        (Some(row), None) => {
            let (generation, at): (i32, String) = (row.get(1), row.get(2));
            Finding::ok(check, format!("generation {generation}, published at {at} UTC"))
        }
        (Some(row), Some(error)) => {
            let generation: i32 = row.get(1);
            let detail = format!("an earlier release loaded generation {generation}: {error}");
            Finding::failed(check, detail, load)
        }
    }
}

/// Says what to do about a failed connection.
fn remedy(error: &Error) -> &'static str {
    let text = error_chain(error);
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("28P01" | "28000") => {
            "correct user and password in DATABASE_URL, or allow the login in pg_hba.conf"
        }
        Some("3D000") => "create the database, or correct its name in DATABASE_URL",
        Some("42501") => "run `grant connect on database … to …` for this login",
        Some("53300") => "close other connections, or raise max_connections of Postgres",
        Some("57P03") => "wait until Postgres has started, then check again",
        Some(_) => "see the log of Postgres",
        None if text.contains("does not support TLS") => "turn on `ssl` in postgresql.conf",
        None if text.contains("TLS handshake") => {
            "put the authority of the server's certificate into DATABASE_CA_FILE, and name the server in DATABASE_URL as its \
             certificate does"
        }
        None if text.contains("password missing") => {
            "add the password to DATABASE_URL, or set PGPASSWORD or PGPASSFILE"
        }
        None => "start Postgres there, or correct host and port in DATABASE_URL",
    }
}

/// Returns the host and port of a server.
fn server_name(options: &ConnectOptions) -> String {
    let port = options.settings().get_ports().first().copied().unwrap_or(5432);
    match options.settings().get_hosts().first() {
        Some(Host::Unix(_)) => options.host(),
        _ => format!("{}:{port}", options.host()),
    }
}
