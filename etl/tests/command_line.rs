//! Tests of the command line of `atelier-etl` with a real Postgres.

// clippy.toml allows unwrap in tests, but not in their helper functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use rig::Database;
use support::{atelier_etl, edit, error, number, run, stdout, work_dir};

/// Returns all documents without their generation.
async fn documents(database: &Database) -> Vec<(i32, Vec<u8>, Vec<u8>, Vec<u8>)> {
    let client = database.connect().await.unwrap();
    let select = "select product_id, product, styles, related from catalog.documents order by product_id";
    let rows = client.query(select, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[tokio::test]
async fn the_summary_accounts_for_every_row_and_status_shows_it_later() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let before = stdout(&run(&dir, &database.url(), &["status"]));
    assert!(before.contains("no catalog has been published yet"), "{before}");

    let summary = stdout(&run(&dir, &database.url(), &["load", "set"]));
    for file in sample_data::FILES {
        let line = summary.lines().find(|line| line.starts_with(file)).unwrap();
        let counts: Vec<u64> = line.split_whitespace().skip(1).take(4).map(|n| n.parse().unwrap()).collect();
        let lines =
            std::fs::read_to_string(dir.path().join("set").join(file)).unwrap().lines().count() as u64;
        assert_eq!(counts[0], lines - 1, "{file}: every line below the header is read");
        assert_eq!(counts[0], counts[2] + counts[3], "{file}: every row is loaded or rejected");
    }
    assert!(summary.contains("rejected rows, in rejects/set.csv"), "{summary}");
    let status = stdout(&run(&dir, &database.url(), &["status"]));
    assert!(status.contains("serving: generation 1"), "{status}");
    assert!(status.lines().any(|line| line.contains(" set ") && line.contains("published")), "{status}");
    for file in sample_data::FILES {
        let loaded =
            summary.lines().find(|line| line.starts_with(file)).unwrap().split_whitespace().nth(4).unwrap();
        let mut lines = status.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{file} in {status}"));
        let all = format!(" {loaded} rows");
        assert!(line.contains(&all) && line.contains("MB/s"), "{line}");
    }
}

#[tokio::test]
async fn a_load_that_cannot_begin_prints_one_line_and_changes_nothing() {
    let database = Database::create().await.unwrap();
    let url = database.url();

    let dir = work_dir();
    std::fs::remove_file(dir.path().join("set/skus.csv")).unwrap();
    std::fs::remove_file(dir.path().join("set/photos.csv")).unwrap();
    assert_eq!(
        error(&run(&dir, &url, &["load", "set"])),
        "set is not a complete dataset: photos.csv, skus.csv missing"
    );

    let dir = work_dir();
    edit(&dir, "features.csv", |lines| lines[0] = "id,product,feature,value".to_owned());
    let line = error(&run(&dir, &url, &["load", "set"]));
    assert_eq!(
        line,
        "set/features.csv has \"id,product,feature,value\" in line 1, with no column product_id, an unknown column \
         \"product\": expected the header \"id,product_id,feature,value\""
    );

    let dir = work_dir();
    edit(&dir, "product.csv", |lines| lines.truncate(1));
    assert_eq!(
        error(&run(&dir, &url, &["load", "set"])),
        "set/product.csv has no rows: expected at least one below the header"
    );

    let dir = work_dir();
    assert!(error(&run(&dir, &url, &["load", "nowhere"])).starts_with("cannot read nowhere: "));
    for inside in ["set/rejects.csv", "set/further/down/rejects.csv", "./set/../set/rejects.csv"] {
        let line = error(&run(&dir, &url, &["load", "set", "--rejects", inside]));
        assert!(line.contains("it is in the dataset's folder"), "{line}");
    }
    let linked = dir.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(dir.path().join("set/skus.csv"), linked.join("rejects.csv")).unwrap();
    let line = error(&run(&dir, &url, &["load", "set", "--rejects", "linked/rejects.csv"]));
    assert!(line.contains("it is a file of the dataset"), "{line}");
    let line = error(&run(&dir, &url, &["load", "set", "--rejects", "/proc/no/file.csv"]));
    assert!(line.starts_with("cannot write the rejected rows to /proc/no/file.csv"), "{line}");
    let line = error(&run(&dir, &url, &["load", "set", "--dataset", "../x"]));
    assert!(line.contains("invalid dataset name"), "{line}");

    assert_eq!(number(&database, "select count(*) from etl.load").await, 0);
}

#[tokio::test]
async fn rejected_rows_replace_regular_files_only() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let path = |name: &str| dir.path().join(name);
    let status = std::process::Command::new("mkfifo").arg(path("pipe.csv")).status().unwrap();
    assert!(status.success());
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("precious"), "unchanged").unwrap();
    for link in ["link.csv", "fine.json", "rejects.csv.unfinished"] {
        std::os::unix::fs::symlink(path("precious"), path(link)).unwrap();
    }
    for (target, named, kind) in [
        ("/dev/null", "/dev/null", "a device, a pipe or a socket"),
        ("pipe.csv", "pipe.csv", "a device, a pipe or a socket"),
        ("link.csv", "link.csv", "a symbolic link"),
        ("folder", "folder", "a folder"),
        ("fine.csv", "fine.json", "a symbolic link"), // the summary
    ] {
        let line = error(&run(&dir, &database.url(), &["load", "set", "--rejects", target]));
        assert!(line.contains(&format!("{named}: it is {kind}: expected a regular file")), "{line}");
    }
    // Not even root can create a file there.
    let line = error(&run(&dir, &database.url(), &["load", "set", "--rejects", "/proc/rejects.csv"]));
    assert!(line.starts_with("cannot write the rejected rows to /proc/rejects.csv"), "{line}");
    assert_eq!(number(&database, "select count(*) from etl.load").await, 0);

    // A link with the temporary name is replaced, not followed.
    stdout(&run(&dir, &database.url(), &["load", "set", "--rejects", "rejects.csv"]));
    assert!(std::fs::read_to_string(path("rejects.csv")).unwrap().starts_with("file,line,"));
    assert_eq!(std::fs::read_to_string(path("precious")).unwrap(), "unchanged");
}

