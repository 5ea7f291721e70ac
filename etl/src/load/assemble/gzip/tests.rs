use std::fmt::Write as _;
use std::io::Read as _;

use fastrand::Rng;
use flate2::read::{GzDecoder, MultiGzDecoder};

use super::huffman::{Bits, Code, CodeLengths, Frequencies, MAX_CODE_LENGTH, canonical_code, code_lengths};
use super::matches::{Matcher, Tokens};
use super::{Gzip, MAX_BLOCK, MAX_STORED_BLOCK, MEMBER_HEADER, TRAINED_FROM};

/// The limits of RFC 1951, not those of the code under test.
const WINDOW: usize = 32_768;
const MAX_MATCH: usize = 258;
const MEMBER_FRAME: usize = MEMBER_HEADER.len() + 8;

fn compressed(gzip: &mut Gzip, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    gzip.compress(text, &mut out);
    out
}

/// Checks that two decoders return the text, one of which requires complete codes. Returns the size.
fn assert_round_trip(gzip: &mut Gzip, text: &[u8]) -> usize {
    let member = compressed(gzip, text);
    let mut decoded = Vec::new();
    let mut reader = GzDecoder::new(member.as_slice());
    reader.read_to_end(&mut decoded).unwrap();
    assert!(decoded == text, "flate2 decodes another text, of {} bytes", text.len());
    assert!(reader.into_inner().is_empty(), "bytes after the member");
    let mut decoded = vec![0; text.len()];
    let count = libdeflater::Decompressor::new().gzip_decompress(&member, &mut decoded).unwrap();
    assert!(
        count == text.len() && decoded == text,
        "libdeflate decodes another text, of {} bytes",
        text.len()
    );
    assert!(
        member.len() <= largest_member(text.len()),
        "{} bytes for a text of {}",
        member.len(),
        text.len()
    );
    member.len()
}

/// Returns the size of a member with only stored blocks.
fn largest_member(length: usize) -> usize {
    MEMBER_FRAME + length + 5 * length.div_ceil(MAX_STORED_BLOCK).max(1)
}

fn power_of_two(rng: &mut Rng, exponents: std::ops::RangeInclusive<u32>) -> usize {
    1 << rng.u32(exponents)
}

fn random_bytes(rng: &mut Rng, count: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(count).collect()
}

fn product(rng: &mut Rng, id: u32) -> Vec<u8> {
    const NAMES: [&str; 8] =
        ["Forest Green", "Black", "Desert Brown", "Tan", "Ocean Blue", "Grey", "Sky", "White"];
    const SIZES: [&str; 6] = ["XS", "S", "M", "L", "XL", "XXL"];
    let mut text = format!("{{\"product_id\":\"{id}\",\"results\":[");
    for style in 0..rng.u32(1..=4) {
        let name = |rng: &mut Rng| NAMES[rng.usize(..NAMES.len())];
        let (one, other, price) = (name(rng), name(rng), rng.u32(10..900));
        let comma = if style > 0 { "," } else { "" };
        write!(
            text,
            "{comma}{{\"style_id\":{},\"name\":\"{one} & {other}\",\"original_price\":\"{price}\",\
             \"sale_price\":null,\"default?\":{},\"photos\":[",
            id * 5 + style,
            style == 0
        )
        .unwrap();
        for photo in 0..rng.u32(5..=7) {
            let comma = if photo > 0 { "," } else { "" };
            let id = format!("{}-{:012x}", rng.u64(1_480_000_000_000..1_560_000_000_000), rng.u64(..1 << 48));
            let url = format!(
                "https://images.unsplash.com/photo-{id}?ixlib=rb-1.2.1&ixid=eyJhcHBfaWQiOjEyMDd9&auto=format&fit=crop"
            );
            write!(text, "{comma}{{\"thumbnail_url\":\"{url}&w=300&q=80\",\"url\":\"{url}&w=300&q=80\"}}")
                .unwrap();
        }
        text.push_str("],\"skus\":{");
        for (nth, size) in (0..).zip(SIZES) {
            let comma = if nth > 0 { "," } else { "" };
            let (sku, quantity) = (id * 37 + style * 6 + nth, rng.u32(0..60));
            write!(text, "{comma}\"{sku}\":{{\"quantity\":{quantity},\"size\":\"{size}\"}}").unwrap();
        }
        text.push_str("}}");
    }
    text.push_str("]}");
    text.into_bytes()
}

fn products(seed: u64, count: u32) -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(seed);
    (1..=count).map(|id| product(&mut rng, id * 31)).collect()
}

