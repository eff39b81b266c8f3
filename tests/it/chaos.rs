//! A small round of chaos: every kind of fault but the slowest, on three instances, and every rule holds.

use std::time::Duration;

use crate::chaos_round::{self, FaultKind, Options};
use crate::rig::Binary;

#[tokio::test]
async fn whatever_breaks_the_rules_hold() {
    let options = Options {
        seed: 7,
        instances: 3,
        runs: 60,
        faults: 5,
        fault_kinds: vec![
            FaultKind::Kill,
            FaultKind::Freeze,
            FaultKind::BlackHole,
            FaultKind::PostgresRestart,
            FaultKind::RedisRestart,
        ],
        capacity: 6,
        lease: Duration::from_millis(1500),
        fsync: false,
    };
    let binary = Binary::at(env!("CARGO_BIN_EXE_callboard"));
    let report = chaos_round::play(&options, &binary).await.unwrap();
    report.print();
    assert!(report.findings().is_empty(), "more in {:?}", report.remains());
    let recovered = report.figures().recovered_runs;
    assert!(recovered > 0, "no run was in the way of a fault: this tried nothing");
}