#[tokio::test]
async fn database_errors_do_not_show_the_password() {
    let dir = work_dir();
    let line = error(&run(&dir, "postgres://someone:secret@127.0.0.1:1/atelier", &["load", "set"]));
    assert!(line.contains("error connecting to server"), "{line}");
    assert!(!line.contains("secret"), "{line}");
    let line = error(&run(&dir, "postgres://someone:secret@[", &["load", "set"]));
    assert!(line.contains("DATABASE_URL") && !line.contains("secret"), "{line}");
    let line = error(&run(&dir, "postgres://someone:secret@db.example/atelier", &["load", "set"]));
    assert!(line.starts_with("DATABASE_CA_FILE is not set: ") && !line.contains("secret"), "{line}");
    let garbage = dir.path().join("garbage.pem");
    std::fs::write(&garbage, "-----BEGIN").unwrap();
    let file = garbage.to_str().unwrap();
    let url = "postgres://someone:secret@db.example/atelier";
    let line = error(&run(&dir, url, &["status", "--database-ca-file", file]));
    assert!(line.starts_with(&format!("DATABASE_CA_FILE={file}: expected a PEM file")), "{line}");
    let missing = atelier_etl(&dir, "", &["status"]).env_remove("DATABASE_URL").output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("--database-url"));
}

#[tokio::test]
async fn cart_csv_may_be_missing() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    std::fs::remove_file(dir.path().join("set/cart.csv")).unwrap();
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    assert_eq!(number(&database, "select count(*) from catalog.cart").await, 0);
}

#[tokio::test]
async fn too_many_rejects_keep_the_current_catalog() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    let served = documents(&database).await;

    edit(&dir, "skus.csv", |lines| lines[100..104].iter_mut().for_each(|line| line.push_str(",more")));
    let output = run(&dir, &database.url(), &["load", "set", "--max-rejects", "3"]);
    assert_eq!(output.status.code(), Some(3));
    let line = error(&output);
    assert!(line.starts_with("skus.csv: 4 of ") && line.contains("the limit is 3 "), "{line}");
    assert_eq!(documents(&database).await, served);
    let rejects = std::fs::read_to_string(dir.path().join("rejects/set.csv")).unwrap();
    assert_eq!(rejects.matches("4 fields expected, 5 found").count(), 4, "{rejects}");
    let status = stdout(&run(&dir, &database.url(), &["status"]));
    assert!(status.contains("serving: generation 1") && status.contains("failed"), "{status}");

    stdout(&run(&dir, &database.url(), &["load", "set", "--max-rejects", "10%"]));
    assert_eq!(number(&database, "select max(generation)::bigint from catalog.documents").await, 3);
}

