use serde_json::{Value, json};

use super::*;
use crate::deliveries::Prefix;
use crate::deliveries::history::LoadedFile;
use crate::s3::{Object, S3Url};

const SIX: [&str; 6] = ["product.csv", "features.csv", "styles.csv", "photos.csv", "skus.csv", "related.csv"];

/// Returns a delivery of these objects, each with a name and an ETag.
fn delivery(objects: &[(&str, &str)]) -> Delivery {
    let at = |name: &str| S3Url { bucket: "b".to_owned(), key: format!("incoming/spring/{name}") };
    let prefix = Prefix::of_object(&at(MANIFEST), "incoming/").unwrap();
    let names = TABLES.iter().flat_map(|table| [(table, ""), (table, ".gz")]);
    let files = names.filter_map(|(table, suffix)| {
        let (name, etag) = objects.iter().find(|(name, _)| *name == format!("{}{suffix}", table.file))?;
        Some((table, Object { url: at(name), size: 5, etag: format!("\"{etag}\""), modified: 0 }))
    });
    Delivery { files: files.collect(), prefix }
}

/// Returns a delivery of the six files of a day.
fn day(etag: &str) -> Vec<(&'static str, String)> {
    SIX.iter().map(|name| (*name, etag.to_owned())).collect()
}

fn of(files: &[(&'static str, String)]) -> Delivery {
    delivery(&files.iter().map(|(name, etag)| (*name, etag.as_str())).collect::<Vec<_>>())
}

/// Returns a load of these files, in this step.
fn load_of(files: &[(&'static str, String)], step: &str, manifest: Option<&str>) -> Latest {
    let file = |(name, etag): &(&str, String)| LoadedFile {
        name: (*name).to_owned(),
        size: 5,
        etag: format!("\"{etag}\""),
    };
    Latest {
        generation: 3,
        step: step.to_owned(),
        held: false,
        manifest: manifest.map(str::to_owned),
        files: files.iter().map(file).collect(),
    }
}

/// Returns a manifest of these files with this version, whose entries `change` can modify.
fn manifest(
    files: &[(&'static str, String)],
    version: &str,
    change: impl Fn(&str, &mut Value),
) -> Option<Result<Manifest, SourceError>> {
    let listed = files.iter().map(|(name, etag)| {
        let mut file = json!({ "name": name, "size": 5, "etag": etag });
        change(name, &mut file);
        file
    });
    let json = json!({ "files": listed.collect::<Vec<_>>() }).to_string();
    let mut manifest = Manifest::parse(json.as_bytes()).unwrap();
    manifest.version = Some(version.to_owned());
    Some(Ok(manifest))
}

/// Returns the kind of a plan, and its reason.
fn kind(plan: Plan) -> (&'static str, String) {
    match plan {
        Plan::Load { manifest, without_cart } => {
            let manifest = manifest.and_then(|manifest| manifest.version).unwrap_or_default();
            (if without_cart { "load without cart" } else { "load" }, manifest)
        }
        Plan::Nothing(reason) => ("nothing", reason),
        Plan::Wait(reason) => ("wait", reason),
        Plan::Mismatch(reason) => ("mismatch", reason),
        Plan::Ignore(reason) => ("ignore", reason),
        Plan::Refuse(reason) => ("refuse", reason),
        Plan::Invalid(reason) => ("invalid", reason),
    }
}

fn invalid() -> Option<Result<Manifest, SourceError>> {
    let cause = Manifest::parse(b"{}").unwrap_err();
    Some(Err(SourceError::Manifest { location: "s3://b/m".to_owned(), cause }))
}

fn with_cart(mut files: Vec<(&'static str, String)>, etag: &str) -> Vec<(&'static str, String)> {
    files.push(("cart.csv", etag.to_owned()));
    files
}

fn unchanged(_: &str, _: &mut Value) {}

#[test]
fn a_first_load_needs_all_six_files_and_what_its_manifest_lists() {
    let five = of(&day("a")[..5]);
    assert_eq!(kind(plan(&five, None, None, None)), ("wait", "waiting for related.csv".to_owned()));
    assert_eq!(kind(plan(&of(&day("a")), None, None, None)).0, "load");
    let zipped =
        delivery(&SIX.map(|name| if name == "photos.csv" { ("photos.csv.gz", "a") } else { (name, "a") }));
    assert_eq!(kind(plan(&zipped, None, None, None)).0, "load");
    let listed = manifest(&day("a"), "m", unchanged);
    let (found, reason) = kind(plan(&zipped, listed, None, None));
    assert!(found == "mismatch" && reason.starts_with("photos.csv missing: "), "{reason}");
    let names = manifest(&day("a"), "m", |_, file| drop(file.as_object_mut().unwrap().remove("etag")));
    assert_eq!(
        kind(plan(&of(&day("b")), names, None, None)),
        ("load", "m".to_owned()),
        "the names are enough"
    );
    let (found, reason) = kind(plan(&of(&day("b")), manifest(&day("a"), "m", unchanged), None, None));
    assert!(
        found == "mismatch" && reason.contains("product.csv has the ETag b: the manifest says a"),
        "{reason}"
    );
    let with_cart = manifest(&with_cart(day("a"), "a"), "m", unchanged);
    let (found, reason) = kind(plan(&of(&day("a")), with_cart, None, None));
    assert!(found == "mismatch" && reason.starts_with("cart.csv missing"), "{reason}");
    assert_eq!(kind(plan(&of(&day("a")), invalid(), None, None)).0, "invalid");
    let mut twice: Vec<_> = SIX.iter().map(|name| (*name, "a")).collect();
    twice.push(("skus.csv.gz", "a"));
    let reason = "s3://b/incoming/spring/ has skus.csv and skus.csv.gz: delete one of them";
    assert_eq!(kind(plan(&delivery(&twice), None, None, None)), ("invalid", reason.to_owned()));
}

#[test]
fn the_same_files_are_loaded_once_and_an_unfinished_load_resumes() {
    let files = of(&day("a"));
    let of_load = |step: &str, manifest, latest_manifest| {
        kind(plan(&files, manifest, Some(&load_of(&day("a"), step, latest_manifest)), None))
    };
    for step in ["load", "index", "assemble", "publish", "abandoned"] {
        assert_eq!(of_load(step, None, None).0, "load", "{step}");
    }
    let m = || manifest(&day("a"), "m", unchanged);
    let next = || manifest(&day("b"), "next", unchanged);
    assert_eq!(of_load("load", m(), Some("m")), ("load", "m".to_owned()));
    assert_eq!(
        of_load("load", next(), None),
        ("load", String::new()),
        "the next manifest is not of this load"
    );
    assert_eq!(of_load("load", next(), Some("m")).0, "mismatch", "the manifest of this load is replaced");
    assert_eq!(of_load("published", None, None), ("nothing", "already loaded as generation 3".to_owned()));
    assert_eq!(of_load("published", m(), None).0, "nothing");
    assert_eq!(of_load("failed", None, None).0, "nothing");
    assert_eq!(of_load("failed", m(), Some("m")).0, "nothing");
    assert_eq!(of_load("failed", m(), None), ("load", "m".to_owned()), "a new manifest describes each file");
    assert_eq!(of_load("failed", next(), None).0, "mismatch");
    let held = Latest { held: true, ..load_of(&day("a"), "publish", None) };
    assert_eq!(kind(plan(&files, None, Some(&held), None)).0, "nothing");
}

#[test]
fn other_files_are_loaded_only_with_a_new_manifest_that_describes_each_of_them() {
    let mut mixed = day("a");
    mixed[3].1 = "b".to_owned();
    for step in ["load", "published", "failed", "abandoned"] {
        let loaded = |manifest| Some(load_of(&day("a"), step, manifest));
        let (found, reason) = kind(plan(&of(&mixed), None, loaded(None).as_ref(), None));
        assert!(
            found == "ignore" && reason.starts_with("photos.csv changed after load 3"),
            "{step}: {reason}"
        );
        let new = || manifest(&day("b"), "m", unchanged);
        assert_eq!(kind(plan(&of(&mixed), new(), loaded(None).as_ref(), None)).0, "mismatch", "{step}");
        assert_eq!(kind(plan(&of(&mixed), new(), loaded(Some("m")).as_ref(), None)).0, "ignore", "{step}");
        assert_eq!(kind(plan(&of(&day("b")), new(), loaded(Some("old")).as_ref(), None)).0, "load", "{step}");
        assert_eq!(kind(plan(&of(&day("b")), invalid(), loaded(None).as_ref(), None)).0, "invalid", "{step}");
        for member in ["size", "etag"] {
            let weak = manifest(&day("b"), "m", |name, file| {
                if name == "skus.csv" {
                    file.as_object_mut().unwrap().remove(member);
                }
            });
            let (found, reason) = kind(plan(&of(&day("b")), weak, loaded(None).as_ref(), None));
            assert!(found == "mismatch" && reason.contains("skus.csv has no size, or neither"), "{reason}");
        }
    }
}

/// A file with the old size passes the check of the manifest until its hash is read.
#[test]
fn a_manifest_whose_load_failed_may_describe_a_file_that_arrived_later() {
    let hashes = || {
        manifest(&day("b"), "m", |_, file| {
            file.as_object_mut().unwrap().remove("etag");
            file["sha256"] = "0".repeat(64).into();
        })
    };
    let mut mixed = day("b");
    mixed[3].1 = "a".to_owned();
    let failed = load_of(&mixed, "failed", Some("m"));
    assert_eq!(kind(plan(&of(&mixed), hashes(), Some(&failed), None)).0, "nothing");
    assert_eq!(kind(plan(&of(&day("b")), hashes(), Some(&failed), None)).0, "load");
    let published = load_of(&mixed, "published", Some("m"));
    assert_eq!(kind(plan(&of(&day("b")), hashes(), Some(&published), None)).0, "ignore");
}

#[test]
fn a_cart_that_arrives_after_the_load_began_is_reported() {
    let files = of(&with_cart(day("a"), "c"));
    let loaded = |step| load_of(&day("a"), step, None);
    let (found, reason) = kind(plan(&files, None, Some(&loaded("published")), None));
    assert!(
        found == "ignore" && reason.starts_with("cart.csv arrived after the load of s3://b/incoming"),
        "{reason}"
    );
    assert_eq!(kind(plan(&files, None, Some(&loaded("load")), None)).0, "load without cart");
    assert_eq!(kind(plan(&files, None, Some(&loaded("abandoned")), None)).0, "load without cart");
    let seven = manifest(&with_cart(day("a"), "c"), "m", unchanged);
    assert_eq!(kind(plan(&files, seven, Some(&loaded("published")), None)), ("load", "m".to_owned()));
    let six = || manifest(&day("a"), "m", unchanged);
    assert_eq!(
        kind(plan(&files, six(), Some(&loaded("published")), None)).0,
        "nothing",
        "it leaves cart.csv out"
    );
    let (found, reason) =
        kind(plan(&files, manifest(&day("b"), "m", unchanged), Some(&loaded("published")), None));
    assert_eq!(found, "nothing", "{reason}");
}

#[test]
fn a_file_that_is_replaced_before_the_delivery_is_complete_needs_a_manifest() {
    let now = day("b");
    let plan =
        |files: &[(&'static str, String)], listed| kind(plan(&of(files), listed, None, Some("product.csv")));
    assert_eq!(plan(&now, None).0, "refuse");
    assert_eq!(plan(&now[..5], None).0, "refuse");
    assert_eq!(plan(&now, manifest(&now, "m", |_, _| {})).0, "load");
    let names = manifest(&now, "m", |_, file| *file = json!({ "name": file["name"] }));
    assert_eq!(plan(&now, names).0, "mismatch");
    assert_eq!(of(&now).replaced_since("product.csv \"a\"\nskus.csv \"b\""), Some("product.csv"));
    assert_eq!(of(&now).replaced_since("skus.csv \"b\""), None);
}
