//! How many rows may be set aside, and the CSV and the summary that are written of them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::{TryStreamExt, pin_mut};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{Context, LoadError};
use crate::record::{self, Counts, signed, unsigned};
use crate::s3::{S3, Url};
use crate::source::SourceFile;

/// How many rows of one file may be set aside before the load is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectLimit {
    /// So many.
    Rows(u64),
    /// So many in a hundred, and 100 in any case.
    Percent(f64),
}

/// A limit that is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no limit: expected a number of rows such as 500, or a percentage of a file's rows such as 0.1%"
)]
pub struct RejectLimitError(String);

impl Default for RejectLimit {
    fn default() -> Self {
        Self::Percent(0.1)
    }
}

impl FromStr for RejectLimit {
    type Err = RejectLimitError;

    fn from_str(text: &str) -> Result<Self, RejectLimitError> {
        let error = || RejectLimitError(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| error())?;
                (0.0..=100.0).contains(&percent).then_some(Self::Percent(percent)).ok_or_else(error)
            }
            None => text.parse().map(Self::Rows).map_err(|_| error()),
        }
    }
}

impl RejectLimit {
    /// How many of `rows` may be set aside.
    pub fn allowed(self, rows: u64) -> u64 {
        match self {
            Self::Rows(allowed) => allowed,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            Self::Percent(percent) => ((rows as f64 * percent / 100.0) as u64).max(100),
        }
    }

    /// Whether a file of which so many bytes are unread is past any hope, be they as many rows as they can, and all good.
    pub(super) fn is_hopeless(self, counts: &Counts, unread: u64) -> bool {
        counts.set_aside > self.allowed(counts.read + unread.div_ceil(SHORTEST_ROW))
    }
}

/// `1,1,1` and its line ending, in bytes.
const SHORTEST_ROW: u64 = 6;

/// Where the rows that were set aside are written.
#[derive(Clone, Debug)]
pub enum RejectsPlace {
    /// To this file, with a summary beside it that ends in `.json`.
    File(PathBuf),
    /// Under this prefix in S3, as `<dataset>/<generation>.csv` and `<dataset>/<generation>.json`.
    S3(S3, Url),
}

impl RejectsPlace {
    fn of_load(&self, dataset: &str, generation: i32) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::S3(_, prefix) => prefix.join(&format!("{dataset}/{generation}.csv")).to_string(),
        }
    }
}

impl Context {
    /// Where the rows that this load set aside are written, for people.
    pub(super) fn rejects_shown(&self) -> String {
        self.options.rejects.of_load(&self.dataset, self.generation)
    }

    /// Fails if more of any file was set aside than may be.
    pub(super) async fn check_rejects(&self, client: &Client) -> Result<(), LoadError> {
        for file in &self.files {
            let counts = record::file_counts(client, self.generation, file.table.file).await?.counts;
            if counts.set_aside > self.options.limit.allowed(counts.read) {
                return Err(self.too_many_rejects(file.table.file, counts));
            }
        }
        Ok(())
    }

    pub(super) fn too_many_rejects(&self, file: &'static str, counts: Counts) -> LoadError {
        LoadError::TooManyRejects {
            file,
            set_aside: counts.set_aside,
            read: counts.read,
            allowed: self.options.limit.allowed(counts.read),
            rejects: self.rejects_shown(),
        }
    }

    fn rejects_failed(&self, cause: io::Error) -> LoadError {
        LoadError::Rejects { place: self.rejects_shown(), cause }
    }
}

