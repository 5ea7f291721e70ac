//! Writers of product.csv, features.csv, related.csv and cart.csv.

use std::io;

use crate::Set;
use crate::draw::{Draw, Purpose};
use crate::oddity;
use crate::output::Output;
use crate::words;

/// The number of products with 0, 1, 2... features, of 100,000: 2.219 on average.
const FEATURE_COUNTS: [u64; 6] = [8_000, 21_037, 32_000, 22_963, 12_000, 4_000];

/// The number of products with 0, 1, 2... related products, of 100,000: 4.508 on average.
const RELATED_COUNTS: [u64; 10] = [5_000, 6_000, 9_000, 12_000, 9_179, 26_821, 15_000, 9_000, 5_000, 3_000];

/// The number of first products with fixed counts, which the irregularities placed among them need.
pub(crate) const PLACED: u64 = 10;

/// Typical shop prices.
const PRICES: [u64; 16] = [15, 19, 24, 29, 35, 40, 49, 59, 65, 79, 89, 99, 120, 140, 240, 450];

/// Returns the price of a product, which its styles share.
pub(crate) fn price(set: Set, product_id: u64) -> u64 {
    if oddity::FREE.applies_to(set.seed, product_id) {
        0
    } else if oddity::DEAREST.applies_to(set.seed, product_id) {
        500_000_000
    } else {
        let mut draw = Draw::new(set.seed, Purpose::Price, product_id);
        draw.one_of(&PRICES) + draw.below(3)
    }
}

/// Writes product.csv.
pub(crate) fn products(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    for id in 1..=set.products {
        let draw = &mut Draw::new(set.seed, Purpose::ProductText, id);
        let category = draw.one_of(&words::CATEGORIES);
        out.row(id)?.number(id).text(",\"").text(draw.one_of(&words::MANNERS));
        out.text(" ").text(draw.one_of(&words::THINGS)).text(" ").text(category);
        out.text("\",\"").text(draw.one_of(&words::SLOGAN_STARTS));
        out.text(" ").text(draw.one_of(&words::SLOGAN_ENDS)).text("\",\"");
        // An odd step: up to four sentences without a repetition.
        let (first, step) = (draw.index(words::SENTENCES.len()), 1 + 2 * draw.index(12));
        for sentence in 0..2 + draw.index(3) {
            out.text(if sentence == 0 { "" } else { " " });
            out.text(words::SENTENCES[(first + sentence * step) % words::SENTENCES.len()]);
        }
        out.text("\",\"").text(category).text("\",").text(set.currency()).number(price(set, id));
    }
    Ok(())
}

/// Writes features.csv.
pub(crate) fn features(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    let mut id = 0;
    for product_id in 1..=set.products {
        let draw = &mut Draw::new(set.seed, Purpose::Features, product_id);
        let count = match product_id {
            _ if oddity::NO_FEATURES.applies_to(set.seed, product_id) => 0,
            1..=PLACED => 2,
            _ => draw.count(&FEATURE_COUNTS),
        };
        for _ in 0..count {
            id += 1;
            out.row(product_id)?.number(id).text(",").number(product_id).text(",\"");
            if draw.once_in(4) {
                out.text(draw.one_of(&words::CERTIFICATES)).text("\",null");
                continue;
            }
            let (feature, values) = draw.one_of(&words::FEATURES);
            let value =
                if oddity::NULL_AS_TEXT.applies_to(set.seed, id) { "null" } else { draw.one_of(values) };
            out.text(feature).text("\",\"").text(value).text("\"");
        }
    }
    Ok(())
}

/// Writes related.csv.
pub(crate) fn related(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    let mut id = 0;
    for product_id in 1..=set.products {
        let draw = &mut Draw::new(set.seed, Purpose::Related, product_id);
        let count = match product_id {
            _ if oddity::NO_RELATED.applies_to(set.seed, product_id) => 0,
            1..=PLACED => 4,
            _ => draw.count(&RELATED_COUNTS),
        };
        let mut related_product_id = 0;
        for index in 0..count {
            id += 1;
            related_product_id = match related_product_id {
                _ if oddity::RELATED_TO_ZERO.applies_to(set.seed, id) => 0,
                _ if oddity::RELATED_TO_ITSELF.applies_to(set.seed, id) => product_id,
                before if index > 0 && oddity::RELATED_AGAIN.applies_to(set.seed, id) => before,
                _ => 1 + draw.below(set.products),
            };
            out.row(product_id)?.number(id).text(",").number(product_id).text(",").number(related_product_id);
        }
    }
    Ok(())
}

/// Writes cart.csv: nine rows at any scale, as in the only public file.
pub(crate) fn cart(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    let draw = &mut Draw::new(set.seed, Purpose::Cart, 0);
    for id in 1..=9 {
        let user_session = [2001, 2001, 2002][draw.index(3)];
        out.row(0)?.number(id).text(",").number(user_session).text(",");
        out.number(1 + draw.below(set.products)).text(",").number(draw.below(2));
    }
    Ok(())
}
