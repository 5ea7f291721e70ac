//! The files of a dataset, in a folder or in S3. The loader finds them, records their versions and checks their headers
//! before it loads anything.

mod error;
mod file;
mod head;
mod manifest;
mod reader;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;

use crate::s3::{Object, S3, S3Error, S3Url};
use crate::table::{TABLES, Table};

pub use error::{ContentError, SourceError};
use file::FileLocation;
pub use file::SourceFile;
use manifest::MAX_MANIFEST;
pub use manifest::{MANIFEST, Manifest, ManifestError};
pub use reader::{Reader, Source};

/// The location of a dataset.
#[derive(Clone, Debug)]
pub enum DatasetLocation {
    /// A folder.
    Folder(PathBuf),
    /// A prefix in S3.
    S3(S3, S3Url),
}

/// The files of one dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name in the ledger.
    pub name: String,
    /// Its location: the path of a folder, or `s3://bucket/prefix/`.
    pub source: String,
    /// Its files, parents before children.
    pub files: Vec<SourceFile>,
    /// The version of the manifest in S3 that describes them.
    pub manifest: Option<String>,
}

impl DatasetLocation {
    /// Returns the default name of a dataset: that of the folder, or the last part of the prefix.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(dir) => {
                let real = dir.canonicalize();
                let name = real.as_deref().unwrap_or(dir).file_name().map(|name| name.to_string_lossy());
                name.unwrap_or_default().into_owned()
            }
            Self::S3(_, prefix) => {
                prefix.key.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
            }
        }
    }
}

impl Dataset {
    /// Opens and checks the files of a dataset. Its default name is that of the folder, or the last part of the prefix.
    ///
    /// # Errors
    /// An incomplete or invalid dataset, or a failed read.
    pub async fn open(location: &DatasetLocation, name: Option<&str>) -> Result<Self, SourceError> {
        let name = name.map_or_else(|| location.name(), str::to_owned);
        match location {
            DatasetLocation::Folder(dir) => Self::open_folder(dir, name).await,
            DatasetLocation::S3(s3, prefix) => Self::open_prefix(s3, prefix, name).await,
        }
    }

    async fn open_folder(dir: &Path, name: String) -> Result<Self, SourceError> {
        let unreadable = |cause| SourceError::Unreadable { path: dir.to_owned(), cause };
        let real = dir.canonicalize().map_err(unreadable)?;
        check_name(&name)?;
        let present: Vec<_> = std::fs::read_dir(dir)
            .map_err(unreadable)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let manifest = match present.iter().any(|file| file == MANIFEST) {
            true => Some(read_manifest(&dir.join(MANIFEST))?),
            false => None,
        };
        let known = possible_files().filter(|(_, file)| present.contains(file));
        let locations = known.map(|(table, file)| (table, FileLocation::Disk(dir.join(file)))).collect();
        let found = Found { source: real.display().to_string(), shown: &dir.display(), present: &present };
        Self::from_locations(name, found, locations, manifest.as_ref()).await
    }

    async fn open_prefix(s3: &S3, prefix: &S3Url, name: String) -> Result<Self, SourceError> {
        check_name(&name)?;
        let (manifest, objects) = tokio::try_join!(Self::manifest_at(s3, prefix), async {
            present_objects(s3, prefix).await.map_err(SourceError::from)
        })?;
        Self::from_objects(s3, prefix, name, objects, manifest.as_ref()).await
    }

    /// Returns the manifest below a prefix, if there is one.
    ///
    /// # Errors
    /// An invalid manifest, or a failed read.
    pub async fn manifest_at(s3: &S3, prefix: &S3Url) -> Result<Option<Manifest>, SourceError> {
        let url = prefix.join(MANIFEST);
        let Some((object, json)) = s3.get_small(&url, MAX_MANIFEST).await? else { return Ok(None) };
        let mut manifest = Manifest::parse(&json)
            .map_err(|cause| SourceError::Manifest { location: url.to_string(), cause })?;
        manifest.version = Some(format!("{} {}", object.etag, object.modified));
        Ok(Some(manifest))
    }

