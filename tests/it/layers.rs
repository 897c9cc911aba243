//! The layers of `src/` and what each may use: the tables of docs/architecture.md are compared, both ways, with what the
//! code imports. Sources are parsed, so that no spelling of a path hides an import.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A module of the library or of a binary, and the names that the modules of a file use.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// For all layers, and below them: not among what they use.
const FOR_ALL: [&str; 2] = ["digest", "rng"];

/// The layers that may write to the terminal.
const PRINTING: [&str; 1] = ["ui"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the code of a layer does.
#[derive(Default)]
struct Found {
    /// Per layer, the other layers whose names occur in it.
    layers: Uses,
    /// Per layer, the packages whose names occur in it.
    packages: Uses,
    /// Per layer, the macros that it calls.
    macros: Uses,
    /// Paths that lead to the root of the crate, from where everything can be had.
    to_the_root: Vec<String>,
}

/// Names that stand for packages in paths.
fn packages() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("[dependencies]").expect("dependencies");
    let lines = rest.split("\n[").next().unwrap().lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_")).collect()
}

/// One module while it is read.
struct Module<'a> {
    found: &'a mut Found,
    packages: &'a BTreeSet<String>,
    file: PathBuf,
    /// Where its child modules lie.
    folder: PathBuf,
    /// From the root of the crate.
    path: Vec<String>,
    /// The layer that it is part of.
    layer: String,
    /// Names that mean something of this crate, though packages may have the same.
    own_names: BTreeSet<String>,
}

impl Module<'_> {
    /// The path as seen from the root of the crate, if it is one of this crate.
    fn absolute(&self, segments: &[String]) -> Option<Vec<String>> {
        let mut base = match segments.first()?.as_str() {
            "crate" | "cnsdiff_pipe" => Vec::new(),
            "self" => self.path.clone(),
            "super" => self.path.split_last().map_or(&[][..], |(_, parent)| parent).to_vec(),
            _ => return None,
        };
        for segment in &segments[1..] {
            match segment.as_str() {
                "super" => drop(base.pop()),
                "self" => {}
                name => base.push(name.to_owned()),
            }
        }
        Some(base)
    }

    /// Takes note of a path that occurs in the code.
    fn note(&mut self, segments: &[String], from_outside: bool) {
        let Some(first) = segments.first() else { return };
        if let Some(path) = self.absolute(segments) {
            match path.first() {
                Some(layer) if *layer != self.layer => {
                    self.found.layers.entry(self.layer.clone()).or_default().insert(layer.clone());
                }
                Some(_) => {}
                None => self.found.to_the_root.push(format!("{}: {}", self.file.display(), segments.join("::"))),
            }
        } else if self.packages.contains(first) && (from_outside || !self.own_names.contains(first)) {
            self.found.packages.entry(self.layer.clone()).or_default().insert(first.clone());
        }
    }

    fn items(&mut self, items: &[syn::Item]) {
        for item in items {
            match item {
                syn::Item::Mod(module) => drop(self.own_names.insert(module.ident.to_string())),
                syn::Item::Use(item) => {
                    let mut names = Vec::new();
                    leaves(&item.tree, &mut Vec::new(), &mut names);
                    let own = names.into_iter().filter(|(path, _)| self.absolute(path).is_some());
                    let own: Vec<String> = own.map(|(_, name)| name).collect();
                    self.own_names.extend(own);
                }
                _ => {}
            }
        }
        items.iter().for_each(|item| self.visit_item(item));
    }

    fn child(&mut self, name: &str, folder: PathBuf, file: PathBuf, items: &[syn::Item]) {
        let path: Vec<String> = self.path.iter().cloned().chain([name.to_owned()]).collect();
        // The modules of a binary are part of the layer that the binary is.
        let layer = if self.layer == "lib" { name.to_owned() } else { self.layer.clone() };
        let (found, packages) = (&mut *self.found, self.packages);
        Module { found, packages, file, folder, path, layer, own_names: BTreeSet::new() }.items(items);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    // `test` alone, or as one of the conditions that must all hold.
    let is_test = |condition: &syn::Meta| match condition {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(|one| one.path().is_ident("test"))),
        _ => false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Meta>().is_ok_and(|condition| is_test(&condition))
    })
}

