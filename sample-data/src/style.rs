//! Writers of styles.csv, photos.csv and skus.csv.

use std::io;

use crate::Set;
use crate::draw::{Draw, Purpose};
use crate::oddity;
use crate::output::Output;
use crate::product::{PLACED, price};
use crate::words;

/// The number of products with 0, 1, 2... styles, of 100,000: 1.958 on average.
const STYLE_COUNTS: [u64; 7] = [12_000, 31_096, 28_000, 14_904, 8_000, 4_000, 2_000];

/// The number of styles with 0, 1, 2... photos, of 100,000 that are not bare: 2.979 on average, 2.888 with bare ones.
const PHOTO_COUNTS: [u64; 7] = [4_000, 14_000, 25_140, 19_860, 18_000, 12_000, 7_000];

/// The number of styles with 0, 1, 2... SKUs, of 100,000 that are not bare: 5.964 on average, 5.783 with bare ones.
const SKU_COUNTS: [u64; 15] = [
    4_000, 7_000, 3_000, 4_000, 6_000, 4_808, 28_000, 21_192, 9_000, 5_000, 4_000, 1_000, 1_000, 1_000, 1_000,
];

/// A style in three files.
#[derive(Debug, Clone, Copy)]
struct Style {
    id: u64,
    product_id: u64,
    /// Its index among the styles of its product.
    index: u64,
    /// The number of styles of its product.
    of: u64,
}

/// Returns all styles, by product.
fn each(set: Set) -> impl Iterator<Item = Style> {
    let by_product = (1..=set.products).flat_map(move |product_id| {
        let of = match product_id {
            _ if oddity::NO_STYLES.applies_to(set.seed, product_id) => 0,
            1..=PLACED => 2,
            _ => Draw::new(set.seed, Purpose::StyleCount, product_id).count(&STYLE_COUNTS),
        };
        (0..of).map(move |index| (product_id, index, of))
    });
    (1..).zip(by_product).map(|(id, (product_id, index, of))| Style { id, product_id, index, of })
}

/// Returns the number of rows of a style in one file.
fn count_of(set: Set, style: Style, draw: &mut Draw, when_placed: u64, weights: &[u64]) -> u64 {
    match style.product_id {
        _ if oddity::BARE_STYLE.applies_to(set.seed, style.id) => 0,
        1..=PLACED => when_placed,
        _ => draw.count(weights),
    }
}

/// Returns the index of a row if the first two rows may be swapped.
fn swapped(index: u64, count: u64, is_swapped: bool) -> u64 {
    if is_swapped && count > 1 && index < 2 { 1 - index } else { index }
}

/// Writes styles.csv.
pub(crate) fn styles(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    for style in each(set) {
        let draw = &mut Draw::new(set.seed, Purpose::StyleRow, style.id);
        let mut original_price = price(set, style.product_id);
        if oddity::STYLE_PRICE.applies_to(set.seed, style.id) {
            original_price = original_price / 2 + 30;
        }
        out.row(style.product_id)?.number(style.id).text(",").number(style.product_id);
        out.text(",\"").text(draw.one_of(&words::COLOURS));
        if draw.once_in(2) {
            out.text(" & ").text(draw.one_of(&words::COLOURS));
        }
        out.text("\",");
        if oddity::SALE_OF_ZERO.applies_to(set.seed, style.id) {
            out.text(set.currency()).text("0");
        } else if oddity::SALE.applies_to(set.seed, style.id) {
            out.text(set.currency()).number(original_price / 4 * 3);
        } else {
            out.text("null");
        }
        let is_default = default_index(set, style) == Some(style.index);
        out.text(",").text(set.currency()).number(original_price).text(if is_default { ",1" } else { ",0" });
    }
    Ok(())
}

/// Returns the index of a product's default style, if there is one.
fn default_index(set: Set, style: Style) -> Option<u64> {
    if oddity::NO_DEFAULT.applies_to(set.seed, style.product_id) {
        return None;
    }
    if style.of < 2 || !oddity::LATER_DEFAULT.applies_to(set.seed, style.product_id) {
        return Some(0);
    }
    Some(1 + Draw::new(set.seed, Purpose::DefaultStyle, style.product_id).below(style.of - 1))
}

