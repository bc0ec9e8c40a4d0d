//! Follows a script that fails the check `canary`.
#![cfg(madsim)]

use highwater_script::Script;
use highwater_sim::{lab::Lab, replay::replay};

#[test]
fn the_script_quiet_cluster_0_canary_fails_as_it_did() {
    let script = Script::parse(include_str!("quiet-cluster-0-canary.min.json")).unwrap();
    let ran = replay(&script, false, &Lab::new()).unwrap();
    assert_eq!(ran.report.failure.unwrap().check, "canary");
}
