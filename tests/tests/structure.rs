//! Modules do not import each other in circles: of two modules beside each other, at most one depends on the other.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CRATES: [&str; 10] = [
    "shared",
    "functions/lambda-adapter",
    "host",
    "etl",
    "sample-data",
    "local",
    "cli",
    "tests/rig",
    "bench",
    "openapi",
];

/// The path of a module in its crate: `["database", "pool"]`.
type Module = Vec<String>;

/// A source file without its tests.
struct Source {
    module: Module,
    text: String,
}

/// The sources of a library, by module.
struct Library {
    sources: BTreeMap<Module, Source>,
    /// For each module the names that it re-exports or imports from modules below it.
    names: BTreeMap<Module, BTreeMap<String, Module>>,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files.into_iter().filter(is_source).chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

fn without_tests_and_comments(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

impl Library {
    fn read(folder: &Path) -> Self {
        let mut sources = BTreeMap::new();
        for file in files(folder) {
            let path = file.strip_prefix(folder).unwrap().with_extension("");
            let mut module: Module =
                path.iter().map(|segment| segment.to_str().unwrap().to_owned()).collect();
            if module.iter().any(|segment| segment == "tests") || module == ["main"] {
                continue;
            }
            if module.last().is_some_and(|last| last == "mod" || last == "lib") {
                module.pop();
            }
            let text = without_tests_and_comments(&std::fs::read_to_string(&file).unwrap());
            sources.insert(module.clone(), Source { module, text });
        }
        let mut library = Self { sources, names: BTreeMap::new() };
        for source in library.sources.values() {
            let mut names = BTreeMap::new();
            for path in imports(&source.text) {
                let [first, .., name] = path.as_slice() else { continue };
                let first = if first == "self" { &path[1] } else { first };
                let below: Module = source.module.iter().chain([first]).cloned().collect();
                if library.sources.contains_key(&below) {
                    names.insert(name.clone(), below);
                }
            }
            library.names.insert(source.module.clone(), names);
        }
        library
    }

    /// Returns the module that a path leads to from a module; `None` for a path out of the library.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut module = match path.first()?.as_str() {
            "crate" => Module::new(),
            "super" => from.split_last()?.1.to_vec(),
            _ => return None,
        };
        for segment in &path[1..] {
            if segment == "super" {
                module.pop();
                continue;
            }
            let below: Module = module.iter().chain([segment]).cloned().collect();
            if self.sources.contains_key(&below) {
                module = below;
            } else if let Some(target) = self.names.get(&module).and_then(|names| names.get(segment)) {
                module.clone_from(target);
            } else {
                break;
            }
        }
        Some(module)
    }

    /// Returns the dependencies between modules beside each other, by the module above them.
    fn dependencies(&self) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
        let mut all: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for source in self.sources.values() {
            let paths = imports(&source.text).into_iter().chain(inline_paths(&source.text));
            for target in paths.filter_map(|path| self.resolve(&source.module, &path)) {
                let same = source.module.iter().zip(&target).take_while(|(one, other)| one == other).count();
                if let (Some(one), Some(other)) = (source.module.get(same), target.get(same)) {
                    let siblings = all.entry(source.module[..same].to_vec()).or_default();
                    siblings.entry(one.clone()).or_default().insert(other.clone());
                }
            }
        }
        all
    }
}

/// Returns the paths of all `use` declarations, one for each name.
fn imports(text: &str) -> Vec<Vec<String>> {
    let declarations = text.split("use ").skip(1).filter_map(|rest| rest.split(';').next());
    declarations
        .flat_map(|tree| paths_of_tree(&tree.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// Returns the paths of a tree such as `a::{b, c::{d, e as f}}`.
fn paths_of_tree(tree: &str) -> Vec<Vec<String>> {
    let segments = |path: &str| -> Vec<String> {
        let path = path.split(" as ").next().unwrap();
        path.split("::")
            .map(|segment| segment.trim().to_owned())
            .filter(|segment| !segment.is_empty())
            .collect()
    };
    let Some((before, rest)) = tree.split_once('{') else { return vec![segments(tree)] };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (index, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths_of_tree(part.trim())).map(|path| [segments(before), path].concat()).collect()
}

/// Returns the paths that begin with `crate::` or `super::` outside of `use` declarations, too.
fn inline_paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (index, _) in text.match_indices(start) {
            let is_path = |character: char| character.is_alphanumeric() || "_:".contains(character);
            let path: String = text[index..].chars().take_while(|character| is_path(*character)).collect();
            paths.push(path.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect());
        }
    }
    paths
}

/// Returns a circle of dependencies, if there is one.
fn circle(dependencies: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        module: &String,
        dependencies: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|visited| visited == module) {
            return Some(path[start..].iter().chain([module]).cloned().collect());
        }
        if done.contains(module) {
            return None;
        }
        path.push(module.clone());
        for next in dependencies.get(module).into_iter().flatten().filter(|next| *next != module) {
            if let Some(found) = visit(next, dependencies, path, done) {
                return Some(found);
            }
        }
        path.pop();
        done.insert(module.clone());
        None
    }
    let mut done = BTreeSet::new();
    dependencies.keys().find_map(|module| visit(module, dependencies, &mut Vec::new(), &mut done))
}

#[test]
fn modules_beside_each_other_do_not_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut circles = Vec::new();
    let mut checked = 0;
    for name in CRATES {
        for (parent, dependencies) in Library::read(&root.join(name).join("src")).dependencies() {
            checked += dependencies.len();
            if let Some(circle) = circle(&dependencies) {
                circles.push(format!("{name}, {}: {}", parent.join("::"), circle.join(" -> ")));
            }
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
    assert!(checked > 50, "only {checked} modules with dependencies were found");
}

#[test]
fn paths_are_found_in_trees_and_in_code() {
    let text = "use crate::a::{b, c::{D, e as f}};\nfn g() { super::h::i(crate::j) }";
    let mut found: Vec<String> =
        imports(text).into_iter().chain(inline_paths(text)).map(|path| path.join("::")).collect();
    found.sort();
    found.dedup();
    assert_eq!(
        found,
        ["crate::a", "crate::a::b", "crate::a::c::D", "crate::a::c::e", "crate::j", "super::h::i"]
    );
    let of = |pairs: &[(&str, &str)]| {
        let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (one, other) in pairs {
            dependencies.entry((*one).to_owned()).or_default().insert((*other).to_owned());
        }
        circle(&dependencies)
    };
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("c", "b")]).unwrap(), ["b", "c", "b"]);
}