/// Counts the line numbers of the rows set aside, writes them as CSV with a summary beside it, and answers how many
/// there are by file and reason. Without any it is the header alone, so that the file always speaks of the latest load.
pub(super) async fn write(
    context: &Context,
    client: &Client,
    failure: Option<&LoadError>,
) -> Result<Vec<(String, String, u64)>, LoadError> {
    if failure.is_none_or(|failure| !failure.is_of_another_version()) {
        for file in &context.files {
            count_lines(context, client, file).await?;
        }
    }
    let reasons = client
        .query(
            "select file, reason, count(*) from etl.reject where generation = $1
             group by file, reason order by count(*) desc, file, reason",
            &[&context.generation],
        )
        .await?;
    let reasons: Vec<(String, String, u64)> =
        reasons.iter().map(|row| (row.get(0), row.get(1), unsigned(row.get(2)))).collect();
    let summary = summary(context, client, &reasons, failure).await?;
    match &context.options.rejects {
        RejectsPlace::File(path) => {
            write_both(context, client, path, &summary).await?;
        }
        RejectsPlace::S3(s3, prefix) => {
            let folder = tempfile::tempdir().map_err(|cause| context.rejects_failed(cause))?;
            let csv = folder.path().join("rejects.csv");
            let json = write_both(context, client, &csv, &summary).await?;
            let url = |ending| prefix.join(&format!("{}/{}.{ending}", context.dataset, context.generation));
            let failed = |error| context.rejects_failed(io::Error::other(error));
            s3.put_file(&url("csv"), &csv, "text/csv").await.map_err(failed)?;
            s3.put_file(&url("json"), &json, "application/json").await.map_err(failed)?;
        }
    }
    Ok(reasons)
}

/// What there is to say of the load but the rows themselves.
async fn summary(
    context: &Context,
    client: &Client,
    reasons: &[(String, String, u64)],
    failure: Option<&LoadError>,
) -> Result<Value, LoadError> {
    let mut files = Vec::new();
    for file in &context.files {
        let Counts { read, repaired, set_aside, loaded, .. } =
            record::file_counts(client, context.generation, file.table.file).await?.counts;
        files.push(json!({
            "file": file.table.file, "size": file.size, "version": file.version,
            "read": read, "repaired": repaired, "set_aside": set_aside, "loaded": loaded,
        }));
    }
    let reasons: Vec<_> = reasons
        .iter()
        .map(|(file, reason, rows)| json!({ "file": file, "reason": reason, "rows": rows }))
        .collect();
    Ok(json!({
        "dataset": context.dataset,
        "source": context.source,
        "generation": context.generation,
        "failure": failure.map(ToString::to_string),
        "files": files,
        "set_aside": reasons,
    }))
}

/// Writes the rows to `path` and the summary beside it, and answers with the path of that.
async fn write_both(
    context: &Context,
    client: &Client,
    path: &Path,
    summary: &Value,
) -> Result<PathBuf, LoadError> {
    let failed = |cause| context.rejects_failed(cause);
    write_rows(context, client, path).await?;
    let beside = beside(path);
    let (mut output, unfinished) = create(&beside).map_err(failed)?;
    writeln!(output, "{summary:#}").and_then(|()| output.flush()).map_err(failed)?;
    std::fs::rename(unfinished, &beside).map_err(failed)?;
    Ok(beside)
}

/// Where the summary of the rows in `path` is.
fn beside(path: &Path) -> PathBuf {
    let other = path.with_extension("json");
    if other == path { path.with_extension("summary.json") } else { other }
}

async fn write_rows(context: &Context, client: &Client, path: &Path) -> Result<(), LoadError> {
    let failed = |cause| context.rejects_failed(cause);
    let (mut output, unfinished) = create(path).map_err(failed)?;
    output.write_all(b"file,line,byte_offset,column,reason,original\n").map_err(failed)?;
    let rows = client
        .query_raw(
            "select file, line, byte_offset, column_name, reason, original from etl.reject
             where generation = $1 order by file, byte_offset",
            [context.generation],
        )
        .await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        let (file, line, offset): (&str, Option<i64>, i64) = (row.get(0), row.get(1), row.get(2));
        let (column, reason, original): (Option<&str>, &str, &[u8]) = (row.get(3), row.get(4), row.get(5));
        let line = line.map(|line| line.to_string()).unwrap_or_default();
        write!(output, "{file},{line},{offset},{},", column.unwrap_or_default()).map_err(failed)?;
        write_quoted(&mut output, reason.as_bytes()).map_err(failed)?;
        output.write_all(b",").map_err(failed)?;
        write_quoted(&mut output, original).map_err(failed)?;
        output.write_all(b"\n").map_err(failed)?;
    }
    output.flush().map_err(failed)?;
    std::fs::rename(unfinished, path).map_err(failed)
}

