//! What `docs/campaigns.md` and the files beside it tell people to type is taken as it is meant.

use clap::Parser;

use super::shard::Shard;
use crate::sim::{Command, Options};
use crate::workspace;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn document(name: &str) -> String {
    let file = workspace::root().join("docs").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What stands for a number that only the machine knows is that of the first shard.
fn parse(line: &str) -> Options {
    let line = line.replace("${{ matrix.shard }}", "0").replace("$JOB_COMPLETION_INDEX", "0");
    let words = std::iter::once("sim").chain(line.split_whitespace());
    Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).options
}

/// Every command line in a document, from behind `cargo xtask sim` to the end of it.
fn command_lines(text: &str) -> Vec<String> {
    // A backslash, or a folded text of YAML, goes on in the next line.
    let text = text.replace("\\\n", " ");
    let lines = text.lines().collect::<Vec<_>>();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.contains('`') || line.trim_start().starts_with("# ") {
            continue;
        }
        let Some((_, rest)) = line.split_once("cargo xtask sim") else { continue };
        let mut words = rest.split(" # ").next().unwrap_or_default().to_owned();
        for next in lines[at + 1..].iter().take_while(|next| next.trim_start().starts_with("--")) {
            words.push_str(next);
        }
        found.push(words);
    }
    found
}

/// The only campaign in a document, and the number behind `key`.
fn campaign(name: &str, key: &str) -> (Options, String) {
    let text = document(name);
    let lines = command_lines(&text);
    let campaigns: Vec<&String> = lines.iter().filter(|line| line.contains("--shard")).collect();
    let [line] = campaigns[..] else { panic!("{name} has {} campaigns", campaigns.len()) };
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_default();
    (parse(line), value.trim().to_owned())
}

#[test]
fn every_command_line_is_understood() {
    let mut count = 0;
    for name in ["campaigns.md", "campaigns/nightly.yaml", "campaigns/job.yaml"] {
        for line in command_lines(&document(name)) {
            parse(&line);
            count += 1;
        }
    }
    assert!(count >= 11, "only {count} command lines were found");
}

#[test]
fn the_pods_of_the_job_are_the_shards() {
    let (options, completions) = campaign("campaigns/job.yaml", "completions:");
    let text = document("campaigns/job.yaml");
    assert!(text.contains("completionMode: Indexed"));
    assert!(text.contains(&format!("--shard $JOB_COMPLETION_INDEX/{completions}")));
    let of = completions.parse().unwrap();
    assert_eq!(options.campaign.shard, Shard { index: 0, of });
    assert_eq!(options.campaign.state.unwrap().to_str(), Some("/state/0.state"));
    assert!(options.campaign.nightly);
}

#[test]
fn the_jobs_of_the_workflow_are_the_shards_and_all_are_judged() {
    let (options, jobs) = campaign("campaigns/nightly.yaml", "shard: [");
    let of = jobs.split(',').count() as u64;
    assert_eq!(options.campaign.shard, Shard { index: 0, of });
    let lines = command_lines(&document("campaigns/nightly.yaml"));
    let judged = lines.iter().find(|line| line.trim_start().starts_with("summary")).unwrap();
    assert!(matches!(parse(judged).command, Some(Command::Summary(_))));
    for index in 0..of {
        assert!(judged.contains(&format!("shards/shard-{index}/shard-{index}.state")), "{index}");
    }
}
