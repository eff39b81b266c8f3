//! Idempotency keys: the same request is one run, wherever and however often it is asked for.

use super::FreshFleet;
use super::fixtures::{admission, at_once, joined, moves, record, running_runs, started, waits};
use crate::ids::InstanceId;
use crate::ports::fleet::{Admitted, FleetAdmission};
use crate::ports::store::{Creation, Idempotency};
use crate::run_state::RunState;

fn keyed(account: &str, instance: InstanceId, key: &str, request: u8) -> FleetAdmission {
    FleetAdmission {
        idempotency: Some(Idempotency {
            key: key.into(),
            request_hash: [request; 32],
        }),
        ..admission(account, instance)
    }
}

/// As it is by then; another request with the key is a conflict, and another account has other keys.
pub async fn the_same_request_is_one_run(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let (account, idempotency) = {
        let asked = keyed("acme", instance, "order 1", 1);
        (asked.account.clone(), asked.idempotency.clone().expect("a key"))
    };
    let first = started(&fresh.fleet, keyed("acme", instance, "order 1", 1)).await;
    let waiting = waits(&fresh.fleet, keyed("acme", instance, "order 2", 1)).await;
    for state in [RunState::Running, RunState::Completed] {
        if state == RunState::Completed {
            moves(&fresh.store, &first, state).await;
        }
        let first = record(&fresh.store, first.id).await;
        assert_eq!(first.state, state);
        for number in 0..2 {
            let fleet = fresh.seen_by(number);
            let again = |key, request| fleet.admit(keyed("acme", instance, key, request));
            let existing = |run: &_| Ok(Admitted::Existing(Box::new(Clone::clone(run))));
            assert_eq!(again("order 1", 1).await, existing(&first));
            assert_eq!(again("order 2", 1).await, existing(&waiting));
            assert_eq!(again("order 1", 2).await, Ok(Admitted::IdempotencyConflict));
            assert_eq!(again("order 2", 2).await, Ok(Admitted::IdempotencyConflict));
        }
        // Both ports have the same keys.
        let found = fresh.store.find_idempotent(&account, &idempotency).await;
        assert_eq!(found, Ok(Some(Creation::Existing(Box::new(first)))));
    }
    started(&fresh.fleet, keyed("beta", instance, "order 1", 2)).await;
}

/// Of many at once, one is new and the others are told of it; whether it starts or waits.
pub async fn the_same_request_in_parallel_is_one_run(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    for has_permit in [true, false] {
        let account = if has_permit { "starts" } else { "waits" };
        let outcomes = at_once((0..200).map(|number| {
            let fleet = fresh.seen_by(number);
            let asked = FleetAdmission {
                has_permit,
                ..keyed(account, instance, "once", 1)
            };
            async move { (asked.id, fleet.admit(asked).await.expect("the store answers")) }
        }))
        .await;
        let is_new = |outcome: &Admitted| matches!(outcome, Admitted::Started { .. } | Admitted::Queued { .. });
        let new: Vec<_> = outcomes.iter().filter(|(_, outcome)| is_new(outcome)).collect();
        assert_eq!(new.len(), 1);
        for (_, outcome) in &outcomes {
            match outcome {
                Admitted::Existing(record) => assert_eq!(record.id, new[0].0),
                other => assert!(is_new(other), "{other:?}"),
            }
        }
        assert_eq!(running_runs(&fresh.store, account).await, usize::from(has_permit));
    }
}

/// Two requests with one key at once: one of them is a run, and whoever asked for the other is told of the conflict.
pub async fn conflicting_requests_in_parallel_are_one_run(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let outcomes = at_once((0..100).map(|number| {
        let fleet = fresh.seen_by(number / 2);
        let request = (number % 2) as u8;
        async move {
            let asked = keyed("acme", instance, "either", request);
            (request, fleet.admit(asked).await.expect("the store answers"))
        }
    }))
    .await;
    let winners: Vec<u8> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Admitted::Started { .. }))
        .map(|(request, _)| *request)
        .collect();
    assert_eq!(winners.len(), 1);
    for (request, outcome) in outcomes {
        let fits = match outcome {
            Admitted::Started { .. } | Admitted::Existing(_) => request == winners[0],
            Admitted::IdempotencyConflict => request != winners[0],
            _ => false,
        };
        assert!(fits, "{request}");
    }
    assert_eq!(running_runs(&fresh.store, "acme").await, 1);
}

/// Asking again is answered, also when the account is full; and a run that was refused does not use up its key.
pub async fn an_earlier_request_wins_over_a_full_quota(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let limited = |key, request| FleetAdmission {
        slot_limit: Some(1),
        may_wait: None,
        ..keyed("acme", instance, key, request)
    };
    let first = started(&fresh.fleet, limited("only", 1)).await;
    let again = fresh.elsewhere.admit(limited("only", 1)).await;
    assert_eq!(again, Ok(Admitted::Existing(Box::new(first.clone()))));
    let without_permit = FleetAdmission {
        has_permit: false,
        ..limited("only", 1)
    };
    let again = fresh.fleet.admit(without_permit).await;
    assert_eq!(again, Ok(Admitted::Existing(Box::new(first.clone()))));
    let other = fresh.fleet.admit(limited("only", 2)).await;
    assert_eq!(other, Ok(Admitted::IdempotencyConflict));

    let refused = fresh.fleet.admit(limited("later", 1)).await;
    assert!(matches!(refused, Ok(Admitted::Refused { .. })));
    moves(&fresh.store, &first, RunState::Completed).await;
    started(&fresh.fleet, limited("later", 2)).await;
    assert_eq!(running_runs(&fresh.store, "acme").await, 1);
}
