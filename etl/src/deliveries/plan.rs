//! The decision what to do with a delivery, from its files, its manifest and the latest load of its prefix.
//!
//! A first load takes the files as they are. After that, files that were replaced one after the other might be of two
//! days, so only a new manifest that describes each of them starts another load.

use super::Delivery;
use super::history::Latest;
use crate::source::{MANIFEST, Manifest, SourceError};
use crate::table::{TABLES, Table};

/// What to do with a delivery.
#[derive(Debug)]
pub(super) enum Plan {
    /// Load its files, or resume their load.
    Load {
        /// The manifest that describes them.
        manifest: Option<Manifest>,
        /// Whether to leave out a cart.csv that arrived after the load began.
        without_cart: bool,
    },
    /// Nothing: the files were loaded, or their load failed; the reason.
    Nothing(String),
    /// Wait for a file; the reason.
    Wait(String),
    /// Wait for files that match the manifest, or for a manifest that matches the files; the reason.
    Mismatch(String),
    /// Ignore the files; the reason, and what to do.
    Ignore(String),
    /// Ignore the files, now and later: one was replaced before the delivery was complete; the reason, and what to do.
    Refuse(String),
    /// Ignore the files until an error is corrected.
    Invalid(String),
}

/// Returns the plan for a delivery. `manifest` is its manifest, or the error in it. `replaced` is a file that had another
/// version when the delivery was last looked at, before its first load.
pub(super) fn plan(
    delivery: &Delivery,
    manifest: Option<Result<Manifest, SourceError>>,
    latest: Option<&Latest>,
    replaced_file: Option<&str>,
) -> Plan {
    let source = &delivery.prefix.source;
    let twice = delivery.files.windows(2).find(|pair| pair[0].0 == pair[1].0);
    if let Some([(table, _), _]) = twice {
        return Plan::Invalid(format!("{source} has {0} and {0}.gz: delete one of them", table.file));
    }
    if let (None, None, Some(file)) = (latest, &manifest, replaced_file) {
        return Plan::Refuse(format!(
            "{file} was replaced before all files of {source} were there: upload all files to a new prefix, or a \
             {MANIFEST} that describes each file (size and etag or sha256)"
        ));
    }
    let is_missing = |file: &str| delivery.file(file).is_none();
    let missing: Vec<_> = TABLES
        .iter()
        .filter(|table| !table.optional && is_missing(table.file))
        .map(|table| table.file)
        .collect();
    if !missing.is_empty() {
        return Plan::Wait(format!("waiting for {}", missing.join(", ")));
    }
    let Some(latest) = latest else {
        return match (&manifest, replaced_file) {
            (Some(Ok(listed)), Some(_)) => difference(delivery, listed, true)
                .map_or_else(|| load(Some(listed.clone()), false), Plan::Mismatch),
            _ => first(delivery, manifest, false),
        };
    };
    let is_new = |manifest: &Manifest| manifest.version != latest.manifest;
    let changed = changed_files(delivery, manifest.as_ref(), latest);
    let is_late_cart = changed == ["cart.csv"] && latest.file("cart.csv").is_none();
    if changed.is_empty() || is_late_cart {
        if let Some(Ok(manifest)) = &manifest
            && is_late_cart
            && is_new(manifest)
            && difference(delivery, manifest, true).is_none()
        {
            return load(Some(manifest.clone()), false);
        }
        return same_files(delivery, manifest, latest, is_late_cart);
    }
    match manifest {
        Some(Err(error)) => Plan::Invalid(error.to_string()),
        // Of a load that published nothing, the manifest may also describe files that arrived later: the hash of one
        // with the old size was wrong.
        Some(Ok(manifest)) if is_new(&manifest) || !latest.is_published() => {
            match difference(delivery, &manifest, true) {
                None => load(Some(manifest), false),
                Some(reason) if is_new(&manifest) => Plan::Mismatch(reason),
                Some(_) => replaced(source, &changed, latest),
            }
        }
        _ => replaced(source, &changed, latest),
    }
}

fn load(manifest: Option<Manifest>, without_cart: bool) -> Plan {
    Plan::Load { manifest, without_cart }
}

