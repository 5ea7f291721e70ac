//! The limit of rejected rows, and the CSV and JSON files that list them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::{TryStreamExt, pin_mut};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{Context, LoadError};
use crate::ledger::{self, Counts, signed, unsigned};
use crate::s3::{S3, S3Url};
use crate::source::SourceFile;

/// The max number of rejected rows per file. Above it, the load fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectLimit {
    /// A number of rows.
    Rows(u64),
    /// A percentage of the rows, but always at least 100.
    Percent(f64),
}

/// An invalid limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid limit {0:?}: expected a number of rows such as 500, or a percentage of a file's rows such as 0.1%"
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
    /// Returns the max number of rejected rows of a file with `rows` rows.
    pub fn allowed(self, rows: u64) -> u64 {
        match self {
            Self::Rows(allowed) => allowed,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            Self::Percent(percent) => ((rows as f64 * percent / 100.0) as u64).max(100),
        }
    }

    /// Returns whether a file exceeds the limit even if its `unread` bytes are valid rows of the minimum size.
    pub(super) fn limit_exceeded(self, counts: &Counts, unread: u64) -> bool {
        counts.rejected > self.allowed(counts.read + unread.div_ceil(MIN_ROW))
    }
}

/// The min size of a row in bytes: `1,1,1` and a line ending.
const MIN_ROW: u64 = 6;

/// The target of the rejected rows.
#[derive(Clone, Debug)]
pub enum OutputTarget {
    /// A file, with a summary beside it that ends in `.json`.
    File(PathBuf),
    /// A prefix in S3, for `<dataset>/<generation>.csv` and `<dataset>/<generation>.json`.
    S3(S3, S3Url),
}

impl OutputTarget {
    fn csv_location(&self, dataset: &str, generation: i32) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::S3(_, prefix) => prefix.join(&format!("{dataset}/{generation}.csv")).to_string(),
        }
    }
}

impl Context {
    /// Returns the location of this load's rejected rows, for people.
    pub(super) fn rejects_shown(&self) -> String {
        self.options.rejects.csv_location(&self.dataset, self.generation)
    }

    /// Fails if any file exceeds the limit of rejected rows.
    pub(super) async fn check_rejects(&self, client: &Client) -> Result<(), LoadError> {
        for file in &self.files {
            let counts = ledger::file_counts(client, self.generation, file.table.file).await?.counts;
            if counts.rejected > self.options.limit.allowed(counts.read) {
                return Err(self.too_many_rejects(file.table.file, counts));
            }
        }
        Ok(())
    }

    pub(super) fn too_many_rejects(&self, file: &'static str, counts: Counts) -> LoadError {
        LoadError::TooManyRejects {
            file,
            rejected: counts.rejected,
            read: counts.read,
            allowed: self.options.limit.allowed(counts.read),
            rejects: self.rejects_shown(),
        }
    }

    fn rejects_failed(&self, cause: io::Error) -> LoadError {
        LoadError::Rejects { target: self.rejects_shown(), cause }
    }
}

/// Finds the line numbers of the rejected rows, writes the CSV and the summary, and returns the number of rows by file
/// and reason. Without rejected rows it writes only the header, so that the file always belongs to the latest load.
pub(super) async fn write(
    context: &Context,
    client: &Client,
    failure: Option<&LoadError>,
) -> Result<Vec<(String, String, u64)>, LoadError> {
    if failure.is_none_or(|failure| !failure.is_stale_source()) {
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
        OutputTarget::File(path) => {
            write_both(context, client, path, &summary).await?;
        }
        OutputTarget::S3(s3, prefix) => {
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

/// Returns the summary of the load as JSON.
async fn summary(
    context: &Context,
    client: &Client,
    reasons: &[(String, String, u64)],
    failure: Option<&LoadError>,
) -> Result<Value, LoadError> {
    let mut files = Vec::new();
    for file in &context.files {
        let Counts { read, repaired, rejected, loaded, .. } =
            ledger::file_counts(client, context.generation, file.table.file).await?.counts;
        files.push(json!({
            "file": file.table.file, "size": file.size, "version": file.version,
            "read": read, "repaired": repaired, "set_aside": rejected, "loaded": loaded,
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

/// Writes the rows to `path` and the summary beside it. Returns the path of the summary.
async fn write_both(
    context: &Context,
    client: &Client,
    path: &Path,
    summary: &Value,
) -> Result<PathBuf, LoadError> {
    let failed = |cause| context.rejects_failed(cause);
    write_rows(context, client, path).await?;
    let summary_path = summary_path(path);
    let (mut output, unfinished) = create(&summary_path).map_err(failed)?;
    writeln!(output, "{summary:#}").and_then(|()| output.flush()).map_err(failed)?;
    std::fs::rename(unfinished, &summary_path).map_err(failed)?;
    Ok(summary_path)
}

/// Returns the path of the summary of the rows in `path`.
fn summary_path(path: &Path) -> PathBuf {
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

/// Checks a target file before the load. It must be writable. It must not be in the dataset's folder, where it would look
/// like a part of the dataset, and must not be a link to a file of the dataset. An existing file stays unchanged.
pub(super) fn check_target(target: &OutputTarget, files: &[SourceFile]) -> Result<(), LoadError> {
    let OutputTarget::File(path) = target else { return Ok(()) };
    let failed = |cause| LoadError::Rejects { target: path.display().to_string(), cause };
    let invalid = |reason: &str| failed(io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned()));
    let absolute = std::path::absolute(path).map_err(failed)?;
    // The folder may not exist yet; then its first existing ancestor counts.
    let folder = absolute.ancestors().skip(1).find_map(|ancestor| ancestor.canonicalize().ok());
    for file in files.iter().filter_map(SourceFile::path) {
        let of_dataset = file.parent().and_then(|folder| folder.canonicalize().ok());
        if let (Some(folder), Some(of_dataset)) = (&folder, of_dataset)
            && folder.starts_with(of_dataset)
        {
            return Err(invalid("it is in the dataset's folder: expected another folder (--rejects FILE)"));
        }
        if path.canonicalize().is_ok_and(|path| file.canonicalize().is_ok_and(|file| path == file)) {
            return Err(invalid("it is a file of the dataset: expected another file (--rejects FILE)"));
        }
    }
    if let Some(folder) = absolute.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    File::options().append(true).create(true).open(path).map(drop).map_err(failed)
}

/// Creates the file under a temporary name, so that an existing one stays until the new one is complete.
fn create(path: &Path) -> io::Result<(BufWriter<File>, PathBuf)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    Ok((BufWriter::new(File::create(&unfinished)?), unfinished))
}

/// Writes a quoted CSV field. A CSV reader returns exactly these bytes.
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
    fn a_percentage_always_allows_a_hundred_rows() {
        assert_eq!(RejectLimit::default().allowed(50), 100);
        assert_eq!(RejectLimit::default().allowed(5_000_000), 5_000);
        assert_eq!(RejectLimit::Rows(0).allowed(5_000_000), 0);
    }

    #[test]
    fn a_csv_reader_gets_the_original_bytes_of_a_rejected_row() {
        let mut written = Vec::new();
        write_quoted(&mut written, b"1,\"a\xff\",\"").unwrap();
        assert_eq!(written, b"\"1,\"\"a\xff\"\",\"\"\"");
    }
}
