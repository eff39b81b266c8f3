//! Holds: taken whole or not at all, and never more than there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amount, amounts, charge_of, charging, new_hold, tokens_limit};
use crate::ids::ModelCallId;
use crate::money::Money;
use crate::ports::budgets::{Amount, Balance, BudgetKind, BudgetLimits, HoldOutcome};
use crate::testing::store_conformance::fixtures::at_once;

/// Given back twice, or never taken: without effect.
pub async fn a_hold_counts_until_it_is_released(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let (one, other) = (new_hold(&run, UNLIMITED, 70), new_hold(&run, UNLIMITED, 20));
    fresh.held(&one).await;
    fresh.held(&other).await;
    let balance = Balance {
        held: amounts(2, 90),
        ..Balance::default()
    };
    assert_eq!(fresh.balance("acme").await, balance);
    let refused = fresh.hold(&new_hold(&run, tokens_limit(100), 11)).await;
    let exhausted = HoldOutcome::Exhausted {
        kind: BudgetKind::Tokens,
        used: Amount::default(),
        held: amounts(2, 90),
        topped_up: Amount::default(),
    };
    assert_eq!(refused, Ok(exhausted));
    for _ in 0..2 {
        fresh.budgets.release(one.id).await.expect("the store answers");
        assert_eq!(fresh.balance("acme").await.held, amounts(1, 20));
    }
    fresh.budgets.release(ModelCallId::new()).await.expect("nothing to do");
    fresh.held(&new_hold(&run, tokens_limit(100), 80)).await;
    assert_eq!(fresh.balance("acme").await.held, amounts(2, 100));
}

/// Its first answer was lost on the way, and what is left would not do for another.
pub async fn the_same_hold_twice_is_one(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let hold = new_hold(&run, tokens_limit(100), 60);
    for _ in 0..3 {
        fresh.held(&hold).await;
        assert_eq!(fresh.balance("acme").await.held, amounts(1, 60));
    }
    let outcomes = at_once((0..20).map(|_| {
        let (budgets, hold) = (fresh.budgets.clone(), hold.clone());
        async move { budgets.hold(hold).await }
    }))
    .await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(HoldOutcome::Held)));
    assert_eq!(fresh.balance("acme").await.held, amounts(1, 60));
}

/// Up to the limit and not by one above it, whichever it is.
pub async fn each_limit_refuses_what_would_exceed_it(fresh: &FreshBudgets) {
    let limits = [
        (BudgetKind::Tokens, tokens_limit(100)),
        (
            BudgetKind::Cost,
            BudgetLimits {
                cost: Some(amount(100).cost),
                ..UNLIMITED
            },
        ),
        (
            BudgetKind::Calls,
            BudgetLimits {
                calls: Some(2),
                ..UNLIMITED
            },
        ),
    ];
    for (kind, limits) in limits {
        let name = format!("{kind:?}");
        let run = fresh.running(&name).await;
        fresh.held(&new_hold(&run, limits, 40)).await;
        let used = charge_of(ModelCallId::new(), 60);
        fresh.charge(&run, vec![used]).await;
        let refused = fresh.hold(&new_hold(&run, limits, 1)).await;
        let exhausted = HoldOutcome::Exhausted {
            kind,
            used: amount(60),
            held: amount(40),
            topped_up: Amount::default(),
        };
        assert_eq!(refused, Ok(exhausted), "{name}");
        assert_eq!(fresh.balance(&name).await.held, amount(40), "a refusal holds nothing");
    }
}

/// What a call may take is held, and what it has taken is charged.
pub async fn call_time_is_held_and_charged(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let limits = BudgetLimits {
        call_time: Some(Duration::from_secs(12)),
        ..UNLIMITED
    };
    let of_five_seconds = || {
        let mut hold = new_hold(&run, limits, 1);
        hold.amount.call_time = Duration::from_secs(5);
        hold
    };
    let first = of_five_seconds();
    fresh.held(&first).await;
    fresh.held(&of_five_seconds()).await;
    let third = of_five_seconds();
    let refused = fresh.hold(&third).await;
    let Ok(HoldOutcome::Exhausted { kind, held, .. }) = refused else {
        panic!("not refused: {refused:?}");
    };
    assert_eq!((kind, held.call_time), (BudgetKind::CallTime, Duration::from_secs(10)));
    let mut charge = charge_of(first.id, 1);
    charge.call_time = Duration::from_secs(2);
    fresh.charge(&run, vec![charge]).await;
    fresh.held(&third).await;
    assert!(matches!(
        fresh.hold(&of_five_seconds()).await,
        Ok(HoldOutcome::Exhausted { .. })
    ));
}

