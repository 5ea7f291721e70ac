//! The files beside a dataset's files: the rejects that a load writes, and the manifest that it reads.

use std::collections::HashMap;

use conformance::s3::refusal::ACCESS_DENIED;
use conformance::s3::variables;
use conformance::small_dataset;
use http::Method;
use rig::{Database, Fault, HttpProxy};
use serde_json::{Value, json};

use crate::support;
use crate::support::incoming::{Incoming, files, manifest, undisturbed};
use crate::support::s3::{
    FaultSwitch, SHORT_TIMEOUTS, assert_served, error_message, folder, generated, handle_all,
    load_by_command, serving, summary,
};

#[tokio::test]
async fn the_command_writes_rejected_rows_to_s3_as_to_a_file() {
    let incoming = Incoming::create().await;
    incoming.bucket.put_folder("incoming/spring/", &small_dataset()).await;
    let (url, rejects) = (incoming.bucket.url("incoming/spring/"), incoming.bucket.url("rejects"));
    let variables = incoming.bucket.variables();
    let output = summary(&load_by_command(
        &incoming.database,
        &variables,
        &[&url, "--rejects", &rejects, "--dataset", "named"],
    ));
    assert!(output.contains(&format!("rejected rows, in {rejects}/named/1.csv:")), "{output}");
    let from_folder = support::load_into(Database::create().await.unwrap(), &small_dataset()).await;
    assert_eq!(incoming.bucket.get("rejects/named/1.csv").await.unwrap(), from_folder.rejects);
    let json: Value =
        serde_json::from_slice(&incoming.bucket.get("rejects/named/1.json").await.unwrap()).unwrap();
    assert_eq!((&json["dataset"], &json["source"]), (&json!("named"), &json!(url)));
    assert_eq!((&json["generation"], &json["failure"]), (&json!(1), &Value::Null));
    for file in json["files"].as_array().unwrap() {
        let number = |name: &str| file[name].as_u64().unwrap();
        assert_eq!(number("read"), number("loaded") + number("rejected"), "{file}");
        let key = format!("incoming/spring/{}", file["file"].as_str().unwrap());
        assert_eq!(file["version"], incoming.bucket.etag(&key).await.unwrap());
    }
    let keys: Vec<_> = incoming.bucket.list("rejects").await.into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["rejects/named/1.csv", "rejects/named/1.json"]);
}

#[tokio::test]
async fn nothing_is_published_while_rejected_rows_cannot_be_written() {
    let (incoming, served) = serving().await;
    let expected = undisturbed(generated().await.folder.path()).await;
    let records = incoming.put_folder("spring", generated().await.folder.path()).await;
    let url = incoming.bucket.url("incoming/spring/");
    let switch = FaultSwitch::default();
    let script_switch = switch.clone();
    let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
        if seen.method == Method::PUT && !script_switch.is_off() { ACCESS_DENIED } else { Fault::None }
    });
    let refused = incoming.through(&proxy, SHORT_TIMEOUTS).await;
    let error = handle_all(&refused, &records).await.unwrap_err();
    let place = incoming.bucket.url("rejects/spring/2.csv");
    assert!(error.contains(&place) && error.contains("S3 returned 403, AccessDenied"), "{error}");
    let rejects = incoming.bucket.url("rejects");
    let line = error_message(&load_by_command(
        &incoming.database,
        &variables(proxy.address()),
        &[&url, "--rejects", &rejects],
    ));
    assert!(line.contains(&place) && line.contains("S3 returned 403, AccessDenied"), "{line}");
    assert_eq!(incoming.published().await, 1);
    assert_served(&incoming, &served).await;
    let recorded = "select step || ': ' || reason from etl.load where generation = 2";
    assert_eq!(incoming.text(recorded).await, format!("assemble: {line}"));
    switch.turn_off();
    assert!(refused.is_done(&records[0]).await);
    assert_served(&incoming, &expected).await;
    assert_eq!(
        incoming.number("select max(generation)::bigint from etl.load").await,
        2,
        "the same load resumes"
    );
    assert!(incoming.bucket.get("rejects/spring/2.json").await.is_some());
}

#[tokio::test]
async fn the_command_verifies_a_manifest_in_s3_as_in_a_folder() {
    let (incoming, served) = serving().await;
    let folder = folder();
    for (name, content) in files(&small_dataset()) {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let prefix = incoming.bucket.url("incoming/spring/");
    incoming.bucket.put_folder("incoming/spring/", folder.path()).await;
    let listed = files(folder.path());
    let of = |wanted: &'static str, member: &'static str, value: Value| {
        manifest(&listed, move |name, file| {
            if name == wanted {
                file[member] = value.clone();
            }
        })
    };
    let zeros = "0".repeat(64);
    let wrong = [
        (of("skus.csv", "size", 1.into()), "skus.csv has 246 bytes: the manifest says 1"),
        (of("skus.csv", "sha256", zeros.into()), "skus.csv has the SHA-256"),
        (of("skus.csv", "sha256", "0".into()), "expected 64 hexadecimal digits"),
        (of("skus.csv", "name", "sku.csv".into()), "lists \"sku.csv\""),
        ("{}".to_owned(), "expected {\"files\""),
    ];
    let right = manifest(&listed, |_, _| {});
    let mut places = HashMap::from([("s3", prefix.clone())]);
    places.insert("folder", folder.path().to_str().unwrap().to_owned());
    for (nth, (manifest, reason)) in wrong.into_iter().enumerate() {
        std::fs::write(folder.path().join("manifest.json"), &manifest).unwrap();
        incoming.bucket.put("incoming/spring/manifest.json", manifest).await;
        for (kind, place) in &places {
            let output = load_by_command(&incoming.database, &incoming.bucket.variables(), &[place]);
            let line = error_message(&output);
            assert!(line.contains(reason), "{kind} {nth}: {line}");
        }
    }
    assert_eq!(incoming.published().await, 1);
    assert_served(&incoming, &served).await;
    let failed = "select count(*) from etl.load where step = 'failed' and reason like '%SHA-256%'";
    assert_eq!(incoming.number(failed).await, 2, "a mismatch that is visible at once starts no load");
    std::fs::write(folder.path().join("manifest.json"), &right).unwrap();
    incoming.bucket.put("incoming/spring/manifest.json", right).await;
    for place in places.values() {
        summary(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[place]));
    }
    assert_eq!(incoming.published().await, 3);
    let verified = "select count(*) from etl.load_file join etl.publication using (generation)
                    where verified and generation > 1";
    assert_eq!(incoming.number(verified).await, 14);
    incoming.bucket.delete("incoming/spring/cart.csv").await;
    let line = error_message(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[&prefix]));
    assert_eq!(line, format!("{prefix} is not a complete dataset: cart.csv missing"));
}