    /// Opens and checks a dataset of these objects below a prefix.
    ///
    /// # Errors
    /// An incomplete or invalid dataset, or a failed read.
    pub async fn from_objects(
        s3: &S3,
        prefix: &S3Url,
        name: String,
        objects: Vec<(&'static Table, Object)>,
        manifest: Option<&Manifest>,
    ) -> Result<Self, SourceError> {
        let source = prefix.join("").to_string();
        let in_s3 = |(table, object)| (table, FileLocation::S3(s3.clone(), object));
        let locations = objects.into_iter().map(in_s3).collect();
        let found = Found { source: source.clone(), shown: &source, present: &[] };
        Self::from_locations(name, found, locations, manifest).await
    }

    async fn from_locations(
        name: String,
        found: Found<'_>,
        locations: Vec<(&'static Table, FileLocation)>,
        manifest: Option<&Manifest>,
    ) -> Result<Self, SourceError> {
        found.check_complete(&locations, manifest)?;
        let listed = |location: &FileLocation| manifest.map(|manifest| manifest.file(location.name()));
        // A manifest decides which files the dataset has; without one, all present files belong to it.
        let belonging = locations.into_iter().filter(|(_, location)| listed(location) != Some(None));
        let opening = belonging.map(|(table, location)| async move {
            let mut file = SourceFile::open(table, location).await?;
            if let Some(Some(listed)) = listed(&file.location) {
                file.sha256.clone_from(&listed.sha256);
                let etag = match &file.location {
                    FileLocation::S3(_, object) => Some(object.etag.as_str()),
                    FileLocation::Disk(_) => None,
                };
                if let Some(difference) = listed.difference(file.size, etag) {
                    let location = file.location.to_string();
                    return Err(SourceError::ManifestMismatch { location, difference });
                }
            }
            Ok(file)
        });
        let version = manifest.and_then(|manifest| manifest.version.clone());
        Ok(Self { name, source: found.source, files: try_join_all(opening).await?, manifest: version })
    }
}

/// Returns the names that files of a dataset can have, with their tables, parents before children.
fn possible_files() -> impl Iterator<Item = (&'static Table, String)> {
    TABLES.iter().flat_map(|table| table.files().map(|file| (table, file)))
}

/// Returns the objects below a prefix that can be files of a dataset, with their tables, parents before children.
///
/// # Errors
/// A failed request.
pub(crate) async fn present_objects(
    s3: &S3,
    prefix: &S3Url,
) -> Result<Vec<(&'static Table, Object)>, S3Error> {
    let looking = possible_files().map(|(table, file)| async move {
        match s3.head(&prefix.join(&file)).await {
            Ok(object) => Ok(Some((table, object))),
            Err(S3Error::Gone(_)) => Ok(None),
            Err(error) => Err(error),
        }
    });
    Ok(try_join_all(looking).await?.into_iter().flatten().collect())
}

/// The location in which the files of a dataset were found.
struct Found<'a> {
    /// Its name in the ledger.
    source: String,
    /// Its name in errors.
    shown: &'a (dyn fmt::Display + Sync),
    /// All files there, if they are known.
    present: &'a [String],
}

impl Found<'_> {
    /// Checks that each table has one file, in one form, and that it is the one in the manifest.
    fn check_complete(
        &self,
        locations: &[(&'static Table, FileLocation)],
        manifest: Option<&Manifest>,
    ) -> Result<(), SourceError> {
        let mut missing = Vec::new();
        for table in &TABLES {
            let mut files =
                locations.iter().filter(|(of, _)| *of == table).map(|(_, location)| location.name());
            let file = files.next();
            if let (Some(one), Some(other)) = (file, files.next()) {
                let (location, one, other) = (self.shown.to_string(), one.to_owned(), other.to_owned());
                return Err(SourceError::Duplicate { location, one, other });
            }
            let listed =
                table.files().into_iter().find(|name| manifest.is_some_and(|m| m.file(name).is_some()));
            match listed {
                Some(listed) if file != Some(&*listed) => missing.push(listed),
                None if file.is_none() && !table.optional => missing.push(table.file.to_owned()),
                _ => {}
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let stem = |name: &str| name.to_ascii_lowercase().trim_end_matches(".gz").to_owned();
        let is_similar = |file: &&String| missing.iter().any(|name| stem(name) == stem(file));
        let mut similar: Vec<_> = self.present.iter().filter(is_similar).map(String::as_str).collect();
        similar.sort_unstable();
        let found =
            if similar.is_empty() { String::new() } else { format!(" (found {})", similar.join(", ")) };
        Err(SourceError::Missing { location: self.shown.to_string(), missing, found })
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, SourceError> {
    let unreadable = |cause| SourceError::Unreadable { path: path.to_owned(), cause };
    let mut json = Vec::new();
    file::open(path).and_then(|file| file.take(MAX_MANIFEST).read_to_end(&mut json)).map_err(unreadable)?;
    Manifest::parse(&json)
        .map_err(|cause| SourceError::Manifest { location: path.display().to_string(), cause })
}

/// Checks the name of a dataset.
///
/// # Errors
/// [`SourceError::Name`] if it is invalid.
pub fn check_name(name: &str) -> Result<(), SourceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= 100 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(SourceError::Name(name.to_owned()))
}