/// And counted.
pub async fn without_limits_everything_is_held(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    for _ in 0..2 {
        fresh.held(&new_hold(&run, UNLIMITED, 1_000_000_000_000)).await;
    }
    let held = fresh.balance("acme").await.held;
    assert_eq!((held.calls, held.tokens), (2, 2_000_000_000_000));
    assert_eq!(held.cost, Money::from_nanos(2_000_000_000_000_000));
}

/// 200 of two instances at once, for which there is room for 50.
pub async fn parallel_holds_never_exceed_a_limit(fresh: &FreshBudgets) {
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(fresh.running("acme").await);
    }
    let outcomes = at_once((0..200).map(|index| {
        let budgets = match index % 2 {
            0 => fresh.budgets.clone(),
            _ => fresh.of_another_instance.clone(),
        };
        let hold = new_hold(&runs[index % runs.len()], tokens_limit(509), 10);
        async move { budgets.hold(hold).await.expect("the store answers") }
    }))
    .await;
    let held = outcomes.iter().filter(|outcome| **outcome == HoldOutcome::Held).count();
    assert_eq!(held, 50);
    assert_eq!(fresh.balance("acme").await.held, amounts(50, 500));
}

/// Calls that hold more than they use, so that room comes back while others ask: at no moment is more held and used than there is, and in
/// the end all of it is used.
pub async fn parallel_calls_use_a_limit_up_and_never_exceed_it(fresh: &FreshBudgets) {
    const LIMIT: u64 = 3000;
    let used = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for index in 0..20 {
        let run = fresh.running("acme").await;
        let budgets = match index % 2 {
            0 => fresh.budgets.clone(),
            _ => fresh.of_another_instance.clone(),
        };
        let (store, used) = (fresh.store.clone(), used.clone());
        callers.push(async move {
            let mut now = run;
            loop {
                let hold = new_hold(&now, tokens_limit(LIMIT), 30);
                let outcome = budgets.hold(hold.clone()).await.expect("the store answers");
                match outcome {
                    HoldOutcome::Held => {}
                    HoldOutcome::Exhausted { used, held, .. } => {
                        let taken = used.tokens + held.tokens;
                        assert!(taken > LIMIT - 30 && taken <= LIMIT, "{outcome:?}");
                        if held.tokens == 0 {
                            return;
                        }
                        tokio::task::yield_now().await;
                        continue;
                    }
                }
                let step = charging(&now, vec![charge_of(hold.id, 20)]);
                store.commit(step).await.expect("written");
                now.next_seq += 1;
                used.fetch_add(20, Ordering::SeqCst);
            }
        });
    }
    at_once(callers).await;
    let balance = fresh.balance("acme").await;
    assert_eq!(balance.held, Amount::default());
    assert_eq!(balance.used.tokens, used.load(Ordering::SeqCst));
    assert_eq!(balance.used.tokens, 2980, "the next call might need 30");
}

/// Neither what they hold nor what they use.
pub async fn accounts_do_not_see_each_other(fresh: &FreshBudgets) {
    let (acme, other) = (fresh.running("acme").await, fresh.running("acme-2").await);
    let limits = tokens_limit(10);
    fresh.held(&new_hold(&acme, limits, 10)).await;
    fresh.held(&new_hold(&other, limits, 4)).await;
    fresh.charge(&other, vec![charge_of(ModelCallId::new(), 6)]).await;
    fresh.fold_all().await;
    for run in [&acme, &other] {
        let refused = fresh.hold(&new_hold(run, limits, 1)).await;
        assert!(matches!(refused, Ok(HoldOutcome::Exhausted { .. })), "{refused:?}");
    }
    let balance = fresh.balance("acme").await;
    assert_eq!((balance.held, balance.used), (amount(10), Amount::default()));
    let balance = fresh.balance("acme-2").await;
    assert_eq!((balance.held, balance.used), (amount(4), amount(6)));
    assert_eq!(fresh.balance("acme-3").await, Balance::default());
    assert_eq!(fresh.usage(Some("acme")).await, []);
}