/// Writes photos.csv.
pub(crate) fn photos(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    let mut next_id = 1;
    for style in each(set) {
        let draw = &mut Draw::new(set.seed, Purpose::Photos, style.id);
        let count = count_of(set, style, draw, 4, &PHOTO_COUNTS);
        next_id += u64::from(oddity::PHOTO_ID_GAP.applies_to(set.seed, style.id));
        let is_swapped = oddity::SWAPPED_PHOTOS.applies_to(set.seed, style.id);
        let is_odd_scheme = oddity::ODD_SCHEME.applies_to(set.seed, style.id);
        // Two lines or none: after a single one, the rest of the file would be its text.
        let lacks_quote = count > 1 && oddity::UNCLOSED_QUOTES.applies_to(set.seed, style.id);
        let second_unclosed = if lacks_quote { 1 + draw.below((count - 1).min(3)) } else { 0 };
        for index in 0..count {
            let id = next_id + swapped(index, count, is_swapped);
            let photo = Photo::drawn(draw);
            out.row(style.product_id)?.number(id).text(",").number(style.id).text(",\"");
            photo.write(out, photo.width);
            out.text(if is_odd_scheme && index + 1 == count { "\",\"u" } else { "\",\"" });
            photo.write(out, "300");
            let is_unclosed = lacks_quote && (index == 0 || index == second_unclosed);
            out.text(if is_unclosed { "" } else { "\"" });
        }
        next_id += count;
    }
    Ok(())
}

/// The URL of a photo without its width.
struct Photo {
    name: [u8; 26],
    width: &'static str,
    has_ixid: bool,
}

impl Photo {
    fn drawn(draw: &mut Draw) -> Self {
        let mut name = *b"15-----------*************";
        name[13] = b'-';
        let mut bits = draw.next();
        for digit in &mut name[2..13] {
            *digit = b"0123456789"[(bits % 10) as usize];
            bits /= 10;
        }
        let mut bits = draw.next();
        for digit in &mut name[14..] {
            *digit = b"0123456789abcdef"[(bits % 16) as usize];
            bits >>= 4;
        }
        let width = ["668", "1000", "1650", "2089", "2734", "2800"][(bits % 6) as usize];
        Self { name, width, has_ixid: (bits >> 8) % 5 < 3 }
    }

    fn write(&self, out: &mut Output<'_>, width: &str) {
        out.text("https://images.unsplash.com/photo-").bytes(&self.name).text("?ixlib=rb-1.2.1");
        out.text(if self.has_ixid { "&ixid=eyJhcHBfaWQiOjEyMDd9" } else { "" });
        out.text("&auto=format&fit=crop&w=").text(width).text("&q=80");
    }
}

/// Writes skus.csv.
pub(crate) fn skus(set: Set, out: &mut Output<'_>) -> io::Result<()> {
    let mut next_id = 1;
    for style in each(set) {
        let draw = &mut Draw::new(set.seed, Purpose::Skus, style.id);
        let count = count_of(set, style, draw, 6, &SKU_COUNTS);
        let sizes = match count {
            1 => &[words::ONE_SIZE][..],
            2..=6 if style.product_id <= PLACED || !draw.once_in(3) => &words::GARMENT_SIZES[..],
            _ => &words::SHOE_SIZES[..],
        };
        let is_swapped = oddity::SWAPPED_SKUS.applies_to(set.seed, style.id);
        let repeats = count > 1 && oddity::REPEATED_SIZE.applies_to(set.seed, style.id);
        for index in 0..count {
            let place = swapped(index, count, is_swapped);
            let id = next_id + place;
            let size = if repeats && place + 1 == count { place - 1 } else { place };
            let size = sizes[usize::try_from(size).unwrap_or_default()];
            out.row(style.product_id)?.number(id).text(",").number(style.id).text(",\"").text(size);
            out.text(if oddity::SPACED_QUANTITY.applies_to(set.seed, id) { "\", " } else { "\"," });
            out.number(draw.below(60));
        }
        next_id += count;
    }
    Ok(())
}