/// Every path of a `use`, and the name that it gives.
fn leaves(tree: &syn::UseTree, prefix: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let mut leaf = |last: Option<String>, name: String| {
        found.push((prefix.iter().cloned().chain(last).collect(), name));
    };
    match tree {
        syn::UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, found);
            prefix.pop();
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, prefix, found)),
        syn::UseTree::Name(name) => leaf(Some(name.ident.to_string()), name.ident.to_string()),
        syn::UseTree::Rename(rename) => leaf(Some(rename.ident.to_string()), rename.rename.to_string()),
        syn::UseTree::Glob(_) => leaf(None, "*".to_owned()),
    }
}

impl<'ast> Visit<'ast> for Module<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test(&module.attrs) {
            return;
        }
        let name = module.ident.to_string();
        let folder = self.folder.join(&name);
        if let Some((_, items)) = &module.content {
            return self.child(&name, folder, self.file.clone(), items);
        }
        let file = [folder.with_extension("rs"), folder.join("mod.rs")].into_iter().find(|path| path.exists());
        let file = file.unwrap_or_else(|| panic!("{}: no file for `mod {name}`", self.file.display()));
        let items = parse(&file).items;
        self.child(&name, folder, file, &items);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            let mut paths = Vec::new();
            leaves(&item.tree, &mut Vec::new(), &mut paths);
            paths.iter().for_each(|(path, _)| self.note(path, item.leading_colon.is_some()));
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments, path.leading_colon.is_some());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            self.found.macros.entry(self.layer.clone()).or_default().insert(name.ident.to_string());
        }
        // What a macro is given need not be Rust: its words are looked through for paths.
        let text = call.tokens.to_string().replace(" :: ", "::");
        for path in text.split(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':')) {
            let segments: Vec<String> = path.split("::").map(str::to_owned).collect();
            if segments.len() > 1 && segments.iter().all(|segment| !segment.is_empty() && !segment.contains(':')) {
                self.note(&segments, false);
            }
        }
        visit::visit_macro(self, call);
    }
}

fn parse(file: &Path) -> syn::File {
    let text = fs::read_to_string(file).unwrap();
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Reads a crate from the file of its root.
fn read(found: &mut Found, packages: &BTreeSet<String>, file: &Path, layer: &str) {
    let items = parse(file).items;
    let (file, folder) = (file.to_owned(), file.parent().unwrap().to_owned());
    let own_names = BTreeSet::new();
    Module { found, packages, file, folder, path: Vec::new(), layer: layer.to_owned(), own_names }.items(&items);
}

fn found() -> Found {
    let (mut found, packages, src) = (Found::default(), packages(), root().join("src"));
    read(&mut found, &packages, &src.join("lib.rs"), "lib");
    read(&mut found, &packages, &src.join("main.rs"), "main");
    for entry in fs::read_dir(src.join("bin")).unwrap().flatten() {
        read(&mut found, &packages, &entry.path(), "bin");
    }
    found
}

/// The rows of a table of docs/architecture.md, in order: the name in the first cell and the names in the last one.
fn table(heading: &str) -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("docs/architecture.md has no `{heading}`"));
    let rows = rest.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(|name| name.trim_end_matches('/').trim_end_matches(".rs").to_owned()).collect()
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (names(cells[0]).remove(0), names(cells[cells.len() - 1]).into_iter().collect())
    };
    rows.map(row).collect()
}

/// How the code differs from the documentation, as lines that say what to write there.
fn differences(documented: &[(String, BTreeSet<String>)], found: &Uses) -> Vec<String> {
    let empty = BTreeSet::new();
    let documented: BTreeMap<_, _> = documented.iter().cloned().collect();
    let names: BTreeSet<&String> = documented.keys().chain(found.keys()).collect();
    let mut wrong = Vec::new();
    for name in names {
        let uses = found.get(name).unwrap_or(&empty);
        match documented.get(name) {
            None => wrong.push(format!("`{name}` is in no row; it uses {uses:?}")),
            Some(told) if told != uses => wrong.push(format!("`{name}` uses {uses:?}, and is said to use {told:?}")),
            Some(_) => {}
        }
    }
    wrong
}

