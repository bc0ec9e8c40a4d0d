//! `cargo xtask codegen`: writes the wire messages of the node from their schema.
#![allow(clippy::disallowed_methods, reason = "a tool on the developer's machine has real files")]

mod rust;
mod schema;
mod spelling;

use anyhow::{Context, bail, ensure};
use schema::Api;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Generates `node/src/wire/generated` from `node/src/wire/schema`. With `check`, writes nothing
/// and fails if a file differs from what would be written.
///
/// # Errors
/// A schema file is not in the format, rustfmt cannot be run, a file cannot be read or written, or
/// (with `check`) the generated files are stale.
pub fn run(check: bool) -> anyhow::Result<()> {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/src/wire");
    let mut apis = read_schema(&wire.join("schema"))?;
    apis.sort_by_key(|api| api.key);

    let mut files = BTreeMap::new();
    files.insert("mod.rs".to_string(), format(&rust::index(&apis))?);
    for api in &apis {
        let source = rust::module(api).with_context(|| format!("schema of {}", api.name))?;
        files.insert(format!("{}.rs", spelling::snake_case(&api.name)), format(&source)?);
    }

    let folder = wire.join("generated");
    let present = read_folder(&folder)?;
    if check {
        let stale: Vec<_> = files
            .keys()
            .chain(present.keys())
            .filter(|name| files.get(*name) != present.get(*name))
            .map(String::as_str)
            .collect();
        ensure!(
            stale.is_empty(),
            "node/src/wire/generated differs from its schema in {}: run `cargo xtask codegen`",
            stale.join(", ")
        );
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for name in present.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(name)).with_context(|| format!("remove {name}"))?;
    }
    for (name, source) in files.iter().filter(|(name, source)| present.get(*name) != Some(source)) {
        fs::write(folder.join(name), source).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

fn read_schema(folder: &Path) -> anyhow::Result<Vec<Api>> {
    let mut apis = Vec::new();
    for (name, text) in read_folder(folder)? {
        if name.ends_with(".schema") {
            match Api::parse(&text) {
                Ok(api) => apis.push(api),
                Err(problem) => bail!("node/src/wire/schema/{name}: {problem}"),
            }
        }
    }
    Ok(apis)
}

/// The files of a folder by name; none if there is no such folder.
fn read_folder(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    if !folder.exists() {
        return Ok(files);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
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
