//! The files that say what became of the rows: the rejected rows as CSV, and a summary as JSON.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use futures_util::{TryStreamExt, pin_mut};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::limit::TooManyRejects;
use super::{Context, LoadError};
use crate::ledger::{self, Counts, FileNote, RejectCount};
use crate::s3::{S3, S3Url};
use crate::source::SourceFile;

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

    /// Fails if any file has too many rejected rows.
    pub(super) async fn check_rejects(&self, client: &Client) -> Result<(), LoadError> {
        for file in &self.files {
            let counts = ledger::file_record(client, self.generation, file.table.file).await?.counts;
            if self.options.limit.is_exceeded(&counts) {
                return Err(self.too_many_rejects(client, file.table.file, counts).await?);
            }
        }
        Ok(())
    }

    /// Returns the error for a file with too many rejected rows.
    pub(super) async fn too_many_rejects(
        &self,
        client: &Client,
        file: &'static str,
        counts: Counts,
    ) -> Result<LoadError, LoadError> {
        let reasons = ledger::reject_counts(client, self.generation).await?;
        let reason = reasons.into_iter().find(|count| count.file == file).map(|count| count.reason);
        Ok(LoadError::TooManyRejects(TooManyRejects {
            file,
            read: counts.read,
            rejected: counts.rejected,
            allowed: self.options.limit.allowed(counts.read),
            reason: reason.unwrap_or_default(),
            rejects: self.rejects_shown(),
        }))
    }

    fn rejects_failed(&self, cause: io::Error) -> LoadError {
        LoadError::Rejects { target: self.rejects_shown(), cause }
    }
}

/// Writes the rejected rows and the summary, and returns what is in it about rows. Without rejected rows it writes only the
/// header, so that the file always belongs to the latest load.
pub(super) async fn write(
    context: &Context,
    client: &Client,
    failure: Option<&LoadError>,
) -> Result<(Vec<RejectCount>, Vec<FileNote>), LoadError> {
    let reasons = ledger::reject_counts(client, context.generation).await?;
    let notes = ledger::notes(client, context.generation).await?;
    let summary = summary(context, client, (&reasons, &notes), failure).await?;
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
    Ok((reasons, notes))
}

/// Returns the summary of the load as JSON.
async fn summary(
    context: &Context,
    client: &Client,
    (reasons, notes): (&[RejectCount], &[FileNote]),
    failure: Option<&LoadError>,
) -> Result<Value, LoadError> {
    let mut files = Vec::new();
    for file in &context.files {
        let Counts { read, repaired, rejected, loaded, .. } =
            ledger::file_record(client, context.generation, file.table.file).await?.counts;
        files.push(json!({
            "file": file.table.file, "size": file.size, "version": file.version,
            "read": read, "repaired": repaired, "rejected": rejected, "loaded": loaded,
        }));
    }
    let reasons: Vec<_> = reasons
        .iter()
        .map(|RejectCount { file, reason, rows }| json!({ "file": file, "reason": reason, "rows": rows }))
        .collect();
    let of_kind = |is_repair| -> Vec<Value> {
        let of_kind = notes.iter().filter(|note| note.is_repair == is_repair);
        of_kind
            .map(|FileNote { file, note, rows, lines, .. }| {
                json!({ "file": file, "what": note, "rows": rows, "lines": lines })
            })
            .collect()
    };
    Ok(json!({
        "dataset": context.dataset,
        "source": context.source,
        "generation": context.generation,
        "failure": failure.map(ToString::to_string),
        "files": files,
        "rejected": reasons,
        "repaired": of_kind(true),
        "spellings": of_kind(false),
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
    fs::rename(unfinished, &summary_path).map_err(failed)?;
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
        let (file, line, offset): (&str, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let (column, reason, original): (Option<&str>, &str, &[u8]) = (row.get(3), row.get(4), row.get(5));
        write!(output, "{file},{line},{offset},{},", column.unwrap_or_default()).map_err(failed)?;
        write_quoted(&mut output, reason.as_bytes()).map_err(failed)?;
        output.write_all(b",").map_err(failed)?;
        write_quoted(&mut output, original).map_err(failed)?;
        output.write_all(b"\n").map_err(failed)?;
    }
    output.flush().map_err(failed)?;
    fs::rename(unfinished, path).map_err(failed)
}

/// Checks a target file before the load: it and its summary must be regular files or new ones, in a writable folder. It
/// must not be in the dataset's folder, where it would look like a part of the dataset, and must not be a file of the
/// dataset. An existing file stays unchanged.
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
        fs::create_dir_all(folder).map_err(failed)?;
    }
    for path in [&absolute, &summary_path(&absolute)] {
        let failed = |cause| LoadError::Rejects { target: path.display().to_string(), cause };
        if let Some(kind) = other_than_file(path).map_err(failed)? {
            let reason = format!("it is {kind}: expected a regular file or a new one (--rejects FILE)");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let (_, unfinished) = create(path).map_err(failed)?;
        fs::remove_file(unfinished).map_err(failed)?;
    }
    Ok(())
}

/// Returns what a path is, if it is something else than a regular file. The rows would replace a device or a link.
fn other_than_file(path: &Path) -> io::Result<Option<&'static str>> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a folder"),
        _ if kind.is_symlink() => Some("a symbolic link"),
        _ => Some("a device, a pipe or a socket"),
    })
}

/// Creates the file under a temporary name, so that an existing one stays until the new one is complete. An existing file
/// of that name is replaced; a link is not followed.
fn create(path: &Path) -> io::Result<(BufWriter<File>, PathBuf)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok((BufWriter::new(File::create_new(&unfinished)?), unfinished)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_reader_gets_the_original_bytes_of_a_rejected_row() {
        let mut written = Vec::new();
        write_quoted(&mut written, b"1,\"a\xff\",\"").unwrap();
        assert_eq!(written, b"\"1,\"\"a\xff\"\",\"\"\"");
    }
}
