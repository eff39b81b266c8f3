//! What is told of the past, and that summing it up changes nothing of it.

use std::time::Duration;

use jiff::civil::date;

use super::FreshBudgets;
use super::fixtures::{amount, amounts, at, charge_of, charging};
use crate::ids::ModelCallId;
use crate::item::Usage;
use crate::money::Money;
use crate::ports::budgets::{Balance, BudgetPeriod, Charge, UsageQuery, UsageRow};
use crate::run_state::RunState;
use crate::testing::store_conformance::fixtures::{account, at_once, move_commit, record};
use crate::time::Timestamp;

fn charge(model: &str, provider: &str, moment: &str) -> Charge {
    Charge {
        model: model.into(),
        provider: provider.into(),
        usage: Usage {
            input_tokens: 10,
            output_tokens: 20,
            cached_input_tokens: 3,
            cache_write_input_tokens: 5,
            reasoning_tokens: 4,
        },
        cost: Money::from_nanos(7),
        call_time: Duration::from_millis(1500),
        at: at(moment),
        ..charge_of(ModelCallId::new(), 0)
    }
}

fn row(day: i8, account_name: &str, model: &str, provider: &str, calls: u64) -> UsageRow {
    UsageRow {
        day: date(2028, 2, day),
        account: account(account_name),
        model: model.into(),
        provider: provider.into(),
        calls,
        usage: Usage {
            input_tokens: 10 * calls,
            output_tokens: 20 * calls,
            cached_input_tokens: 3 * calls,
            cache_write_input_tokens: 5 * calls,
            reasoning_tokens: 4 * calls,
        },
        cost: Money::from_nanos(7 * calls),
        call_time: Duration::from_millis(1500 * u32::try_from(calls).expect("few") as u64),
    }
}

/// In this order, byte by byte; between two days, both included; of one account or of all. Partly folded, and folded.
pub async fn usage_is_told_by_day_account_model_and_provider(fresh: &FreshBudgets) {
    let (acme, zeta) = (fresh.running("acme").await, fresh.running("Zeta").await);
    let (first, second, third) = (
        "2028-02-01T00:00:00Z",
        "2028-02-02T10:00:00Z",
        "2028-02-03T23:59:59.999999Z",
    );
    let charges = vec![
        charge("fast", "b", first),
        charge("fast", "B", first),
        charge("fast", "b", third),
        charge("Slow", "b", second),
        charge("fast", "b", second),
    ];
    fresh.charge(&acme, charges).await;
    fresh.fold_all().await;
    fresh
        .charge(&acme, vec![charge("fast", "b", second), charge("fast", "b", second)])
        .await;
    fresh.charge(&zeta, vec![charge("fast", "b", second)]).await;
    let told = async |account_name: Option<&str>, from, to| {
        let query = UsageQuery {
            account: account_name.map(account),
            from: date(2028, 2, from),
            to: date(2028, 2, to),
        };
        fresh.budgets.usage(query).await.expect("the store answers")
    };
    for _ in 0..2 {
        let all = [
            row(1, "acme", "fast", "B", 1),
            row(1, "acme", "fast", "b", 1),
            row(2, "Zeta", "fast", "b", 1),
            row(2, "acme", "Slow", "b", 1),
            row(2, "acme", "fast", "b", 3),
            row(3, "acme", "fast", "b", 1),
        ];
        assert_eq!(told(None, 1, 3).await, all);
        assert_eq!(told(None, 2, 2).await, all[2..5]);
        assert_eq!(told(Some("acme"), 2, 29).await, all[3..6]);
        assert_eq!(told(Some("Zeta"), 1, 29).await, all[2..3]);
        assert_eq!(told(None, 4, 29).await, []);
        assert_eq!(told(None, 3, 1).await, [], "backwards");
        assert_eq!(told(Some("nobody"), 1, 29).await, []);
        fresh.fold_all().await;
    }
}

/// Charge by charge, and then again with nothing left to do.
pub async fn folding_changes_nothing_that_is_told(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let moments = ["2028-01-31T23:59:59Z", "2028-02-01T00:00:00Z", "2028-02-02T00:00:00Z"];
    for index in 0..9 {
        let charge = charge(["fast", "slow"][index % 2], "b", moments[index % 3]);
        fresh.charge(&run, vec![charge]).await;
    }
    let everything = async || {
        let mut balances: Vec<Balance> = Vec::new();
        for period in [BudgetPeriod::Day, BudgetPeriod::Month, BudgetPeriod::Forever] {
            for moment in moments {
                balances.push(fresh.balance_at("acme", period, at(moment)).await);
            }
        }
        (balances, fresh.usage(None).await)
    };
    let before = everything().await;
    for left in (0..=9).rev() {
        let folded = fresh
            .budgets
            .fold_charges(Timestamp::now().after(Duration::from_secs(1 << 30)), 1)
            .await;
        assert_eq!(folded, Ok(u64::from(left > 0)));
        assert_eq!(everything().await, before);
    }
}

