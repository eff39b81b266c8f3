//! Made-up fleets, as they are shown.

use std::time::Duration;

use callboard_actors::ids::InstanceId;
use callboard_actors::ports::fleet::{InstanceLoad, InstanceView};
use callboard_actors::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const LEASE: Duration = Duration::from_secs(5);

fn instance(number: u128, name: &str, version: &str, heartbeat_age: Duration, in_use: u32) -> InstanceView {
    InstanceView {
        id: InstanceId::from_uuid(Uuid::from_u128(number)),
        name: name.to_owned(),
        version: version.to_owned(),
        started_at: Timestamp::from_micros(1_764_000_000_000_000),
        heartbeat_age,
        lease_left: LEASE.checked_sub(heartbeat_age).filter(|left| !left.is_zero()),
        load: InstanceLoad {
            permits_limit: 320,
            permits_in_use: in_use,
            draining: false,
        },
        runs: u64::from(in_use),
    }
}

fn fleet(instances: Vec<InstanceView>) -> FleetOverview {
    FleetOverview {
        running: instances.iter().map(|instance| instance.runs).sum(),
        instances,
        queued: 1_200,
        waiting: 3,
    }
}

fn output_of(overview: &FleetOverview, json: bool) -> String {
    let mut output = Vec::new();
    run(&ClusterArguments { json }, Some(overview), &mut output).expect("a vector takes it");
    let text = String::from_utf8(output).expect("UTF-8");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(json || widest <= Some(80), "{text}");
    text
}

#[test]
fn a_fleet_is_shown_with_its_totals() {
    let mut leaving = instance(2, "web-2:8700", "0.1.0", Duration::from_millis(950), 7);
    leaving.load.draining = true;
    let text = output_of(
        &fleet(vec![
            instance(1, "web-1:8700", "0.1.0", Duration::from_millis(412), 17),
            leaving,
        ]),
        false,
    );
    let expected = "\
┌───────────────────────────────────────────────────────────────────────────┐
│ instance                                  state      heartbeat       runs │
╞═══════════════════════════════════════════════════════════════════════════╡
│ web-1:8700                                live       0.4 s ago         17 │
│   0.1.0, since 2025-11-24 16:00 UTC                  lease 4.5 s   of 320 │
│   inst_00000000000000000000000000000001                                   │
│ web-2:8700                                draining   0.9 s ago          7 │
│   0.1.0, since 2025-11-24 16:00 UTC                  lease 4.0 s   of 320 │
│   inst_00000000000000000000000000000002                                   │
└───────────────────────────────────────────────────────────────────────────┘
instances: 1 live, 1 draining; 17 of 320 permits in use
runs: 24 running, 1,200 queued, 3 waiting
";
    assert_eq!(text, expected);
}

#[test]
fn a_lost_instance_is_shown_and_counts_for_nothing_but_its_runs() {
    let overview = fleet(vec![
        instance(1, "web-1:8700", "0.0.9", Duration::from_secs(200), 40),
        instance(2, "web-2:8700", "0.1.0", Duration::from_millis(100), 5),
    ]);
    let text = output_of(&overview, false);
    for shown in [
        "lost",
        "3 min ago",
        "lease over",
        "instances: 1 live, 1 lost; 5 of 320 permits in use\n",
        "runs: 45 running, 1,200 queued, 3 waiting\n",
    ] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
    assert!(!text.contains("versions differ"), "{text}");
}

#[test]
fn versions_side_by_side_are_flagged() {
    let overview = fleet(vec![
        instance(1, "web-1:8700", "0.1.0", Duration::ZERO, 0),
        instance(2, "web-2:8700", "0.2.0", Duration::ZERO, 0),
        instance(3, "web-3:8700", "0.2.0", Duration::ZERO, 0),
    ]);
    let text = output_of(&overview, false);
    assert!(text.contains("versions differ: 0.1.0 on 1, 0.2.0 on 2\n"), "{text}");
}

#[test]
fn nobody_there_is_said_so_and_the_queue_is_shown_all_the_same() {
    let text = output_of(&fleet(Vec::new()), false);
    let expected = "\
No instance serves this database, and none has lately.
instances: 0 live; 0 of 0 permits in use
runs: 0 running, 1,200 queued, 3 waiting
";
    assert_eq!(text, expected);
}

#[test]
fn long_names_and_large_figures_fit_into_80_columns() {
    let name = "a-machine-with-a-very-long-name.in-a-zone.of-some-provider.example.com:8700";
    let mut large = instance(
        1,
        name,
        "0.1.0-alpha.12+a1b2c3d4",
        Duration::from_secs(86_400 * 400),
        2_000,
    );
    large.runs = 12_345_678;
    output_of(&fleet(vec![large]), false);
}

#[test]
fn json_has_the_form_of_the_api() {
    let overview = fleet(vec![
        instance(1, "web-1:8700", "0.1.0", Duration::from_secs(9), 4),
        instance(2, "web-2:8700", "0.1.0", Duration::from_micros(412_900), 5),
    ]);
    let shown: Value = serde_json::from_str(&output_of(&overview, true)).expect("JSON");
    assert_eq!((&shown["object"], &shown["mode"]), (&json!("cluster"), &json!("fleet")));
    assert_eq!(
        shown["instances"][1],
        json!({
            "id": "inst_00000000000000000000000000000002", "name": "web-2:8700", "version": "0.1.0",
            "started_at": "2025-11-24T16:00:00.000000Z", "state": "live", "answering": false,
            "heartbeat_age_ms": 412, "lease_left_ms": 4587,
            "permits": {"limit": 320, "in_use": 5}, "runs": 5
        })
    );
    let lost = &shown["instances"][0];
    assert_eq!((&lost["state"], &lost["lease_left_ms"]), (&json!("lost"), &Value::Null));
    assert_eq!(
        shown["totals"],
        json!({
            "instances": {"live": 1, "draining": 0, "lost": 1},
            "permits": {"limit": 320, "in_use": 5},
            "runs": {"running": 9, "queued": 1200, "waiting": 3},
            "versions": {"0.1.0": 1}
        })
    );
}

#[test]
fn a_store_for_one_instance_is_told_from_an_empty_fleet() {
    let error = run(&ClusterArguments::default(), None, &mut Vec::new()).expect_err("there is no fleet");
    assert!(error.to_string().contains("GET /api/v1/cluster"), "{error}");
    assert_eq!(crate::cli::exit_code(&error.into()), crate::cli::EXIT_WRONG_INPUT);
}
