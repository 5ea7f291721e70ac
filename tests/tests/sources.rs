//! The files of a dataset as people deliver them: compressed, empty, in another encoding or under another name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::path::Path;

use conformance::s3::Bucket;
use conformance::{golden, small_dataset};
use etl::s3::{ReadPolicy, S3};
use etl::source::{Dataset, DatasetLocation};
use libdeflater::{CompressionLvl, Compressor};
use rig::Database;
use support::derivation::derived;
use support::incoming::{content, files, manifest, undisturbed};
use support::loader::{Loader, generated, steps};
use support::s3::{SHORT_TIMEOUTS, Set, assert_same, error_message, folder, load_by_command, summary};
use support::{documents, load};
use tempfile::TempDir;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::fastest());
    let mut stored = vec![0; compressor.gzip_compress_bound(text.len())];
    let length = compressor.gzip_compress(text, &mut stored).unwrap();
    stored.truncate(length);
    stored
}

/// Returns a folder with these files.
fn folder_of<N: AsRef<Path>, C: AsRef<[u8]>>(files: impl IntoIterator<Item = (N, C)>) -> TempDir {
    let folder = folder();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// A shop with two products, and no related products: the header of that file stands alone.
const SHOP: [(&str, &str); 6] = [
    (
        "product.csv",
        "id,name,slogan,description,category,default_price\n1,\"Coat\",\"a\",\"b\",\"c\",185\n2,\"Cap\",\"a\",\"b\",\"c\",22",
    ),
    ("features.csv", "id,product_id,feature,value\n1,1,\"Fabric\",\"Wool\"\n2,1,\"Cut\",null"),
    (
        "styles.csv",
        "id,productId,name,sale_price,original_price,default_style\n1,1,\"Slate\",null,185,1\n2,2,\"Tan\",20,22,0",
    ),
    ("photos.csv", "id,styleId,url,thumbnail_url\n1,1,\"u\",\"t\"\n2,2,\"u\",\"t\""),
    ("skus.csv", "id,styleId,size,quantity\n1,1,\"S\",8\n2,1,\"M\",16"),
    ("related.csv", "id,current_product_id,related_product_id"),
];

/// Returns the shop with another file in place of `name`; none if the content is.
fn shop_with(name: &str, new: Option<(&str, &[u8])>) -> TempDir {
    let others = SHOP.iter().filter(|(file, _)| *file != name).map(|(file, text)| (*file, text.as_bytes()));
    folder_of(others.chain(new))
}

/// Returns the reason why a dataset is refused before any row is read, without the folder's path.
async fn refusal(folder: &Path) -> String {
    let location = DatasetLocation::Folder(folder.to_owned());
    let error = Dataset::open(&location, Some("tested")).await.unwrap_err();
    error.to_string().replace(&format!("{}/", folder.display()), "").replace(folder.to_str().unwrap(), "DIR")
}

#[tokio::test]
async fn a_compressed_file_loads_like_a_plain_one_from_disk_and_from_s3() {
    let expected = undisturbed(&small_dataset()).await;
    let bucket = Bucket::create().await;
    let in_members = |text: &[u8]| text.chunks(100).flat_map(gzip).collect::<Vec<_>>();
    for (what, ending, stored) in [
        ("compressed", ".gz", &gzip as &dyn Fn(&[u8]) -> Vec<u8>),
        ("compressed, without the ending", "", &gzip),
        ("compressed in several members", ".gz", &in_members),
        ("plain, with the ending", ".gz", &<[u8]>::to_vec),
    ] {
        let set = files(&small_dataset()).into_iter().map(|(name, text)| (name + ending, stored(&text)));
        let folder = folder_of(set);
        let loaded = load(folder.path()).await;
        assert_same(&content(&loaded.database).await, &expected, what);
        let rejects = std::fs::read(small_dataset().join("expected/rejects.csv")).unwrap();
        assert!(loaded.rejects == rejects, "{what}: {}", String::from_utf8_lossy(&loaded.rejects));

        let prefix = format!("incoming/{ending}{}/", what.len());
        bucket.put_folder(&prefix, folder.path()).await;
        let from_s3 = Database::create().await.unwrap();
        let arguments = [&*bucket.url(&prefix), "--dataset", "tested"];
        summary(&load_by_command(&from_s3, &bucket.variables(), &arguments));
        assert_same(&content(&from_s3).await, &expected, &format!("{what}, from S3"));
    }
}

#[tokio::test]
async fn one_compressed_file_beside_plain_ones_is_loaded() {
    let expected = undisturbed(shop_with("", None).path()).await;
    let compressed = gzip(SHOP[0].1.as_bytes());
    let folder = shop_with("product.csv", Some(("product.csv.gz", &compressed)));
    assert_same(&undisturbed(folder.path()).await, &expected, "product.csv.gz");
}

#[tokio::test]
async fn a_compressed_file_of_many_ranges_loads_from_s3() {
    let plain = generated(0.001, 3);
    let expected = undisturbed(plain.path()).await;
    let set = files(plain.path()).into_iter().map(|(name, text)| (name + ".gz", gzip(&text)));
    let bucket = Bucket::create().await;
    bucket.put_folder("incoming/spring/", folder_of(set).path()).await;
    let reading = ReadPolicy { range: 16 << 10, ..SHORT_TIMEOUTS };
    let s3 = S3::with_endpoint(&format!("http://{}", bucket.server()), "x", "x").await.with(reading);
    let place = DatasetLocation::S3(s3, bucket.url("incoming/spring/").parse().unwrap());
    let dataset = Dataset::open(&place, None).await.unwrap();
    let photos = dataset.files.iter().find(|file| file.table.file == "photos.csv").unwrap();
    assert!(photos.size > 4 * reading.range, "{}", photos.size);
    let database = Database::create().await.unwrap();
    let rejects = folder();
    let options = etl::load::LoadOptions::new(
        etl::load::OutputTarget::File(rejects.path().join("rejects.csv")),
        etl::progress::Progress::Silent,
    );
    etl::load::load(&database.config(), dataset, options).await.unwrap();
    assert_same(&content(&database).await, &expected, "from S3");
}

#[tokio::test]
async fn a_damaged_gzip_file_fails_the_load_for_good_and_names_the_file() {
    let plain = generated(0.002, 3);
    let photos = gzip(&std::fs::read(plain.path().join("photos.csv")).unwrap());
    assert!(photos.len() > 128 << 10, "the damage must be behind the head: {}", photos.len());
    std::fs::remove_file(plain.path().join("photos.csv")).unwrap();
    let path = plain.path().join("photos.csv.gz");
    let mut wrong_checksum = photos.clone();
    wrong_checksum[photos.len() - 6] ^= 1;
    let database = Database::create().await.unwrap();
    for (stored, reason) in [
        (&photos[..photos.len() / 4 * 3], "ends in the middle of its gzip data: it looks truncated"),
        (&photos[..photos.len() - 1], "ends in the middle of its gzip data: it looks truncated"),
        (&wrong_checksum, "has corrupt gzip data: "),
    ] {
        std::fs::write(&path, stored).unwrap();
        let error = Loader::of_folder(&database, plain.path(), &[]).fails().await;
        let expected = format!("{} {reason}", path.canonicalize().unwrap().display());
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(steps(&database).await, ["failed"; 3]);
    std::fs::write(&path, photos).unwrap();
    Loader::of_folder(&database, plain.path(), &[]).succeeds().await;
}

#[tokio::test]
async fn a_table_without_rows_is_empty() {
    let client = load(shop_with("", None).path()).await.database.connect().await.unwrap();
    let stored = documents(&client).await;
    assert_eq!(stored, derived(&client).await);
    assert_eq!(stored.iter().map(|document| &*document.related).collect::<Vec<_>>(), ["[]", "[]"]);
    let headers = SHOP.iter().map(|(file, text)| match *file {
        "product.csv" => (*file, *text),
        _ => (*file, text.lines().next().unwrap()),
    });
    let client = load(folder_of(headers).path()).await.database.connect().await.unwrap();
    let stored = documents(&client).await;
    assert_eq!(stored, derived(&client).await);
    for document in &stored {
        let id = document.product_id;
        assert!(document.product.ends_with(r#""features":[]}"#), "{}", document.product);
        assert_eq!(document.styles, format!(r#"{{"product_id":"{id}","results":[]}}"#));
        assert_eq!(document.related, "[]");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_loaded_is_refused_with_the_reason() {
    let utf16: Vec<u8> = SHOP[3].1.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let twice = gzip(&gzip(SHOP[3].1.as_bytes()));
    let expected = "expected the header \"id,styleId,url,thumbnail_url\"";
    for (content, reason) in [
        (&utf16[..], "is UTF-16; convert it to UTF-8".to_owned()),
        (&gzip(&utf16), "is UTF-16; convert it to UTF-8".to_owned()),
        (&twice, "is compressed with gzip twice; decompress it once".to_owned()),
        (
            &twice[..20],
            "ends in the middle of its gzip data: it looks truncated; copy the whole file again".to_owned(),
        ),
        (b"PK\x03\x04", "is a ZIP archive; expected CSV in UTF-8, plain or compressed with gzip".to_owned()),
        (b"", format!("is empty: {expected}")),
        (&gzip(b""), format!("is empty: {expected}")),
        (
            b"id,url,thumbnail_url\n",
            format!("has \"id,url,thumbnail_url\" in line 1, with no column styleId: {expected}"),
        ),
        (b"one,two\n", format!("has \"one,two\" in line 1: {expected}, or a row")),
    ] {
        let folder = shop_with("photos.csv", Some(("photos.csv.gz", content)));
        assert_eq!(refusal(folder.path()).await, format!("photos.csv.gz {reason}"));
    }
    let header = SHOP[0].1.lines().next().unwrap();
    let folder = shop_with("product.csv", Some(("product.csv", header.as_bytes())));
    assert_eq!(
        refusal(folder.path()).await,
        "product.csv has no rows: expected at least one below the header"
    );
    let folder = shop_with("product.csv", None);
    std::fs::create_dir(folder.path().join("product.csv")).unwrap();
    assert_eq!(
        refusal(folder.path()).await,
        "cannot read product.csv: not a regular file; check the path and the rights of this user"
    );
    let folder = shop_with("", Some(("cart.csv", b"")));
    assert_eq!(
        refusal(folder.path()).await,
        "cart.csv is empty: expected the header \"id,user_session,product_id,active\""
    );
}

#[tokio::test]
async fn two_files_for_a_table_or_a_similar_name_are_named() {
    let both = shop_with("", Some(("photos.csv.gz", &gzip(SHOP[3].1.as_bytes()))));
    let expected = "has both photos.csv and photos.csv.gz: expected only one of them";
    assert_eq!(refusal(both.path()).await, format!("DIR {expected}"));
    let bucket = Bucket::create().await;
    bucket.put_folder("incoming/spring/", both.path()).await;
    let prefix = bucket.url("incoming/spring/");
    let database = Database::create().await.unwrap();
    let error = error_message(&load_by_command(&database, &bucket.variables(), &[&prefix]));
    assert_eq!(error, format!("{prefix} {expected}"));

    let other_case = shop_with("photos.csv", Some(("Photos.csv", b"")));
    let missing = "DIR is not a complete dataset: photos.csv missing";
    assert_eq!(refusal(other_case.path()).await, format!("{missing} (found Photos.csv)"));
    let without = shop_with("photos.csv", Some(("photos.csv.zip", b"")));
    assert_eq!(refusal(without.path()).await, missing);
}

#[tokio::test]
async fn a_manifest_describes_compressed_files_as_they_are_stored() {
    let mut listed = files(&small_dataset());
    for (name, text) in listed.iter_mut().filter(|(name, _)| name == "photos.csv" || name == "skus.csv") {
        (*name, *text) = (format!("{name}.gz"), gzip(text));
    }
    let set = Set::of(&listed).await;
    let path = set.folder.path().join("manifest.json");
    std::fs::write(&path, manifest(&listed, |_, _| {})).unwrap();
    let loaded = load(set.folder.path()).await;
    assert_same(&content(&loaded.database).await, &set.expected, "with a manifest");
    let client = loaded.database.connect().await.unwrap();
    assert_eq!(support::document(&client, 1).await.styles, golden("/products/1/styles"));

    let plain_name = manifest(&listed, |name, file| file["name"] = name.trim_end_matches(".gz").into());
    std::fs::write(&path, plain_name).unwrap();
    let expected = "photos.csv, skus.csv missing (found photos.csv.gz, skus.csv.gz)";
    assert_eq!(refusal(set.folder.path()).await, format!("DIR is not a complete dataset: {expected}"));
}