/// Only what was made before, of all accounts, and no more than so many.
pub async fn so_much_is_folded_as_was_asked_for(fresh: &FreshBudgets) {
    let moment = at("2028-02-02T10:00:00Z");
    for name in ["acme", "zeta"] {
        let run = fresh.running(name).await;
        let moments = ["2028-02-02T09:59:59.999999Z", "2028-02-02T10:00:00Z"];
        let charges = moments
            .iter()
            .cycle()
            .take(10)
            .map(|moment| charge("fast", "b", moment));
        fresh.charge(&run, charges.collect()).await;
    }
    let fold = async |before, limit| {
        let folded = fresh.budgets.fold_charges(before, limit).await;
        folded.expect("the store answers")
    };
    assert_eq!(fold(at("2028-02-02T09:59:59.999999Z"), 100).await, 0);
    assert_eq!(fold(moment, 0).await, 0);
    assert_eq!(fold(moment, 7).await, 7);
    assert_eq!(fold(moment, 7).await, 3);
    assert_eq!(fold(moment, 7).await, 0);
    assert_eq!(fresh.fold_all().await, 10);
    assert_eq!(fresh.usage(None).await.iter().map(|row| row.calls).sum::<u64>(), 20);
}

/// Commits of many runs, and two instances that fold all the time.
pub async fn charges_that_come_while_others_are_folded_are_counted_once(fresh: &FreshBudgets) {
    let mut runs = Vec::new();
    for index in 0..12 {
        runs.push(fresh.running(["acme", "zeta"][index % 2]).await);
    }
    let committing = async {
        at_once(runs.into_iter().map(|mut run| {
            let store = fresh.store.clone();
            async move {
                for _ in 0..20 {
                    let step = charging(&run, vec![charge_of(ModelCallId::new(), 5)]);
                    store.commit(step).await.expect("written");
                    run.next_seq += 1;
                }
            }
        }))
        .await
    };
    let (done, stop) = tokio::sync::watch::channel(false);
    let fold = async |budgets: &dyn crate::ports::Budgets| {
        let mut folded = 0;
        while !*stop.borrow() {
            folded += budgets
                .fold_charges(Timestamp::from_micros(i64::MAX), 30)
                .await
                .expect("the store answers");
            // What is seen in between is never more than there is.
            let used = fresh.balance("acme").await.used;
            assert!(used.calls <= 120 && used.tokens == used.calls * 5, "{used:?}");
        }
        folded
    };
    let committing = async {
        committing.await;
        done.send_replace(true);
    };
    let ((), one, other) = futures::join!(
        committing,
        fold(fresh.budgets.as_ref()),
        fold(fresh.of_another_instance.as_ref())
    );
    assert_eq!(one + other + fresh.fold_all().await, 240);
    for name in ["acme", "zeta"] {
        let used = fresh.balance(name).await.used;
        assert_eq!((used.calls, used.tokens), (120, 600));
        assert_eq!(fresh.usage(Some(name)).await[0].calls, 120);
    }
}

/// Folded before, or not.
pub async fn an_archived_run_keeps_its_usage(fresh: &FreshBudgets) {
    let (folded, late) = (fresh.running("acme").await, fresh.running("acme").await);
    fresh.charge(&folded, vec![charge_of(ModelCallId::new(), 5)]).await;
    fresh.fold_all().await;
    fresh.charge(&late, vec![charge_of(ModelCallId::new(), 6)]).await;
    for run in [&folded, &late] {
        let now = record(&fresh.store, run.id).await;
        let ending = move_commit(&now, RunState::Completed);
        fresh.store.commit(ending).await.expect("ends");
    }
    let ended_before = Timestamp::now().after(Duration::from_secs(1));
    assert_eq!(fresh.store.archive_ended(ended_before, 10).await, Ok(2));
    for _ in 0..2 {
        assert_eq!(fresh.balance("acme").await.used, amounts(2, 11));
        fresh.fold_all().await;
    }
    assert_eq!(fresh.store.forget_events(ended_before, 10).await, Ok(2));
    assert_eq!(fresh.balance("acme").await.used, amounts(2, 11));
    assert_eq!(fresh.usage(None).await[0].cost, amount(11).cost);
}
