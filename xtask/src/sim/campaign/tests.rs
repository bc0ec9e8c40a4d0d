//! Whole campaigns with workers that are shell scripts.

use std::path::Path;

use super::identity::Identity;
use super::journal::{FORMAT, Header};
use super::shard::Shard;
use super::*;
use crate::counts::{Counts, Usage};
use crate::sim::seeds::Seeds;
use crate::sim::worker::tests::{fake_worker, run};

fn plan(names: &[&str], seeds: &str) -> Plan {
    let scenarios = names.iter().map(|name| run(name, 0).scenario).collect();
    Plan::new(scenarios, seeds.parse().unwrap())
}

fn campaign(names: &[&str], seeds: &str) -> Campaign {
    Campaign::new(plan(names, seeds), 3)
}

/// The same with its state in the file `state` beside the worker.
fn kept(plan: Plan, worker: &Worker) -> anyhow::Result<Campaign> {
    let directory = &worker.directory;
    std::fs::create_dir_all(directory.join("scenarios")).unwrap();
    for scenario in plan.scenarios() {
        std::fs::write(directory.join(&scenario.file), "").unwrap();
    }
    let campaign = Identity::of(&plan, worker).unwrap();
    let header = Header { format: FORMAT, campaign, situations: Vec::new(), nightly: false };
    let state = Some(Journal::open(&directory.join("state"), &header)?);
    Ok(Campaign { state, ..Campaign::new(plan, 2) })
}

/// Says what it ran in the file `ran`, and passes.
const NOTES: &str =
    r#"echo $scenario$seed >> ran; echo '{"passed":true,"hash":"1","simulated_seconds":60}'"#;

