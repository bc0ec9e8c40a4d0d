//! `cargo xtask codegen`: writes the wire messages of the node from their schema.
#![allow(clippy::disallowed_methods, reason = "a tool on the developer's machine has real files")]

mod apis;
mod records;
mod rust;
mod schema;
mod spelling;

use anyhow::{Context, bail, ensure};
use schema::{Api, Data, Record};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Files by name.
type Files = BTreeMap<String, String>;

/// Generates `node/src/wire/generated` from `node/src/wire/schema`. With `check`, writes nothing
/// and fails if a file differs from what would be written.
///
/// # Errors
/// A schema file is not in the format, rustfmt cannot be run, a file cannot be read or written, or
/// (with `check`) the generated files are stale.
pub fn run(check: bool) -> anyhow::Result<()> {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/src/wire");
    let (schema, generated) = (wire.join("schema"), wire.join("generated"));
    let mut stale = bring(&generated, api_files(&schema)?, check)?;
    for (folder, files) in [("records", record_files(&schema)?), ("data", data_files(&schema)?)] {
        let differing = bring(&generated.join(folder), files, check)?;
        stale.extend(differing.into_iter().map(|name| format!("{folder}/{name}")));
    }
    ensure!(
        stale.is_empty(),
        "node/src/wire/generated differs from its schema in {}: run `cargo xtask codegen`",
        stale.join(", ")
    );
    Ok(())
}

fn api_files(schema: &Path) -> anyhow::Result<Files> {
    let mut apis = read_schema(schema, Api::parse)?;
    apis.sort_by_key(|api| api.key);
    let mut files = Files::new();
    files.insert("mod.rs".to_string(), format(&apis::index(&apis))?);
    for api in &apis {
        let source = apis::module(api).with_context(|| format!("schema of {}", api.name))?;
        files.insert(file_name(&api.name), format(&source)?);
    }
    Ok(files)
}

fn record_files(schema: &Path) -> anyhow::Result<Files> {
    let mut records = read_schema(&schema.join("records"), Record::parse)?;
    records.sort_by_key(|record| record.types.first);
    let mut files = Files::new();
    files.insert("mod.rs".to_string(), format(&records::index(&records))?);
    for record in &records {
        let source =
            records::module(record).with_context(|| format!("schema of {}", record.name))?;
        files.insert(file_name(&record.name), format(&source)?);
    }
    Ok(files)
}

fn data_files(schema: &Path) -> anyhow::Result<Files> {
    let data = read_schema(&schema.join("data"), Data::parse)?;
    let mut files = Files::new();
    files.insert("mod.rs".to_string(), format(&records::data_index(&data))?);
    for data in &data {
        let name = &data.body.name;
        let source = records::data_module(data).with_context(|| format!("schema of {name}"))?;
        files.insert(file_name(name), format(&source)?);
    }
    Ok(files)
}

fn file_name(name: &str) -> String {
    format!("{}.rs", spelling::snake_case(name))
}

/// Makes a folder hold exactly those files. With `check`, writes nothing and gives the names of
/// those that differ.
fn bring(folder: &Path, files: Files, check: bool) -> anyhow::Result<Vec<String>> {
    let present = read_folder(folder)?;
    if check {
        let names: BTreeSet<_> = files.keys().chain(present.keys()).collect();
        let differs = |name: &&&String| files.get(**name) != present.get(**name);
        return Ok(names.iter().filter(differs).map(|name| name.to_string()).collect());
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for name in present.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(name)).with_context(|| format!("remove {name}"))?;
    }
    for (name, source) in files.iter().filter(|(name, source)| present.get(*name) != Some(source)) {
        fs::write(folder.join(name), source).with_context(|| format!("write {name}"))?;
    }
    Ok(Vec::new())
}

fn read_schema<T>(
    folder: &Path,
    parse: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<Vec<T>> {
    let mut schemas = Vec::new();
    for (name, text) in read_folder(folder)? {
        if name.ends_with(".schema") {
            match parse(&text) {
                Ok(schema) => schemas.push(schema),
                Err(problem) => bail!("{}/{name}: {problem}", folder.display()),
            }
        }
    }
    Ok(schemas)
}

/// The files of a folder by name; none if there is no such folder.
fn read_folder(folder: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    if !folder.exists() {
        return Ok(files);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        files.insert(name, text);
    }
    Ok(files)
}

fn format(source: &str) -> anyhow::Result<String> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rustfmt.toml");
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run rustfmt: install it with `rustup component add rustfmt`")?;
    // rustfmt reads everything before it writes anything, so this cannot block both ways.
    let mut input = rustfmt.stdin.take().context("rustfmt has no input")?;
    input.write_all(source.as_bytes()).context("give the source to rustfmt")?;
    drop(input);
    let output = rustfmt.wait_with_output().context("wait for rustfmt")?;
    ensure!(output.status.success(), "rustfmt refused the generated source:\n{source}");
    String::from_utf8(output.stdout).context("rustfmt's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_files_are_those_of_the_schema() {
        run(true).unwrap();
    }

    #[test]
    fn a_record_needs_its_types_its_versions_and_both_parts() {
        let whole = "record R\ntypes 0-1\nversions 0-4\nflexible 4+\nwritten 3\n\
                     key K\n  A string\nvalue V\n  B int32 versions=4+\n";
        let record = Record::parse(whole).unwrap();
        assert_eq!((record.types.last, record.flexible_from, record.written), (1, 4, 3));
        let newest = Record::parse(&whole.replace("written 3\n", "")).unwrap();
        assert_eq!(newest.written, 4);
        for (missing, problem) in [
            ("record R\n", "the first line is not `record NAME`"),
            ("types 0-1\n", "`types` is missing"),
            ("versions 0-4\n", "`versions` is missing"),
            ("key K\n  A string\n", "`key NAME` is missing"),
            ("value V\n  B int32 versions=4+\n", "`value NAME` is missing"),
        ] {
            assert_eq!(Record::parse(&whole.replace(missing, "")).unwrap_err(), problem);
        }
    }

    #[test]
    fn a_line_that_is_not_in_the_format_is_named() {
        let head = "api A\nkey 1\nversions 0-1\nrequest-limit 1 KiB\nrequest ARequest\n";
        for (fields, problem) in [
            ("  Name text\n", "line 6: `text` is no type and no fields follow"),
            ("  Name\n", "line 6: a field needs a name and a type"),
            ("  Name string versions=2+\n", "line 6: `2+` is no range of served versions"),
            ("  Name string optional\n", "line 6: `optional` is no attribute of a field"),
            ("  Name string\n    Name string\n", "line 7: the indentation has no field above it"),
            ("  Name string\n", "`response NAME` is missing"),
        ] {
            assert_eq!(Api::parse(&format!("{head}{fields}")).unwrap_err(), problem);
        }
    }
}
