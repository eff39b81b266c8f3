//! Charges: durable with their step, and once.

use std::time::Duration;

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amount, amounts, charge_of, charging, new_hold};
use crate::ids::ModelCallId;
use crate::item::Usage;
use crate::money::Money;
use crate::ports::StoreError;
use crate::ports::budgets::{Amount, Charge, HoldOutcome};
use crate::ports::store::RunCommit;
use crate::run_state::RunState;
use crate::testing::store_conformance::fixtures::{account, at_once, move_commit, record};

/// It may be more than was held, or less.
pub async fn a_charge_ends_its_hold_and_is_used(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let (one, other) = (new_hold(&run, UNLIMITED, 50), new_hold(&run, UNLIMITED, 50));
    fresh.held(&one).await;
    fresh.held(&other).await;
    fresh.charge(&run, vec![charge_of(one.id, 70)]).await;
    let balance = fresh.balance("acme").await;
    assert_eq!((balance.used, balance.held), (amount(70), amount(50)));
    // With the end of its run.
    let now = record(&fresh.store, run.id).await;
    let ending = RunCommit {
        charges: vec![charge_of(other.id, 10)],
        ..move_commit(&now, RunState::Completed)
    };
    fresh.store.commit(ending).await.expect("ends");
    let balance = fresh.balance("acme").await;
    assert_eq!((balance.used, balance.held), (amounts(2, 80), Amount::default()));
}

/// Its hold was lost with an epoch, or nobody asked for one.
pub async fn a_charge_without_a_hold_counts(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let charges = (1..=3).map(|tokens| charge_of(ModelCallId::new(), tokens));
    fresh.charge(&run, charges.collect()).await;
    assert_eq!(fresh.balance("acme").await.used, amounts(3, 6));
}

/// A step under an old epoch, at a wrong seq, or of a run that does not run: nothing of it is there, and its hold stays.
pub async fn a_refused_step_charges_nothing(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let hold = new_hold(&run, UNLIMITED, 5);
    fresh.held(&hold).await;
    let step = charging(&run, vec![charge_of(hold.id, 5)]);
    let mut later = run.clone();
    later.next_seq += 1;
    let refused = [
        RunCommit {
            epoch: 2,
            ..step.clone()
        },
        charging(&later, step.charges.clone()),
    ];
    for step in refused {
        assert_eq!(fresh.store.commit(step).await, Err(StoreError::Fenced));
        let balance = fresh.balance("acme").await;
        assert_eq!((balance.used, balance.held), (Amount::default(), amount(5)));
    }
    fresh
        .store
        .commit(move_commit(&run, RunState::Cancelled))
        .await
        .expect("ends");
    assert_eq!(fresh.store.commit(step).await, Err(StoreError::Fenced));
    assert_eq!(fresh.balance("acme").await.used, Amount::default());
    assert_eq!(fresh.usage(None).await, []);
}

/// In the same step that comes again, and in another, before and after it is folded.
pub async fn the_same_charge_twice_is_one(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let charge = charge_of(ModelCallId::new(), 9);
    let step = fresh.charge(&run, vec![charge.clone(), charge.clone()]).await;
    for _ in 0..2 {
        assert_eq!(fresh.balance("acme").await.used, amount(9));
        assert_eq!(fresh.store.commit(step.clone()).await, Ok(()));
        fresh.charge(&run, vec![charge.clone()]).await;
        assert_eq!(fresh.balance("acme").await.used, amount(9));
        let rows = fresh.usage(None).await;
        assert_eq!((rows.len(), rows[0].calls), (1, 1));
        fresh.fold_all().await;
    }
}

/// Of one commit that is made many times at the same moment.
pub async fn the_same_charge_at_once_is_one(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let step = charging(&run, vec![charge_of(ModelCallId::new(), 9)]);
    let answers = at_once((0..40).map(|_| {
        let (store, step) = (fresh.store.clone(), step.clone());
        async move { store.commit(step).await }
    }))
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(fresh.balance("acme").await.used, amount(9));
}

/// Whatever account the commit names.
pub async fn the_account_of_the_run_pays(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let mut step = charging(&run, vec![charge_of(ModelCallId::new(), 3)]);
    step.account = account("somebody-else");
    fresh.store.commit(step).await.expect("written");
    assert_eq!(fresh.balance("acme").await.used, amount(3));
    assert_eq!(fresh.balance("somebody-else").await.used, Amount::default());
}

/// No sum fails or falls, whatever the numbers are; and who has used that much gets no more.
pub async fn numbers_stop_at_what_can_be_counted(fresh: &FreshBudgets) {
    const MOST: u64 = (1 << 53) - 1;
    let run = fresh.running("acme").await;
    let endless = |id| Charge {
        usage: Usage {
            input_tokens: u64::MAX,
            output_tokens: u64::MAX,
            cached_input_tokens: u64::MAX,
            cache_write_input_tokens: u64::MAX,
            reasoning_tokens: u64::MAX,
        },
        cost: Money::MAX,
        call_time: Duration::MAX,
        ..charge_of(id, 0)
    };
    let most = |calls| Amount {
        cost: Money::MAX,
        tokens: MOST,
        calls,
        call_time: Duration::from_micros(MOST),
    };
    for calls in 1..=4 {
        fresh.charge(&run, vec![endless(ModelCallId::new())]).await;
        assert_eq!(fresh.balance("acme").await.used, most(calls));
        if calls % 2 == 0 {
            fresh.fold_all().await;
        }
        let rows = fresh.usage(Some("acme")).await;
        assert_eq!(rows.len(), 1);
        let told = rows[0].usage;
        for tokens in [
            told.input_tokens,
            told.output_tokens,
            told.cached_input_tokens,
            told.cache_write_input_tokens,
            told.reasoning_tokens,
        ] {
            assert_eq!(tokens, MOST);
        }
        assert_eq!((rows[0].calls, rows[0].cost), (calls, Money::MAX));
    }
    for period in [
        crate::ports::budgets::BudgetPeriod::Month,
        crate::ports::budgets::BudgetPeriod::Forever,
    ] {
        let mut hold = new_hold(&run, UNLIMITED, u64::MAX);
        hold.limits.period = period;
        fresh.held(&hold).await;
        hold.id = ModelCallId::new();
        hold.limits.tokens = Some(MOST);
        let refused = fresh.hold(&hold).await;
        assert!(matches!(refused, Ok(HoldOutcome::Exhausted { .. })), "{refused:?}");
    }
    assert_eq!(fresh.balance("acme").await.held.tokens, MOST);
}
