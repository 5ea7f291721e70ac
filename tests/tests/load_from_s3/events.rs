//! Events in any order, concurrent or damaged.

use std::time::Duration;

use conformance::small_dataset;
use serde_json::Value;

use crate::support::events::{self, Arrived};
use crate::support::incoming::{failed, message};
use crate::support::s3::{assert_served, generated, handle_all, serving};

#[tokio::test]
async fn two_interleaved_datasets_are_published_in_the_order_of_their_last_events() {
    let (incoming, _) = serving().await;
    let set = generated().await;
    let six = |records: Vec<Value>| {
        records.into_iter().filter(|record| !events::key(record).ends_with("cart.csv")).collect::<Vec<_>>()
    };
    let spring = six(incoming.put_folder("spring", &small_dataset()).await);
    let autumn = six(incoming.put_folder("autumn", set.folder.path()).await);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all = [spring, autumn].concat();
    random.shuffle(&mut all);
    handle_all(&incoming, &all).await.unwrap();
    let whole_at = |name: &str| all.iter().rposition(|record| events::key(record).contains(name)).unwrap();
    let expected = if whole_at("spring") < whole_at("autumn") { "spring autumn" } else { "autumn spring" };
    let order = "select string_agg(dataset, ' ' order by publication.id) from etl.publication
                 join etl.load using (generation) where generation > 1";
    assert_eq!(incoming.text(order).await, expected, "seed {seed}");
}

#[tokio::test]
async fn two_concurrent_invocations_with_short_deadlines_finish_the_load() {
    let (incoming, served) = serving().await;
    let set = generated().await;
    let last = incoming.put_folder("spring", set.folder.path()).await.pop().unwrap();
    let mut time = Duration::from_millis(1);
    loop {
        let invocation = |id: &'static str| {
            let (incoming, event) = (incoming.clone(), message(id, &last));
            tokio::spawn(async move { failed(&incoming.handle(&event, time).await).is_empty() })
        };
        let (one, two) = tokio::join!(invocation("1"), invocation("2")); // both end before the next check
        if one.unwrap() && two.unwrap() {
            break;
        }
        if incoming.published().await == 1 {
            assert_served(&incoming, &served).await;
        }
        time *= 2;
    }
    assert!(time > Duration::from_millis(2), "one invocation had time for everything");
    assert_served(&incoming, &set.expected).await;
    assert_eq!(incoming.number("select count(*) from etl.load").await, 2);
}

#[tokio::test]
async fn the_function_survives_damaged_events() {
    let arrived = Arrived::create().await;
    events::send_damaged(&arrived, fastrand::u64(..), 150).await;
}
