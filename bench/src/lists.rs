//! Lists: the latency of pages, categories, searches and cards on a host without a cache, one request after the other.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Options;
use crate::env::Env;
use crate::server::{Client, Server};
use crate::turns::median;

/// The number of requests of each kind.
const REQUESTS: usize = 200;

/// The number of products of a page, and of cards.
const COUNT: usize = 12;

/// The most frequent words of names, each pair of which is searched for.
const FREQUENT_WORDS: usize = 12;

/// Measures each kind of request on the first build's host and prints one line per kind.
pub(crate) async fn measure(env: &Env, options: &Options) -> Result<()> {
    let highest = env.load_all().await?;
    let build = env.builds.first().context("no build")?;
    let server = Server::start(build.host(env, 0)?).await?;
    let client = Client::new();
    let json = async |path: &str| -> Result<Vec<Value>> {
        Ok(serde_json::from_slice(&client.get(server.listen, path, "identity").await?)?)
    };
    let (categories, sample) = (json("/categories").await?, json("/products?count=1000").await?);
    let category = categories.iter().max_by_key(|category| category["products"].as_i64());
    let category = category.context("no categories")?;
    let category_size = category["products"].as_u64().unwrap_or_default();
    let category = category["category"].as_str().unwrap_or_default();
    let category: String = form_urlencoded::byte_serialize(category.as_bytes()).collect();
    let names: Vec<Vec<String>> = sample
        .iter()
        .map(|product| {
            let words = shared::catalog::words(product["name"].as_str().unwrap_or_default());
            words.filter(|word| word.len() >= shared::catalog::MIN_WORD).collect()
        })
        .collect();
    let mut frequencies = BTreeMap::<&str, usize>::new();
    for word in names.iter().flatten() {
        *frequencies.entry(word).or_default() += 1;
    }
    let mut frequent: Vec<_> = frequencies.into_iter().map(|(word, frequency)| (frequency, word)).collect();
    frequent.sort_unstable_by(|one, other| other.cmp(one));
    frequent.truncate(FREQUENT_WORDS);
    let frequent: Vec<&str> = frequent.into_iter().map(|(_, word)| word).collect();
    let pairs = frequent.iter().flat_map(|one| frequent.iter().map(move |other| format!("{one}+{other}")));

    let repeated = |path: String| vec![path; REQUESTS];
    let last = |products: u64| products.div_ceil(COUNT as u64).max(1);
    let ids = |number: usize| {
        let id = |n: usize| (number * 7919 + n * 104_729) % usize::try_from(highest).unwrap_or(1) + 1;
        (0..COUNT).map(|n| id(n).to_string()).collect::<Vec<_>>().join(",")
    };
    let kinds: [(&str, Vec<String>); 9] = [
        ("first page of the list", repeated(format!("/products?count={COUNT}"))),
        ("first page of a category", repeated(format!("/products?category={category}&count={COUNT}"))),
        (
            "last page of a category",
            repeated(format!("/products?category={category}&count={COUNT}&page={}", last(category_size))),
        ),
        ("search for the words of a name", {
            let names = names.iter().take(REQUESTS).filter(|words| !words.is_empty());
            names.map(|words| format!("/products?q={}", words[..words.len().min(4)].join("+"))).collect()
        }),
        ("search for a frequent word", frequent.iter().map(|word| format!("/products?q={word}")).collect()),
        (
            "search for three letters of a frequent word",
            frequent
                .iter()
                .map(|word| format!("/products?q={}", word.chars().take(3).collect::<String>()))
                .collect(),
        ),
        ("search for two frequent words", pairs.map(|pair| format!("/products?q={pair}")).collect()),
        ("cards of a page", repeated(format!("/cards?count={COUNT}"))),
        ("cards by id", (0..REQUESTS).map(|number| format!("/cards?ids={}", ids(number))).collect()),
    ];
    println!(
        "host without a cache, {highest} products, one request after the other, {} rounds:",
        options.rounds
    );
    println!("| request | requests | median ms | slowest ms |\n|---|---|---|---|");
    for (kind, paths) in kinds {
        let mut milliseconds = vec![f64::INFINITY; paths.len()];
        for _ in 0..options.rounds.max(2) {
            for (path, fastest) in paths.iter().zip(&mut milliseconds) {
                let started = Instant::now();
                client.get(server.listen, path, "identity").await?;
                *fastest = fastest.min(started.elapsed().as_secs_f64() * 1e3); // without waits for a disk
            }
        }
        let slowest = milliseconds.iter().copied().fold(0.0, f64::max);
        println!("| {kind} | {} | {:.2} | {slowest:.2} |", paths.len(), median(&milliseconds));
    }
    server.stop().await
}