fn trained_with(samples: &[Vec<u8>]) -> Gzip {
    let mut gzip = Gzip::new();
    gzip.train(samples.iter().map(Vec::as_slice));
    gzip
}

fn trained() -> Gzip {
    trained_with(&products(1, 40))
}

/// Returns text of a random alphabet with recurring strings.
fn random_text(rng: &mut Rng, length: usize) -> Vec<u8> {
    let symbols = power_of_two(rng, 0..=8);
    let alphabet = random_bytes(rng, symbols);
    let recurrence = rng.u32(0..100);
    let mut text = Vec::with_capacity(length);
    while text.len() < length {
        if !text.is_empty() && rng.u32(0..100) < recurrence {
            let (farthest, longest) = (power_of_two(rng, 0..=17), power_of_two(rng, 0..=9));
            let distance = rng.usize(1..=farthest.min(text.len()));
            for _ in 0..rng.usize(1..=longest) {
                text.push(text[text.len() - distance]);
            }
        } else {
            text.push(alphabet[rng.usize(..alphabet.len())]);
        }
    }
    text.truncate(length);
    text
}

/// A decoder of tokens that records the matches.
#[derive(Default)]
struct Replay {
    text: Vec<u8>,
    copies: Vec<(usize, usize)>,
}

impl Tokens for Replay {
    fn literals<const COUNT: usize>(&mut self, bytes: [u8; COUNT]) {
        self.text.extend(bytes);
    }

    fn copy(&mut self, length: usize, distance: usize) {
        assert!((3..=MAX_MATCH).contains(&length) && (1..=WINDOW.min(self.text.len())).contains(&distance));
        for _ in 0..length {
            self.text.push(self.text[self.text.len() - distance]);
        }
        self.copies.push((length, distance));
    }
}

fn copies(text: &[u8]) -> Vec<(usize, usize)> {
    let replay = Matcher::new().search(text, Replay::default());
    assert!(replay.text == text);
    replay.copies
}

/// Returns the sum of 2^-length over all codes, in units of 2^-15. A complete code has 2^15.
fn kraft_sum(lengths: &[u32]) -> u32 {
    lengths.iter().filter(|length| **length > 0).map(|length| 1 << (MAX_CODE_LENGTH - length)).sum()
}

const COMPLETE: u32 = 1 << MAX_CODE_LENGTH;