/// Refuses a place that is in the dataset's folder, where the file would be found as if it belonged there, or that is
/// one of its files by another name; and one that cannot be written, which is better told before a load than after.
/// What is there is left as it is.
pub(super) fn check_place(place: &RejectsPlace, files: &[SourceFile]) -> Result<(), LoadError> {
    let RejectsPlace::File(path) = place else { return Ok(()) };
    let failed = |cause| LoadError::Rejects { place: path.display().to_string(), cause };
    let taken = |why: &str| failed(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    let absolute = std::path::absolute(path).map_err(failed)?;
    // The folder may yet have to be made: then what counts is where it will be made.
    let folder = absolute.ancestors().skip(1).find_map(|ancestor| ancestor.canonicalize().ok());
    for file in files.iter().filter_map(SourceFile::path) {
        let of_dataset = file.parent().and_then(|folder| folder.canonicalize().ok());
        if let (Some(folder), Some(of_dataset)) = (&folder, of_dataset)
            && folder.starts_with(of_dataset)
        {
            return Err(taken("it is in the dataset's own folder: expected another (--rejects FILE)"));
        }
        if path.canonicalize().is_ok_and(|path| file.canonicalize().is_ok_and(|file| path == file)) {
            return Err(taken("it is a file of the dataset: expected another (--rejects FILE)"));
        }
    }
    if let Some(folder) = absolute.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    File::options().append(true).create(true).open(path).map(drop).map_err(failed)
}

/// Begins the file under a name for the meantime, so that one that is there stays until the new one is complete.
fn create(path: &Path) -> io::Result<(BufWriter<File>, PathBuf)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    Ok((BufWriter::new(File::create(&unfinished)?), unfinished))
}

/// Whatever the bytes are, they come out of a CSV reader as they went in.
fn write_quoted(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(b"\"")?;
    for (index, part) in bytes.split(|&byte| byte == b'"').enumerate() {
        if index > 0 {
            output.write_all(b"\"\"")?;
        }
        output.write_all(part)?;
    }
    output.write_all(b"\"")
}

async fn count_lines(context: &Context, client: &Client, file: &SourceFile) -> Result<(), LoadError> {
    let name = file.table.file;
    let offsets = client
        .query(
            "select byte_offset from etl.reject where generation = $1 and file = $2 and line is null
             order by byte_offset",
            &[&context.generation, &name],
        )
        .await?;
    if offsets.is_empty() {
        return Ok(());
    }
    let offsets: Vec<i64> = offsets.iter().map(|row| row.get(0)).collect();
    let wanted: Vec<u64> = offsets.iter().copied().map(unsigned).collect();
    let until = context.options.stop_at;
    let lines = super::blocking(file, move |file| file.line_numbers(&wanted, until)).await?;
    let lines: Vec<i64> = lines.into_iter().map(signed).collect();
    client
        .execute(
            "update etl.reject r set line = counted.line
             from unnest($3::bigint[], $4::bigint[]) as counted (byte_offset, line)
             where r.generation = $1 and r.file = $2 and r.byte_offset = counted.byte_offset",
            &[&context.generation, &name, &offsets, &lines],
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_of_rows_or_a_percentage() {
        assert_eq!("500".parse::<RejectLimit>().unwrap(), RejectLimit::Rows(500));
        assert_eq!("0.5%".parse::<RejectLimit>().unwrap(), RejectLimit::Percent(0.5));
        for wrong in ["", "-1", "1.5", "%", "101%", "-1%", "NaN%", "many"] {
            assert!(wrong.parse::<RejectLimit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_allows_a_hundred_rows_in_any_case() {
        assert_eq!(RejectLimit::default().allowed(50), 100);
        assert_eq!(RejectLimit::default().allowed(5_000_000), 5_000);
        assert_eq!(RejectLimit::Rows(0).allowed(5_000_000), 0);
    }

    #[test]
    fn what_is_set_aside_is_written_so_that_a_reader_gets_its_bytes_back() {
        let mut written = Vec::new();
        write_quoted(&mut written, b"1,\"a\xff\",\"").unwrap();
        assert_eq!(written, b"\"1,\"\"a\xff\"\",\"\"\"");
    }
}