fn ran(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("ran")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn every_seed_of_every_scenario_is_run_and_counted() {
    let (_scratch, worker) = fake_worker(
        r#"if [ $scenario-$seed = b-2 ]; then
             echo '{"passed":false,"hash":"0","failure":{"check":"L4","message":"read ahead"}}'
             exit 1
           fi
           echo '{"passed":true,"hash":"'$seed'","simulated_seconds":2,"ops":{"ok":5}}'"#,
    );
    let summary = campaign(&["a", "b"], "0..4").run(&worker).unwrap();
    assert_eq!(summary.counts(), Counts { passed: 7, failed: 1 });
    assert_eq!(summary.ended, Ended::Complete);
    assert_eq!(summary.scenarios["a"].operations, [20, 0, 0]);
    assert_eq!(summary.scenarios["b"].failed, 1);
    assert_eq!(summary.failures[0].replay, "cargo xtask sim replay b --seed 2");
    assert!(serde_json::to_string(&summary).unwrap().contains("read ahead"));
}

#[test]
fn a_fault_without_any_effect_fails_the_campaign() {
    let (_scratch, worker) =
        fake_worker(r#"echo '{"passed":true,"hash":"1","effects":{"torn":1,"lost":0,"never":0}}'"#);
    let long = campaign(&["a"], "0..20").run(&worker).unwrap();
    assert_eq!(long.scenarios["a"].missing_effects, ["lost", "never"]);
    assert_eq!(long.counts(), Counts { passed: 20, failed: 2 });
    let short = campaign(&["a"], "0..19").run(&worker).unwrap();
    assert_eq!(short.counts(), Counts { passed: 19, failed: 0 });
}

#[test]
fn a_fault_that_is_rarely_on_needs_no_effect() {
    let (_scratch, worker) = fake_worker(
        r#"if [ $seed = 3 ]; then faults='"rare":0'; fi
           echo '{"passed":true,"hash":"1","effects":{'$faults'}}'"#,
    );
    let summary = campaign(&["a"], "0..25").run(&worker).unwrap();
    assert!(summary.counts().is_success());
}

#[test]
fn a_situation_that_is_never_reached_fails_the_campaign_that_must_reach_all() {
    let (_scratch, worker) = fake_worker(
        r#"[ $seed = 2 ] && odd='"odd":4'
           echo '{"passed":true,"hash":"1","situations":{'$odd'}}'"#,
    );
    let strict = |seeds| Campaign {
        situations: vec!["even".into(), "odd".into()],
        all_situations: true,
        ..campaign(&["a"], seeds)
    };
    let summary = strict("0..5").run(&worker).unwrap();
    assert_eq!(summary.situations.never, ["even"]);
    assert_eq!(summary.counts(), Counts { passed: 5, failed: 1 });
    assert_eq!(strict("0..2").run(&worker).unwrap().failed, 2);
    let lenient = Campaign { all_situations: false, ..strict("0..2") };
    assert_eq!(lenient.run(&worker).unwrap().failed, 0);
    let stopped = Campaign { interrupt: Arc::new(AtomicBool::new(true)), ..strict("0..2") };
    assert_eq!(stopped.run(&worker).unwrap().failed, 0);
}

#[test]
fn a_campaign_without_an_end_ends_with_its_time() {
    let (_scratch, worker) = fake_worker(NOTES);
    let plan = Plan::new(vec![run("a", 0).scenario], Seeds::open_from(5));
    let time = Some(Duration::from_secs(1));
    let started = Instant::now();
    let summary = Campaign { time, ..Campaign::new(plan, 2) }.run(&worker).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(summary.ended, Ended::Time);
    assert!(summary.runs > 0);
    assert_eq!(ran(&worker.directory).len() as u64, summary.runs);
}

#[test]
fn with_seeds_and_time_whichever_is_over_first_ends_it() {
    let (_scratch, worker) = fake_worker(NOTES);
    let time = Some(Duration::from_secs(3_600));
    let summary = Campaign { time, ..campaign(&["a"], "0..2") }.run(&worker).unwrap();
    assert_eq!((summary.ended, summary.runs), (Ended::Complete, 2));
}

#[test]
fn a_campaign_that_was_stopped_goes_on_where_it_was_and_runs_nothing_twice() {
    let (_scratch, worker) = fake_worker(NOTES);
    let first = kept(plan(&["a", "b"], "0..2"), &worker).unwrap().run(&worker).unwrap();
    assert_eq!(first.runs, 4);
    // What kill -9 in the middle of the third run would have left.
    let state = worker.directory.join("state");
    let text = std::fs::read_to_string(&state).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&state, format!("{}\n{}", lines[..3].join("\n"), &lines[3][..9])).unwrap();
    std::fs::remove_file(worker.directory.join("ran")).unwrap();
    let second = kept(plan(&["b", "a"], "0..2"), &worker).unwrap().run(&worker).unwrap();
    assert_eq!((second.ended, second.runs, second.simulated_seconds), (Ended::Complete, 4, 240.0));
    assert_eq!(ran(&worker.directory).len(), 2);
    let third = kept(plan(&["a", "b"], "0..2"), &worker).unwrap().run(&worker).unwrap();
    assert_eq!(third.counts(), Counts { passed: 4, failed: 0 });
    assert_eq!(ran(&worker.directory).len(), 2);
}

#[test]
fn the_time_of_all_sittings_is_one() {
    let (_scratch, worker) = fake_worker(NOTES);
    let open = || Plan::new(vec![run("a", 0).scenario], Seeds::open_from(0));
    let time = Some(Duration::from_millis(200));
    let first = Campaign { time, ..kept(open(), &worker).unwrap() }.run(&worker).unwrap();
    let second = Campaign { time, ..kept(open(), &worker).unwrap() }.run(&worker).unwrap();
    assert_eq!((second.ended, second.runs), (Ended::Time, first.runs));
    let longer = Duration::from_secs_f64(first.wall_seconds) + Duration::from_secs(2);
    let time = Some(longer);
    let third = Campaign { time, ..kept(open(), &worker).unwrap() }.run(&worker).unwrap();
    assert!(third.runs > first.runs && third.wall_seconds >= longer.as_secs_f64());
    let mut once = ran(&worker.directory);
    once.dedup();
    assert_eq!(once.len() as u64, third.runs);
}

#[test]
fn an_interrupted_campaign_begins_no_run_and_says_so() {
    let (_scratch, worker) = fake_worker(NOTES);
    let interrupt = Arc::new(AtomicBool::new(true));
    let campaign = Campaign { interrupt, ..kept(plan(&["a"], "0..9"), &worker).unwrap() };
    let summary = campaign.run(&worker).unwrap();
    assert_eq!((summary.ended, summary.runs), (Ended::Interrupted, 0));
    let written = Written::read(&worker.directory.join("state")).unwrap().unwrap();
    assert_eq!(written.ended, Ended::Interrupted);
}

#[test]
fn a_run_whose_worker_an_interrupt_has_killed_is_not_done() {
    let (_scratch, worker) = fake_worker("touch begun; sleep 3; kill -9 $$");
    let interrupt = Arc::new(AtomicBool::new(false));
    let stopped = Campaign {
        interrupt: Arc::clone(&interrupt),
        ..kept(plan(&["a"], "0..9"), &worker).unwrap()
    };
    let begun = worker.directory.join("begun");
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !begun.exists() {
                std::thread::yield_now();
            }
            interrupt.store(true, Ordering::Relaxed);
        });
        stopped.run(&worker).unwrap()
    });
    assert_eq!((summary.ended, summary.runs), (Ended::Interrupted, 0));
    // Without an interrupt the same death is a failure.
    let crashed = campaign(&["a"], "0..1").run(&worker).unwrap();
    assert_eq!(crashed.counts(), Counts { passed: 0, failed: 1 });
}

