//! The pages of the repository: their links lead somewhere, the tests that they name exist, and README and ARCHITECTURE stay
//! short.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The tracked pages, by path, with code blocks taken out.
fn pages() -> BTreeMap<PathBuf, String> {
    let output = Command::new("git").args(["ls-files", "*.md"]).current_dir(root()).output().unwrap();
    let paths = String::from_utf8(output.stdout).unwrap();
    let read = |path: &str| {
        let path = root().join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        let outside = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
        (path, outside)
    };
    paths.lines().map(read).collect()
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = |character: &char| character.is_alphanumeric() || "-_ ".contains(*character);
        heading.to_lowercase().chars().filter(kept).collect::<String>().trim().replace(' ', "-")
    };
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The targets of links, images and references.
fn links(page: &str) -> Vec<&str> {
    let inline = page.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let references =
        page.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    inline
        .chain(references)
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let mut dead = Vec::new();
    let mut count = 0;
    for (path, page) in &pages {
        for link in links(page) {
            count += 1;
            let (file, anchor) =
                link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let Ok(target) = target.canonicalize() else {
                dead.push(format!("{}: {link}", path.display()));
                continue;
            };
            let is_there = anchor
                .is_none_or(|anchor| pages.get(&target).is_some_and(|page| anchors(page).contains(anchor)));
            if !is_there {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
    assert!(count > 100, "only {count} links were found");
}

/// A row's tests stand in a list below the tables, and the row links the files that they are in.
#[test]
fn every_test_that_proves_fault_tolerance_exists_in_a_file_that_its_row_links() {
    let docs = root().join("docs");
    let page = std::fs::read_to_string(docs.join("fault-tolerance.md")).unwrap();
    let is_id = |text: &str| {
        text.len() >= 2
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text[1..].parse::<u8>().is_ok()
    };
    let sources: BTreeMap<&str, String> = page
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
        .map(|(name, target)| {
            let target = docs.join(target);
            let text = if target.is_dir() {
                let files = std::fs::read_dir(&target).unwrap().map(|file| file.unwrap().path());
                files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
            } else {
                std::fs::read_to_string(&target).unwrap()
            };
            (name, text)
        })
        .collect();
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if is_id(cells[0]) {
            let files: BTreeSet<&str> =
                cells.last().unwrap().split(", ").map(|cell| cell.trim_matches(['[', ']'])).collect();
            rows.insert(cells[0], files);
        }
    }
    let mut wrong = Vec::new();
    let mut listed = BTreeSet::new();
    for item in page.split("\n- **").skip(1) {
        let Some((id, rest)) = item.split_once("**") else { continue };
        if !is_id(id) {
            continue;
        }
        listed.insert(id);
        let item = rest.split("\n\n").next().unwrap();
        for test in item.split('`').skip(1).step_by(2) {
            let found = rows.get(id).is_some_and(|files| {
                files
                    .iter()
                    .any(|file| sources.get(file).is_some_and(|text| text.contains(&format!("fn {test}("))))
            });
            if !found {
                wrong.push(format!("{id}: {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "tests that are in no file that their row links:\n{}", wrong.join("\n"));
    assert_eq!(listed, rows.keys().copied().collect());
    assert!(rows.len() > 40, "only {} rows were found", rows.len());
}

#[test]
fn readme_and_architecture_are_short() {
    for (page, max_words, max_lines) in [("README.md", 900, 150), ("ARCHITECTURE.md", 2_500, usize::MAX)] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let (words, lines) = (text.split_whitespace().count(), text.lines().count());
        assert!(words <= max_words && lines <= max_lines, "{page}: {words} words, {lines} lines");
    }
}