#[test]
fn layers_use_what_the_documentation_says_and_nothing_else() {
    let found = found();
    assert!(found.to_the_root.is_empty(), "these imports bring in every layer: {:#?}", found.to_the_root);
    let documented = table("## Layers");
    let mut layers = found.layers;
    layers.values_mut().for_each(|uses| uses.retain(|layer| !FOR_ALL.contains(&layer.as_str())));
    // Those that use no other have a row too.
    for entry in fs::read_dir(root().join("src")).unwrap().flatten() {
        let name = entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "lib" {
            layers.entry(name).or_default();
        }
    }
    let wrong = differences(&documented, &layers);
    assert!(wrong.is_empty(), "docs/architecture.md, `## Layers`:\n{}", wrong.join("\n"));

    let place = |name: &str| documented.iter().position(|(layer, _)| layer == name);
    for (layer, uses) in &documented {
        for used in uses {
            assert!(place(used) > place(layer), "docs/architecture.md: `{layer}` uses `{used}`, which stands above it");
        }
    }
}

#[test]
fn packages_with_a_place_are_used_nowhere_else() {
    let mut by_package = Uses::new();
    let documented = table("### Packages with a place");
    for (layer, packages) in found().packages {
        for package in packages {
            by_package.entry(package).or_default().insert(layer.clone());
        }
    }
    by_package.retain(|package, _| documented.iter().any(|(name, _)| name == package));
    let wrong = differences(&documented, &by_package);
    assert!(wrong.is_empty(), "docs/architecture.md, `### Packages with a place`:\n{}", wrong.join("\n"));
}

#[test]
fn printing_stays_in_its_place() {
    for (layer, macros) in found().macros {
        let printing =
            ["print", "println", "eprint", "eprintln", "dbg"].into_iter().find(|name| macros.contains(*name));
        assert!(
            printing.is_none() || PRINTING.contains(&layer.as_str()),
            "`{layer}` calls {printing:?}: only ui/ prints"
        );
    }
}

#[test]
fn every_spelling_of_an_import_is_seen() {
    let seen = |text: &str| {
        let mut found = Found::default();
        let packages = BTreeSet::from(["arrow".to_owned(), "parquet".to_owned()]);
        let items = syn::parse_file(text).unwrap().items;
        let path = ["data".to_owned(), "format".to_owned()].to_vec();
        let (file, folder, layer, own_names) = (PathBuf::new(), PathBuf::new(), "data".to_owned(), BTreeSet::new());
        Module { found: &mut found, packages: &packages, file, folder, path, layer, own_names }.items(&items);
        let names = |mut uses: Uses| uses.remove("data").unwrap_or_default().into_iter().collect::<Vec<_>>().join(" ");
        (names(found.layers), names(found.packages), found.to_the_root.len())
    };
    let layers = [
        ("use crate::{cli, ui::{self, text}};", "cli ui"),
        ("use crate::train as other;", "train"),
        ("pub use super::super::stats::holm;", "stats"),
        ("use super::{super::stats, ids};", "stats"),
        ("mod inner { use super::super::super::stats::holm; }", "stats"),
        ("fn f() -> crate::ui::View { crate::store::open::<crate::model::Rows>() }", "model store ui"),
        ("fn f() { assert_eq!(crate::stats::holm(&[]), vec![]); }", "stats"),
        ("fn f() { use crate::plan::Plan; }", "plan"),
        ("impl crate::engine::Sink for X {}", "engine"),
        ("use crate::data::ids; use super::ids as other; use self::lines;", ""),
        ("#[cfg(test)] mod tests { use crate::cli; } #[cfg(test)] use crate::ui;", ""),
        ("#[cfg(feature = \"torch\")] use crate::train::fit;", "train"),
    ];
    for (text, expected) in layers {
        assert_eq!(seen(text), (expected.to_owned(), String::new(), 0), "{text}");
    }
    assert_eq!(seen("use super::super::*;").2, 1);
    assert_eq!(seen("use crate as all; use crate::{self as again};").2, 2);
    let packages = [
        ("use arrow::array::Array;", "arrow"),
        ("fn f(x: arrow::array::Float64Array) {}", "arrow"),
        ("mod parquet {} fn f() { parquet::write(); }", ""),
        ("use super::parquet; fn f() { parquet::write(); }", ""),
        ("mod parquet {} fn f() { ::parquet::write(); }", "parquet"),
    ];
    for (text, expected) in packages {
        assert_eq!(seen(text).1, expected, "{text}");
    }
}