#[test]
fn another_worker_or_another_shard_does_not_go_on_with_a_state() {
    let (_scratch, worker) = fake_worker(NOTES);
    kept(plan(&["a"], "0..2"), &worker).unwrap().run(&worker).unwrap();
    let (_other_scratch, other) = fake_worker("exit 1");
    let other = Worker { directory: worker.directory.clone(), ..other };
    let refused = kept(plan(&["a"], "0..2"), &other).err().unwrap();
    assert!(refused.is::<Usage>());
    assert!(refused.to_string().contains("built from other source"), "{refused}");
    let part = plan(&["a"], "0..2").part(Shard { index: 0, of: 2 });
    assert!(kept(part, &worker).err().unwrap().to_string().contains("the shard is 0/2"));
}

/// A run fails with two faults; a script that is followed fails as long as it has the one called
/// `cut`. The script of a failure goes where it is to go.
const SHRINKS: &str = r#"
    if [ "$2" = --script ]; then
      grep -q 'cut#0' $3 || { echo '{"passed":true,"hash":"3"}'; exit; }
      cp $3 $5
    else
      cat > $7 <<END
{"format":1,"simulator":"x","scenario":{"name":"$scenario","text":""},"seed":$seed,"network_seed":1,
 "decisions":{"run":{},"strikes":{"cut#0":{"at":5},"noise#0":{"at":7}},"clients":{}},
 "recorded":{"failure":{"check":"L3","message":"m"},"hash":"9","events":1,
             "checkpoints":{"every":1,"prefixes":""}}}
END
    fi
    echo '{"passed":false,"hash":"9","effects":{"cuts":1,"'n$seed'":1},
           "failure":{"check":"L3","message":"m"}}' | tr -d '\n'
    exit 1"#;

#[test]
fn failures_that_are_shrunk_are_one_group_and_stay_so_when_the_campaign_goes_on() {
    let (_scratch, mut worker) = fake_worker(SHRINKS);
    worker.failures = Some(worker.directory.clone());
    let groups = |shrinking| {
        let campaign = Campaign { shrinking, ..kept(plan(&["a"], "0..3"), &worker).unwrap() };
        let summary = campaign.run(&worker).unwrap();
        assert_eq!(summary.counts(), Counts { passed: 0, failed: 3 });
        summary.groups.iter().map(|one| format!("{} {}", one.count, one.shape)).collect::<Vec<_>>()
    };
    assert_eq!(groups(Shrinking::NONE).len(), 3);
    assert_eq!(groups(Shrinking::of(2)), ["2 cut", "1 cuts, n2"]);
    assert!(worker.directory.join("a-0.min.toml").is_file());
    assert_eq!(groups(Shrinking::of(2)), ["3 cut"]);
    assert_eq!(groups(Shrinking::NONE), ["3 cut"]);
}

#[test]
fn shards_run_everything_once() {
    let (_scratch, worker) = fake_worker(NOTES);
    let mut runs = 0;
    for index in 0..3 {
        let part = plan(&["a", "b"], "0..4").part(Shard { index, of: 3 });
        runs += Campaign::new(part, 2).run(&worker).unwrap().runs;
    }
    assert_eq!(runs, 8);
    let all = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"];
    assert_eq!(ran(&worker.directory), all);
}