#[test]
fn frames_a_member_as_in_rfc_1952() {
    let member = compressed(&mut Gzip::new(), b"a");
    assert_eq!(member[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
    assert_eq!(member[member.len() - 8..], [0x43, 0xbe, 0xb7, 0xe8, 1, 0, 0, 0]);
}

#[test]
fn round_trips_the_empty_text() {
    assert_eq!(assert_round_trip(&mut Gzip::new(), b""), MEMBER_FRAME + 2);
    assert_eq!(assert_round_trip(&mut trained(), b""), MEMBER_FRAME + 2);
}

#[test]
fn round_trips_every_byte() {
    let (mut untrained, mut trained) = (Gzip::new(), trained());
    for byte in 0..=u8::MAX {
        for gzip in [&mut untrained, &mut trained] {
            assert!(assert_round_trip(gzip, &[byte]) <= MEMBER_FRAME + 3);
            assert_round_trip(gzip, &[byte; 7]);
        }
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for text in [all.clone(), all.repeat(40)] {
        assert_round_trip(&mut untrained, &text);
        assert_round_trip(&mut trained, &text);
    }
}

#[test]
fn stores_incompressible_text() {
    let mut rng = Rng::with_seed(2);
    let (mut untrained, mut trained) = (Gzip::new(), trained());
    for length in
        [1, 2, 100, 5000, 65_534, 65_535, 65_536, 131_071, MAX_BLOCK - 1, MAX_BLOCK, MAX_BLOCK + 1, 1 << 20]
    {
        let text = random_bytes(&mut rng, length);
        assert_round_trip(&mut untrained, &text);
        assert_round_trip(&mut trained, &text);
    }
}

#[test]
fn round_trips_stored_blocks_between_coded_ones() {
    let mut gzip = trained();
    let mut rng = Rng::with_seed(3);
    let json = products(4, 200).concat();
    let coded: Vec<u8> = json.iter().copied().cycle().take(MAX_BLOCK).collect();
    let mut sizes = Vec::new();
    for stored in [1, 2, 5] {
        let text =
            [&coded[..], &random_bytes(&mut rng, MAX_BLOCK * stored), &coded, &coded[..70_000]].concat();
        sizes.push(assert_round_trip(&mut gzip, &text) - MAX_BLOCK * stored);
    }
    assert!(sizes.iter().all(|size| *size < 110_000), "{sizes:?}");
}

#[test]
fn round_trips_runs() {
    let (mut untrained, mut trained) = (Gzip::new(), trained());
    for length in (1..600).chain([65_535, 65_536, 65_537, 300_000]) {
        for text in [vec![b'a'; length], b"ab".iter().copied().cycle().take(length).collect()] {
            assert_round_trip(&mut untrained, &text);
            assert_round_trip(&mut trained, &text);
        }
    }
    let run = copies(&[b'a'; 3000]);
    assert!(run[0].1 == 1 && run.iter().all(|(_, distance)| *distance <= 2), "{run:?}");
    assert_eq!(run.iter().filter(|(length, _)| *length == MAX_MATCH).count(), 11);
    assert!(assert_round_trip(&mut untrained, &vec![0; 1 << 20]) < 9000);
}

#[test]
fn finds_matches_of_each_length() {
    let mut rng = Rng::with_seed(5);
    let string: Vec<u8> = std::iter::repeat_with(|| rng.u8(1..)).take(300).collect();
    for length in 3..=300 {
        let text = [&string[..], &[0; 20], &string[..length], &[0; 20]].concat();
        let found = copies(&text).into_iter().find(|(_, distance)| *distance == 320);
        assert_eq!(found, (length >= 5).then_some((length.min(MAX_MATCH), 320)));
        assert_round_trip(&mut Gzip::new(), &text);
        let at_the_end = &text[..320 + length];
        let found = copies(at_the_end).into_iter().find(|(_, distance)| *distance == 320);
        assert_eq!(found, (length >= 9).then_some((length.min(MAX_MATCH), 320)));
        assert_round_trip(&mut Gzip::new(), at_the_end);
    }
}

#[test]
fn finds_matches_up_to_the_end_of_the_window() {
    let string = random_bytes(&mut Rng::with_seed(6), 64);
    let repeated_after = |distance: usize| [&string[..], &vec![0; distance - 64], &string, &[1; 16]].concat();
    let far =
        |distance: usize| copies(&repeated_after(distance)).into_iter().filter(|copy| copy.1 > 2).collect();
    let in_window: Vec<(usize, usize)> = far(WINDOW);
    assert_eq!(in_window, [(64, WINDOW)]);
    let near: Vec<(usize, usize)> = far(WINDOW - 1);
    assert_eq!(near, [(64, WINDOW - 1)]);
    for outside in [WINDOW + 1, 2 * WINDOW - 1, 2 * WINDOW, 2 * WINDOW + 1, 3 * WINDOW, 4 * WINDOW] {
        let found: Vec<(usize, usize)> = far(outside);
        assert_eq!(found, [], "{outside}");
    }
    for distance in [WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 1, 2 * WINDOW, 2 * WINDOW + 1] {
        assert_round_trip(&mut trained(), &repeated_after(distance));
    }
}

/// Positions are stored modulo 2^16: matches across its multiples must be found too.
#[test]
fn finds_matches_across_the_wrap_of_positions() {
    let string = random_bytes(&mut Rng::with_seed(7), 64);
    for start in (1..=3).flat_map(|nth| (nth << 16) - 140..(nth << 16) + 70) {
        let text = [&vec![0; start][..], &string, &[1; 50], &string].concat();
        let found = copies(&text);
        assert!(found.iter().any(|&(length, distance)| length >= 62 && distance == 114), "{start}");
    }
}

#[test]
fn round_trips_texts_of_many_blocks() {
    let json = products(8, 500).concat();
    let (mut untrained, mut trained) = (Gzip::new(), trained());
    for length in [
        65_534,
        65_535,
        65_536,
        65_537,
        131_072,
        MAX_BLOCK - 1,
        MAX_BLOCK,
        MAX_BLOCK + 1,
        2 * MAX_BLOCK,
        2 << 20,
    ] {
        let text: Vec<u8> = json.iter().copied().cycle().take(length).collect();
        assert!(assert_round_trip(&mut untrained, &text) < length / 4);
        assert!(assert_round_trip(&mut trained, &text) < length / 5);
    }
    let text: Vec<u8> = json.iter().copied().cycle().take(20_000_000).collect();
    assert!(assert_round_trip(&mut trained, &text) < 4_000_000);
}

#[test]
fn compresses_json_nearly_as_well_as_libdeflate() {
    let texts = products(9, 300);
    let (mut untrained, mut trained) = (Gzip::new(), trained());
    let mut libdeflate = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(1).unwrap());
    let mut buffer = vec![0; 1 << 20];
    let (mut plain, mut ours, mut theirs) = (0, 0, 0);
    for text in &texts {
        plain += assert_round_trip(&mut untrained, text);
        ours += assert_round_trip(&mut trained, text);
        theirs += libdeflate.gzip_compress(text, &mut buffer).unwrap();
    }
    assert!(ours * 100 <= theirs * 101, "{ours} bytes, libdeflate {theirs}");
    assert!(ours < plain, "{ours} bytes, without training {plain}");
}

#[test]
fn short_texts_do_not_pay_for_the_trained_header() {
    let (mut untrained, mut trained) = (Gzip::new(), trained());
    assert!(TRAINED_FROM.contains(&trained.trained_from) && trained.trained_from > 128);
    let text = br#"{"product_id":"71697","results":[]}"#;
    assert_eq!(compressed(&mut trained, text), compressed(&mut untrained, text));
    let text = &products(10, 1)[0];
    assert_ne!(compressed(&mut trained, text), compressed(&mut untrained, text));
}

#[test]
fn training_without_samples_keeps_the_fixed_code() {
    let text = &products(11, 1)[0];
    let expected = compressed(&mut Gzip::new(), text);
    for samples in [vec![], vec![vec![]], vec![vec![]; 3]] {
        let mut gzip = trained_with(&samples);
        assert_round_trip(&mut gzip, text);
        assert_eq!(compressed(&mut gzip, text), expected);
    }
}

#[test]
fn training_with_one_symbol_supports_other_texts() {
    for sample in [vec![b'a'], vec![b'a'; 5], vec![0; 100_000], vec![255; 1_000_000]] {
        let mut gzip = trained_with(std::slice::from_ref(&sample));
        assert_round_trip(&mut gzip, &sample);
        for text in products(12, 5) {
            assert_round_trip(&mut gzip, &text);
        }
        gzip.trained_from = 0;
        for text in [b"".as_slice(), b"b", &(0..=255).collect::<Vec<u8>>(), &products(12, 1)[0]] {
            assert_round_trip(&mut gzip, text);
        }
    }
}

#[test]
fn the_trained_code_can_encode_any_text() {
    let mut rng = Rng::with_seed(13);
    let mut gzip = trained();
    gzip.trained_from = 0;
    for _ in 0..300 {
        let length = rng.usize(0..30_000);
        let zeros = vec![0; rng.usize(0..40_000)];
        let text = random_text(&mut rng, length);
        assert_round_trip(&mut gzip, &[&text[..], &zeros, &text, &zeros].concat());
    }
}

#[test]
fn trains_with_large_samples() {
    let sample = products(14, 200).concat();
    assert!(sample.len() > 2 * MAX_BLOCK);
    assert_round_trip(&mut trained_with(std::slice::from_ref(&sample)), &sample);
}

#[test]
fn bytes_depend_on_text_and_samples_only() {
    let texts =
        [products(15, 30), vec![vec![], vec![0; 70_000], random_bytes(&mut Rng::with_seed(16), 300_000)]]
            .concat();
    let samples = products(1, 40);
    let expected: Vec<Vec<u8>> =
        texts.iter().map(|text| compressed(&mut trained_with(&samples), text)).collect();
    let mut used =
        trained_with(&products(17, 10).concat().chunks(100).map(<[u8]>::to_vec).collect::<Vec<_>>());
    used.train(samples.iter().map(Vec::as_slice));
    let mut rng = Rng::with_seed(18);
    for _ in 0..200 {
        let nth = rng.usize(..texts.len());
        assert!(compressed(&mut used, &texts[nth]) == expected[nth], "text {nth}");
    }
}

#[test]
fn appends_members_to_existing_bytes() {
    let mut gzip = trained();
    let texts = products(19, 2);
    let mut out = b"before".to_vec();
    gzip.compress(&texts[0], &mut out);
    let first = out.clone();
    gzip.compress(&texts[1], &mut out);
    assert!(out.starts_with(&first) && out.starts_with(b"before"));
    assert_eq!(out[first.len()..], compressed(&mut gzip, &texts[1]));
    let mut decoded = Vec::new();
    MultiGzDecoder::new(&out[6..]).read_to_end(&mut decoded).unwrap();
    assert_eq!(decoded, texts.concat());
}

#[test]
fn round_trips_random_texts() {
    let mut rng = Rng::with_seed(20);
    let (mut untrained, mut json) = (Gzip::new(), trained());
    for nth in 0..4000 {
        let longest = if nth % 100 == 0 { 400_000 } else { power_of_two(&mut rng, 0..=13) };
        let length = rng.usize(0..=longest);
        let text = random_text(&mut rng, length);
        copies(&text);
        assert_round_trip(&mut untrained, &text);
        assert_round_trip(&mut json, &text);
        if nth % 40 == 0 {
            assert_round_trip(&mut trained_with(std::slice::from_ref(&text)), &text);
        }
    }
}

#[test]
fn code_lengths_keep_the_limit() {
    let fibonacci: Vec<u64> = std::iter::successors(Some((1, 1)), |&(one, next)| Some((next, one + next)))
        .map(|pair| pair.0)
        .take(40)
        .collect();
    let lengths = code_lengths(&fibonacci, MAX_CODE_LENGTH);
    assert_eq!(lengths.iter().max(), Some(&MAX_CODE_LENGTH));
    assert_eq!(kraft_sum(&lengths), COMPLETE);
    assert!(lengths.is_sorted_by(|one, next| one >= next));
    let unlimited = code_lengths(&fibonacci[..16], MAX_CODE_LENGTH);
    assert_eq!(unlimited, [15, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn code_lengths_are_optimal() {
    assert_eq!(code_lengths(&[1, 1, 2, 4], 15), [3, 3, 2, 1]);
    assert_eq!(code_lengths(&[1, 1, 2, 4], 2), [2, 2, 2, 2]);
    assert_eq!(code_lengths(&[1, 2, 4, 8, 16], 3), [3, 3, 3, 3, 1]);
    assert_eq!(code_lengths(&[5, 0, 5], 15), [1, 0, 1]);
    assert_eq!(code_lengths(&[0, 0], 15), [0, 0]);
}

#[test]
fn code_lengths_are_complete_for_any_weights() {
    let mut rng = Rng::with_seed(21);
    for _ in 0..100 {
        let spread = rng.u32(0..40);
        let weights: Vec<u64> = (0..rng.usize(2..=286)).map(|_| 1 << rng.u32(0..=spread)).collect();
        assert_eq!(kraft_sum(&code_lengths(&weights, MAX_CODE_LENGTH)), COMPLETE);
    }
}

#[test]
fn canonical_code_is_that_of_the_rfc() {
    let codes = canonical_code(&[3, 3, 3, 3, 3, 2, 4, 4]);
    let sent_first_highest: Vec<u32> =
        codes.iter().map(|code| code.value.reverse_bits() >> (u32::BITS - code.count)).collect();
    assert_eq!(sent_first_highest, [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]);
}

/// Compares with the tables of RFC 1951, section 3.2.5. The fixed code identifies the symbols.
#[test]
fn lengths_and_distances_have_the_symbols_of_the_rfc() {
    const LENGTHS: [usize; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227, 258,
    ];
    const LENGTH_EXTRA: [u32; 29] =
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
    const DISTANCES: [usize; 30] = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049,
        3073, 4097, 6145, 8193, 12_289, 16_385, 24_577,
    ];
    const DISTANCE_EXTRA: [u32; 30] =
        [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
    let code = Code::new(&CodeLengths::fixed());
    let literal_length = canonical_code(&[[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat());
    for length in 3..=MAX_MATCH {
        let nth = LENGTHS.iter().rposition(|base| *base <= length).unwrap();
        let expected = literal_length[257 + nth].then(Bits::new(length - LENGTHS[nth], LENGTH_EXTRA[nth]));
        assert_eq!(code.lengths[length], expected, "length {length}");
    }
    let distances = canonical_code(&[5; 32]);
    for distance in 1..=WINDOW {
        let nth = DISTANCES.iter().rposition(|base| *base <= distance).unwrap();
        let expected = distances[nth].then(Bits::new(distance - DISTANCES[nth], DISTANCE_EXTRA[nth]));
        assert_eq!(code.distance(distance), expected, "distance {distance}");
    }
}

#[test]
fn a_trained_code_covers_all_symbols_within_the_limit() {
    let mut frequencies = Frequencies::new();
    frequencies.count_block();
    for (nth, byte) in (0..=u8::MAX).enumerate() {
        for _ in 0..1_u32 << (nth % 24) {
            frequencies.literals([byte]);
        }
    }
    let code = Code::new(&CodeLengths::dynamic(&frequencies));
    let codes = code.literals.iter().chain([&code.end_of_block]);
    assert!(codes.clone().all(|code| (1..=MAX_CODE_LENGTH).contains(&code.count)));
    assert!(codes.clone().any(|code| code.count == MAX_CODE_LENGTH));
}
