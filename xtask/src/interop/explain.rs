//! The pages of failed runs in a real browser: planted bugs are run and explained, and
//! `xtask/interop/browser/explain_page.js` opens their pages and uses them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::program::Program;
use super::{Places, Report, Verdict, clients};
use crate::sim::{self, explain, scenario, subject::Subject, worker::Run};

/// The name on the command line and in the report.
pub const NAME: &str = "explain";

/// The pages that are looked at: their names, scenario and planted bug.
const FAILURES: [(&str, &str, &str); 3] = [
    ("lost-after-failover", "fast-double-failover", "all-means-leader"),
    ("lost-with-the-power", "power-cut-under-load", "ack-before-fsync"),
    ("two-owners", "group-churn", "granted-before-revoked"),
];

/// One of so many seeds shows each of those bugs.
const SEEDS: u64 = 20;

/// Browsers that will do, the smallest first.
const BROWSERS: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// Explains the failures and opens their pages. Pictures of the pages go to `pictures`, or stay
/// beside the pages.
pub(super) fn run(places: &Places, pictures: Option<&Path>, report: &mut Report) {
    let started = Instant::now();
    let browser = match install(places) {
        Ok(browser) => browser,
        // A machine on which no browser can be had says nothing about the pages.
        Err(error) => {
            let reason = format!("no browser can be had: {error:#}");
            return report.add(NAME, "prepare", Verdict::Skipped, started.elapsed(), reason);
        }
    };
    match pages(places) {
        Ok(pages) => {
            let directory = pictures.map_or_else(|| places.work.join(NAME), Path::to_path_buf);
            let command = command(places, &browser, &directory, &pages);
            let note = Ok(browser.display().to_string());
            report.result(NAME, "prepare", started.elapsed(), note);
            Program::new(NAME, command, places).run(report);
        }
        Err(error) => report.result(NAME, "prepare", started.elapsed(), Err(error)),
    }
}

/// The browser, and what drives it.
fn install(places: &Places) -> Result<PathBuf> {
    let home = places.work.join("browser");
    let wanted = places.sources().join("browser/package.json");
    let text = std::fs::read_to_string(&wanted)
        .with_context(|| format!("cannot read {}", wanted.display()))?;
    clients::unless_installed(&home, &text, || {
        clients::need(places, "npm", &["nodejs", "npm"])?;
        std::fs::create_dir_all(&home)?;
        std::fs::copy(&wanted, home.join("package.json"))?;
        let arguments = ["install", "--no-package-lock", "--no-audit", "--no-fund"];
        let mut npm = clients::command_line("npm", &arguments);
        clients::run(places, "npm-browser", npm.current_dir(&home))
    })?;
    if let Some(browser) = BROWSERS.iter().find_map(|name| clients::on_path(name)) {
        return Ok(browser);
    }
    clients::apt_install(places, &[BROWSERS[0], "fonts-dejavu-core"])?;
    clients::on_path(BROWSERS[0]).context("no browser even after installing one")
}

/// Runs the planted bugs; the pages of their failures.
fn pages(places: &Places) -> Result<Vec<PathBuf>> {
    let worker = sim::build_worker()?;
    let directory = places.fresh(NAME)?;
    let mut pages = Vec::new();
    for (name, scenario, mutant) in FAILURES {
        let found = scenario::select(&places.root.join("scenarios"), &[scenario.to_owned()])?;
        let scenario = found.into_iter().next().context("no scenario of that name")?;
        let page = directory.join(format!("{name}.html"));
        let mutant = Some(mutant.to_owned());
        let run =
            |seed| Subject::Seed(Run { scenario: scenario.clone(), seed, mutant: mutant.clone() });
        let mut found = false;
        for seed in 0..SEEDS {
            found = !explain::explain(&worker, &run(seed), &page)?.passed;
            if found {
                break;
            }
        }
        ensure!(found, "{name}: the planted bug was not found in {SEEDS} seeds");
        pages.push(page);
    }
    Ok(pages)
}

fn command(places: &Places, browser: &Path, pictures: &Path, pages: &[PathBuf]) -> Command {
    let mut command = Command::new("node");
    command
        .arg(places.sources().join("browser/explain_page.js"))
        .arg(browser)
        .arg(pictures)
        .args(pages)
        .env("NODE_PATH", places.work.join("browser/node_modules"));
    command
}