/// Returns the plan for files that no earlier load contradicts.
fn first(delivery: &Delivery, manifest: Option<Result<Manifest, SourceError>>, without_cart: bool) -> Plan {
    match manifest {
        None => load(None, without_cart),
        Some(Err(error)) => Plan::Invalid(error.to_string()),
        Some(Ok(manifest)) => match difference(delivery, &manifest, false) {
            None => {
                let lists_cart =
                    TABLES.iter().any(|table| table.optional && manifest.of_table(table).is_some());
                load(Some(manifest), without_cart && !lists_cart)
            }
            Some(reason) => Plan::Mismatch(reason),
        },
    }
}

/// Returns the plan for the files of the latest load, perhaps with a `late_cart`.
fn same_files(
    delivery: &Delivery,
    manifest: Option<Result<Manifest, SourceError>>,
    latest: &Latest,
    late_cart: bool,
) -> Plan {
    let (source, generation) = (&delivery.prefix.source, latest.generation);
    match latest.step.as_str() {
        "published" if !late_cart => Plan::Nothing(format!("already loaded as generation {generation}")),
        "published" => Plan::Ignore(format!(
            "cart.csv arrived after the load of {source} began, and is not loaded: upload it with all other files to a \
             new prefix, or a {MANIFEST} that describes all seven files (size and etag or sha256)"
        )),
        "failed" => match manifest {
            Some(Err(error)) => Plan::Invalid(error.to_string()),
            Some(Ok(manifest)) if manifest.version != latest.manifest => {
                match difference(delivery, &manifest, true) {
                    None => load(Some(manifest), false),
                    Some(reason) => Plan::Mismatch(reason),
                }
            }
            _ => Plan::Nothing(format!(
                "load {generation} of these files failed: upload corrected files to a new prefix, or a new {MANIFEST} \
                 to load these again"
            )),
        },
        "abandoned" => first(delivery, manifest, late_cart),
        _ if latest.held => Plan::Nothing(format!(
            "load {generation} of these files does not publish: run atelier-etl publish when it is complete"
        )),
        // The load resumes as it began. A manifest that arrived since is perhaps of the next files.
        _ if latest.manifest.is_none() => load(None, late_cart),
        _ => first(delivery, manifest, late_cart),
    }
}

fn replaced(source: &str, changed: &[&str], latest: &Latest) -> Plan {
    Plan::Ignore(format!(
        "{} changed after load {} of {source} began: upload all files to a new prefix, or a new {MANIFEST} that describes \
         each file (size and etag or sha256)",
        changed.join(", "),
        latest.generation,
    ))
}

/// Returns the files that differ from those of the latest load. A cart.csv that the manifest leaves out does not count.
fn changed_files(
    delivery: &Delivery,
    manifest: Option<&Result<Manifest, SourceError>>,
    latest: &Latest,
) -> Vec<&'static str> {
    let is_listed = |file: &str| match manifest {
        Some(Ok(manifest)) => Table::of_file(file).and_then(|table| manifest.of_table(table)).is_some(),
        _ => true,
    };
    let differs = |file: &str| {
        let object = delivery.file(file);
        match (latest.file(file), object) {
            (Some(loaded), Some(object)) => (loaded.size, &loaded.etag) != (object.size, &object.etag),
            (None, Some(_)) => is_listed(file),
            (loaded, None) => loaded.is_some(),
        }
    };
    TABLES.iter().map(|table| table.file).filter(|file| differs(file)).collect()
}

/// Returns the first difference of the files from a manifest. If `strict`, the manifest must list every file, with a
/// size and a hash.
fn difference(delivery: &Delivery, manifest: &Manifest, strict: bool) -> Option<String> {
    TABLES.iter().find_map(|table| match (manifest.of_table(table), delivery.file(table.file)) {
        (None, Some(object)) if strict => Some(format!("{} is not in {MANIFEST}", object.url)),
        (None, _) => None,
        (Some(listed), None) => Some(format!("{} missing: it is in {MANIFEST}", listed.name)),
        (Some(listed), Some(object)) => {
            if !object.url.key.ends_with(&format!("/{}", listed.name)) {
                return Some(format!("{} missing: {} is there instead", listed.name, object.url));
            }
            let difference = listed.difference(object.size, Some(&object.etag));
            let unidentified = || {
                (strict && !listed.identifies())
                    .then(|| format!("has no size, or neither etag nor sha256, in {MANIFEST}"))
            };
            Some(format!("{} {}", object.url, difference.or_else(unidentified)?))
        }
    })
}

#[cfg(test)]
mod tests;
