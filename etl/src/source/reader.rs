//! A sequential reader of a file's text. It decompresses gzip and counts the stored bytes.

use std::fs::File;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::error::ContentError;
use crate::s3::ObjectReader;

/// A sequential reader of the text of a file. [`super::SourceFile::failed`] converts its errors.
pub struct Reader<R = Source> {
    text: Text<R>,
}

enum Text<R> {
    Plain(Stored<R>),
    Gzip(Box<MultiGzDecoder<Stored<R>>>),
}

/// The stored bytes of a file.
pub enum Source {
    /// A file on disk, which may change during the read.
    Disk(File),
    /// An object in S3, which cannot.
    S3(Box<ObjectReader>),
}

/// A reader that knows its position.
struct Stored<R> {
    source: R,
    position: u64,
}

impl<R: Read> Reader<R> {
    /// Returns a reader of stored bytes, the first of which is at `position` of the file. Gzip is read from 0 only.
    pub(super) fn new(source: R, position: u64, is_gzip: bool) -> Self {
        let stored = Stored { source, position };
        let text = match is_gzip {
            true => Text::Gzip(Box::new(MultiGzDecoder::new(stored))),
            false => Text::Plain(stored),
        };
        Self { text }
    }

    /// Returns the number of stored bytes that are consumed, for progress. Buffers make it run ahead of the text.
    pub fn position(&self) -> u64 {
        self.stored().position
    }

    /// Returns the source of the stored bytes.
    pub(super) fn source(&self) -> &R {
        &self.stored().source
    }

    fn stored(&self) -> &Stored<R> {
        match &self.text {
            Text::Plain(stored) => stored,
            Text::Gzip(decoder) => decoder.get_ref(),
        }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.text {
            Text::Plain(stored) => stored.read(buffer),
            Text::Gzip(decoder) => decoder.read(buffer).map_err(gzip_error),
        }
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Disk(file) => file.read(buffer),
            Source::S3(object) => object.read(buffer),
        }
    }
}

/// Wraps an error in the gzip data in a [`ContentError`]. Errors of the operating system and of S3 stay as they are.
pub(super) fn gzip_error(error: io::Error) -> io::Error {
    match error.kind() {
        _ if error.raw_os_error().is_some() => error,
        io::ErrorKind::UnexpectedEof => io::Error::other(ContentError::TruncatedGzip),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            io::Error::other(ContentError::CorruptGzip(error.to_string()))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// A reader that returns a few bytes at a time, as a network may.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn content_error(stored: &[u8]) -> String {
        let mut text = Vec::new();
        let error = Reader::new(stored, 0, true).read_to_end(&mut text).unwrap_err();
        error.downcast::<ContentError>().unwrap().to_string()
    }

    proptest! {
        #[test]
        fn any_members_in_any_pieces_are_one_text(
            members in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..5),
            piece in 1..700_usize,
            wanted in 1..700_usize,
        ) {
            let stored: Vec<u8> = members.iter().flat_map(|member| gzip(member)).collect();
            let mut reader = Reader::new(Drip(&stored, piece), 0, true);
            let (mut text, mut buffer) = (Vec::new(), vec![0; wanted]);
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    read => text.extend_from_slice(&buffer[..read]),
                }
            }
            prop_assert_eq!(text, members.concat());
            prop_assert_eq!(reader.position(), stored.len() as u64);
        }

        #[test]
        fn a_changed_byte_is_an_error_or_changes_nothing(
            text in prop::collection::vec(any::<u8>(), 1..2000),
            at in any::<prop::sample::Index>(),
            flipped in 1..=255_u8,
        ) {
            let mut stored = gzip(&text);
            let at = at.index(stored.len());
            stored[at] ^= flipped;
            let mut found = Vec::new();
            // The time and the name in the header may be any.
            if Reader::new(&stored[..], 0, true).read_to_end(&mut found).is_ok() {
                prop_assert_eq!(found, text);
            }
        }
    }

    #[test]
    fn a_gzip_file_that_is_cut_off_anywhere_is_an_error_and_never_a_shorter_text() {
        let line = |number: u32| format!("{number},\"{}\"\n", number.wrapping_mul(2_654_435_761));
        let text: String = (0..300).map(line).collect();
        let stored = gzip(text.as_bytes());
        for length in 1..stored.len() {
            assert_eq!(content_error(&stored[..length]), ContentError::TruncatedGzip.to_string(), "{length}");
        }
        let two = [&stored[..], &stored[..20]].concat();
        assert_eq!(content_error(&two), ContentError::TruncatedGzip.to_string());
    }

    #[test]
    fn a_wrong_checksum_or_bytes_after_the_gzip_data_are_errors() {
        let stored = gzip(b"id,name\n");
        let mut wrong = stored.clone();
        wrong[stored.len() - 5] ^= 1;
        assert!(content_error(&wrong).starts_with("has corrupt gzip data: "), "{}", content_error(&wrong));
        let longer = [&stored[..], b"id,name\n1,\"more than a header of ten bytes\""].concat();
        assert!(content_error(&longer).starts_with("has corrupt gzip data: "));
    }

    #[test]
    fn a_failed_read_of_gzip_data_stays_an_error_of_the_source() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let error = Reader::new(Failing, 0, true).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
