//! Slot limits that claims go by: kept with the account, set by tier.

use std::sync::Arc;

use super::FreshFleet;
use super::fixtures::{account, admission, beat, claimed, claimed_ids, joined, line, running_runs, spec, waits};
use crate::encoding::encode;
use crate::event::EventBody;
use crate::ids::{InstanceId, KeyId, RunId};
use crate::ports::Fleet;
use crate::ports::fleet::FleetAdmission;
use crate::ports::store::{Admission, Creation, KeyRecord, NewRun};
use crate::time::Timestamp;

/// How many of the queue can start now.
async fn start_all(fresh: &FreshFleet, instance: InstanceId) -> usize {
    let started = claimed(&fresh.fleet, instance, 1000).await.len();
    assert!(
        claimed(&fresh.elsewhere, instance, 1000).await.is_empty(),
        "nothing else can start now"
    );
    assert!(!beat(&fresh.fleet, instance).await.claimable);
    started
}

async fn line_of_tier(fresh: &FreshFleet, account: &str, tier: &str, instance: InstanceId, length: usize) {
    for _ in 0..length {
        let asked = FleetAdmission {
            tier: tier.into(),
            slot_limit: Some(1),
            ..admission(account, instance)
        };
        waits(&fresh.fleet, asked).await;
    }
}

/// The limit that the last admission named counts for all the account's runs, those that wait included.
pub async fn the_last_admissions_limit_counts_for_claims(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let limited = |slot_limit| FleetAdmission {
        slot_limit,
        ..admission("acme", instance)
    };
    line(&fresh.fleet, "acme", instance, 9).await;
    waits(&fresh.fleet, limited(Some(0))).await;
    assert_eq!(start_all(fresh, instance).await, 0);
    waits(&fresh.fleet, limited(Some(2))).await;
    assert_eq!(start_all(fresh, instance).await, 2);
    waits(&fresh.elsewhere, limited(Some(1))).await;
    assert_eq!(start_all(fresh, instance).await, 0);
    waits(&fresh.elsewhere, limited(Some(5))).await;
    assert_eq!(start_all(fresh, instance).await, 3);
    waits(&fresh.fleet, limited(None)).await;
    assert_eq!(start_all(fresh, instance).await, 9);
}

/// Up and down, of this tier's accounts and of no others; what runs already runs on.
pub async fn tier_limits_change_what_claims_do(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    line_of_tier(fresh, "acme", "pro", instance, 10).await;
    line_of_tier(fresh, "beta", "pro", instance, 10).await;
    line_of_tier(fresh, "gamma", "free", instance, 10).await;
    assert_eq!(start_all(fresh, instance).await, 3, "one of each account");
    let set = async |fleet: &Arc<dyn Fleet>, tier: &str, limit| {
        let limits = vec![(tier.to_owned(), limit), ("nobody's".to_owned(), Some(99))];
        fleet.set_tier_limits(limits).await.expect("the store answers");
    };
    set(&fresh.elsewhere, "pro", Some(3)).await;
    assert!(beat(&fresh.fleet, instance).await.claimable);
    assert_eq!(start_all(fresh, instance).await, 4);
    set(&fresh.fleet, "pro", Some(2)).await;
    assert_eq!(start_all(fresh, instance).await, 0);
    set(&fresh.fleet, "free", Some(0)).await;
    assert_eq!(start_all(fresh, instance).await, 0);
    set(&fresh.fleet, "free", Some(4)).await;
    assert_eq!(start_all(fresh, instance).await, 3);
    set(&fresh.fleet, "pro", None).await;
    assert_eq!(start_all(fresh, instance).await, 14);
    for (account, running) in [("acme", 10), ("beta", 10), ("gamma", 4)] {
        assert_eq!(running_runs(&fresh.store, account).await, running);
    }
}

/// An account that comes later, and whose admission named no limit because it came another way, has that of its tier.
pub async fn a_new_account_has_the_limit_of_its_tier(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let limits = vec![("pro".to_owned(), Some(2)), ("free".to_owned(), Some(0))];
    fresh.fleet.set_tier_limits(limits).await.expect("the store answers");
    for tier in ["pro", "free", "unheard-of"] {
        for _ in 0..4 {
            let id = RunId::new();
            let spec = spec();
            let run = NewRun {
                id,
                account: account(tier),
                tier: tier.into(),
                instance,
                idempotency: None,
                spec: spec.clone(),
                input: Vec::new(),
                admission: Admission::Queue { deadline: None },
                events: encode(id, 0, [EventBody::RunCreated { spec }]).expect("an event"),
                reserved_seq: 0,
                created_at: Timestamp::now(),
            };
            assert_eq!(fresh.store.create_run(run).await, Ok(Creation::Created));
        }
    }
    start_all(fresh, instance).await;
    assert_eq!(running_runs(&fresh.store, "pro").await, 2);
    assert_eq!(running_runs(&fresh.store, "free").await, 0);
}

/// The tier is the account's: when a key changes it, claims go by what the new one allows.
pub async fn an_account_that_changes_its_tier_changes_its_limit(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let limits = vec![("free".to_owned(), Some(1)), ("ultra".to_owned(), Some(4))];
    fresh.fleet.set_tier_limits(limits).await.expect("the store answers");
    line_of_tier(fresh, "acme", "free", instance, 10).await;
    assert_eq!(start_all(fresh, instance).await, 1);
    let key = KeyRecord {
        id: KeyId::new(),
        account: account("acme"),
        tier: "ultra".into(),
        secret_hash: [1; 32],
        last_four: "wxyz".into(),
        is_admin: false,
        created_at: Timestamp::now(),
        revoked_at: None,
    };
    fresh.store.create_key(key).await.expect("written");
    assert_eq!(start_all(fresh, instance).await, 3);
    // And from then on it is one of the new tier's accounts.
    let limits = vec![("ultra".to_owned(), Some(6)), ("free".to_owned(), Some(0))];
    fresh.fleet.set_tier_limits(limits).await.expect("the store answers");
    let started = claimed(&fresh.fleet, instance, 100).await;
    assert_eq!(claimed_ids(&started).len(), 2);
}