#[tokio::test]
async fn a_load_killed_before_its_failure_is_recorded_still_has_its_limit() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    edit(&dir, "skus.csv", |lines| lines[100..104].iter_mut().for_each(|line| line.push_str(",more")));
    edit(&dir, "photos.csv", |lines| {
        lines.extend((1..=4).map(|n| format!("{},99999,\"u\",\"t\"", 900_000 + n)));
    });
    let before_failure = |step: &'static str| {
        let set = format!("update etl.load set step = '{step}', reason = null, ended_at = null");
        let database = &database;
        async move { database.connect().await.unwrap().batch_execute(&set).await.unwrap() }
    };
    let limited = ["load", "set", "--max-rejects", "3"];
    assert!(error(&run(&dir, &database.url(), &limited)).starts_with("skus.csv: 4 of "));
    before_failure("load").await;
    assert!(error(&run(&dir, &database.url(), &limited)).starts_with("skus.csv: 4 of "));

    edit(&dir, "skus.csv", |lines| drop(lines.drain(100..104)));
    assert!(error(&run(&dir, &database.url(), &limited)).starts_with("photos.csv: 4 of "));
    before_failure("index").await;
    assert!(error(&run(&dir, &database.url(), &limited)).starts_with("photos.csv: 4 of "));
    before_failure("index").await;
    stdout(&run(&dir, &database.url(), &["load", "set", "--max-rejects", "4"]));
    assert_eq!(number(&database, "select max(generation)::bigint from catalog.documents").await, 2);
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_a_load() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    let loading = database.connect().await.unwrap();
    etl::locks::lock_loader(&loading, None, || {}).await.unwrap(); // a backend of the ended load may hold it still
    assert_eq!(stdout(&run(&dir, &database.url(), &["rollback"])), "serving generation 1 again\n");
}

#[tokio::test]
async fn orphans_and_duplicate_ids_are_rejected_with_their_bytes_and_their_children() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let mut repeated = String::new();
    edit(&dir, "product.csv", |lines| {
        repeated = lines[10].clone();
        lines.insert(20, repeated.clone());
    });
    edit(&dir, "styles.csv", |lines| lines.push("900001,88888,\"Nobody's\",null,10,1".to_owned()));
    edit(&dir, "photos.csv", |lines| lines.insert(1, "900002,900001,\"u\",\"t\"".to_owned()));
    let mut sku = String::new();
    edit(&dir, "skus.csv", |lines| {
        sku = lines[100].clone();
        lines.insert(101, sku.clone()); // the file is still sorted by parent
    });
    edit(&dir, "related.csv", |lines| {
        lines.insert(1, "900003,1,77777".to_owned());
        // Orphans in both columns, and more of them than one batch of originals.
        lines.extend((0..300).map(|n| format!("{},77777,88888", 910_000 + n)));
    });
    stdout(&run(&dir, &database.url(), &["load", "set", "--max-rejects", "400"]));

    let rejects = std::fs::read_to_string(dir.path().join("rejects/set.csv")).unwrap();
    assert_eq!(rejects.matches(",77777,88888\"").count(), 300);
    let doubled = repeated.replace('"', "\"\"");
    for expected in [
        format!("id,\"an earlier row has this id\",\"{doubled}\""),
        "productId,\"no such product\",\"900001,88888,\"\"Nobody's\"\",null,10,1\"".to_owned(),
        "photos.csv,2,29,styleId,\"no such style\",\"900002,900001,\"\"u\"\",\"\"t\"\"\"".to_owned(),
        "related.csv,2,41,related_product_id,\"no such product\",\"900003,1,77777\"".to_owned(),
    ] {
        assert!(rejects.contains(&expected), "{expected} is not in {rejects}");
    }
    assert!(rejects.lines().any(|line| line.starts_with("product.csv,21,")), "{rejects}");
    let doubled = sku.replace('"', "\"\"");
    let is_sku = |line: &str| line.starts_with("skus.csv,102,") && line.ends_with(&format!("\"{doubled}\""));
    assert!(rejects.lines().any(is_sku), "{rejects}");
    let ranks = "select count(*) filter (where rank = place)::bigint - count(*)
                 from (select rank, row_number() over (order by id) as place from catalog.products) as placed";
    assert_eq!(number(&database, ranks).await, 0, "ranks have no gap after a rejected row");
}

#[tokio::test]
async fn nothing_depends_on_the_order_of_products_and_styles_in_their_files() {
    let (dir, sorted, shuffled) =
        (work_dir(), Database::create().await.unwrap(), Database::create().await.unwrap());
    stdout(&run(&dir, &sorted.url(), &["load", "set"]));
    for file in ["product.csv", "skus.csv"] {
        // Stable, so that rows of one parent keep their order: 17 is not a factor of any count here.
        edit(&dir, file, |lines| {
            lines[1..].sort_by_key(|line| {
                let parent = line.split(',').nth(usize::from(file == "skus.csv")).unwrap();
                parent.parse::<u32>().unwrap() % 17
            });
        });
    }
    // Styles with distant ids, in every file that references them.
    let far = |id: &str| (id.parse::<u64>().unwrap() * 100_003 % 1_000_000_007).to_string();
    let renumber = |lines: &mut Vec<String>, column: usize| {
        for line in &mut lines[1..] {
            let mut fields: Vec<String> = line.splitn(3, ',').map(str::to_owned).collect();
            fields[column] = far(&fields[column]);
            *line = fields.join(",");
        }
    };
    edit(&dir, "styles.csv", |lines| renumber(lines, 0));
    edit(&dir, "photos.csv", |lines| renumber(lines, 1));
    edit(&dir, "skus.csv", |lines| renumber(lines, 1));
    stdout(&run(&dir, &shuffled.url(), &["load", "set"]));

    let (sorted, shuffled) = (documents(&sorted).await, documents(&shuffled).await);
    assert_eq!(sorted.len(), shuffled.len());
    let plain = |gzipped: &[u8]| {
        let size = u32::from_le_bytes(gzipped[gzipped.len() - 4..].try_into().unwrap()) as usize;
        let mut plain = vec![0; size];
        libdeflater::Decompressor::new().gzip_decompress(gzipped, &mut plain).unwrap();
        String::from_utf8(plain).unwrap()
    };
    for (before, after) in sorted.iter().zip(&shuffled) {
        assert_eq!((before.0, &before.1, &before.3), (after.0, &after.1, &after.3));
        let mut expected = String::new();
        for (index, part) in plain(&before.2).split("\"style_id\":").enumerate() {
            if index == 0 {
                expected.push_str(part);
                continue;
            }
            let (id, rest) = part.split_once(',').unwrap();
            expected.push_str(&format!("\"style_id\":{},{rest}", far(id)));
        }
        assert_eq!(plain(&after.2), expected);
    }
}

#[tokio::test]
async fn a_killed_load_resumes_and_ends_like_an_undisturbed_one() {
    let (dir, killed, undisturbed) =
        (work_dir(), Database::create().await.unwrap(), Database::create().await.unwrap());
    stdout(&run(&dir, &undisturbed.url(), &["load", "set"]));

    for step in ["styles.csv done", "indexing done", "assembling done"] {
        let mut child =
            atelier_etl(&dir, &killed.url(), &["load", "set"]).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            if line.starts_with(step) {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
    }
    let output = run(&dir, &killed.url(), &["load", "set"]);
    stdout(&output);
    let lines = String::from_utf8(output.stderr).unwrap();
    assert!(
        lines.contains("resuming load 1")
            || number(&killed, "select count(*) from etl.publication").await > 1
    );
    assert_eq!(documents(&killed).await, documents(&undisturbed).await);
    let unfinished = "select count(*) from etl.load where step not in ('published', 'abandoned')";
    assert_eq!(number(&killed, unfinished).await, 0);
}

#[tokio::test]
async fn a_load_of_changed_files_starts_from_scratch_and_says_so() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let name = dir.path().join("set").canonicalize().unwrap();
    assert_eq!(name.file_name(), Some(Path::new("set").as_os_str()));
    database
        .connect()
        .await
        .unwrap()
        .batch_execute(
            "insert into etl.load (dataset) values ('set');
             insert into etl.load_file (generation, file, size_bytes, version) values (1, 'skus.csv', 1, 'old')",
        )
        .await
        .unwrap();
    let output = run(&dir, &database.url(), &["load", "set"]);
    stdout(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("abandoned an unfinished load of other files"));
    assert_eq!(number(&database, "select count(*) from etl.load where step = 'abandoned'").await, 1);
}

// Two threads: one waits for the program while the other closes the connection that holds the lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_load_waits_for_the_first_and_says_so() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    stdout(&run(&dir, &database.url(), &["migrate"]));
    let first = database.connect().await.unwrap();
    etl::locks::lock_loader(&first, None, || panic!("no other loader runs")).await.unwrap();

    let mut second =
        atelier_etl(&dir, &database.url(), &["load", "set"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "another load is running: waiting for it to end");
    assert_eq!(number(&database, "select count(*) from etl.load").await, 0);
    drop(first);
    let mut rest = String::new();
    for line in lines.map_while(Result::ok) {
        rest.push_str(&line);
    }
    assert!(second.wait().unwrap().success(), "{rest}");
}

#[tokio::test]
async fn the_program_and_each_command_have_help() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["generate", "load", "migrate", "status", "publish", "prune", "rollback"] {
        let help = stdout(&run(&dir, "", &[command, "--help"]));
        assert!(help.contains("Usage: atelier-etl"), "{help}");
    }
    let mut child = atelier_etl(&dir, "", &["--help"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut help = String::new();
    child.stdout.take().unwrap().read_to_string(&mut help).unwrap();
    assert!(help.contains("Exit codes"), "{help}");
    child.wait().unwrap();
}
