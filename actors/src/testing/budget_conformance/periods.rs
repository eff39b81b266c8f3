//! When a budget begins anew.

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amount, amounts, at, charge_of, estimated, new_hold, tokens_limit};
use crate::ids::{InstanceId, ModelCallId};
use crate::ports::budgets::{Amount, BudgetLimits, BudgetPeriod, Charge, HoldOutcome, NewHold};

/// The last and the first moments of days and months, with the day before the first and a leap day among them.
const MOMENTS: [&str; 6] = [
    "2027-12-31T23:59:59.999999Z",
    "2028-01-01T00:00:00Z",
    "2028-01-31T23:59:59.999999Z",
    "2028-02-01T00:00:00Z",
    "2028-02-29T23:59:59.999999Z",
    "2028-03-01T00:00:00Z",
];

/// The last moment of a day and a month, and the first of the next ones.
const LAST: &str = "2028-02-29T23:59:59.999999Z";
const FIRST: &str = "2028-03-01T00:00:00Z";

async fn charge_each_moment(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    for (index, moment) in MOMENTS.iter().enumerate() {
        let charge = Charge {
            at: at(moment),
            ..charge_of(ModelCallId::new(), 10_u64.pow(index as u32))
        };
        fresh.charge(&run, vec![charge]).await;
    }
}

/// To the microsecond, folded or not.
pub async fn a_charge_counts_in_the_period_of_its_time(fresh: &FreshBudgets) {
    charge_each_moment(fresh).await;
    for _ in 0..2 {
        let used = async |period, moment| {
            let balance = fresh.balance_at("acme", period, at(moment)).await;
            (balance.used.calls, balance.used.tokens)
        };
        for (index, moment) in MOMENTS.iter().enumerate() {
            let tokens = 10_u64.pow(index as u32);
            assert_eq!(used(BudgetPeriod::Day, moment).await, (1, tokens), "{moment}");
        }
        for (moment, tokens) in [
            ("2027-12-01T00:00:00Z", 1),
            ("2028-01-15T12:00:00Z", 110),
            ("2028-02-29T00:00:00Z", 11_000),
            ("2028-03-31T23:59:59.999999Z", 100_000),
        ] {
            let calls = if tokens % 11 == 0 { 2 } else { 1 };
            assert_eq!(used(BudgetPeriod::Month, moment).await, (calls, tokens), "{moment}");
        }
        for nothing in ["2027-12-30T23:59:59.999999Z", "2028-03-02T00:00:00Z"] {
            assert_eq!(used(BudgetPeriod::Day, nothing).await, (0, 0), "{nothing}");
        }
        for nothing in ["2027-11-30T23:59:59.999999Z", "2028-04-01T00:00:00Z"] {
            assert_eq!(used(BudgetPeriod::Month, nothing).await, (0, 0), "{nothing}");
        }
        fresh.fold_all().await;
    }
    assert_eq!(fresh.usage(None).await.len(), MOMENTS.len());
}

/// What was used up in the last one is no matter; what is held by a call that goes on from there counts.
pub async fn a_new_period_begins_with_nothing_used(fresh: &FreshBudgets) {
    for (period, name) in [(BudgetPeriod::Day, "day"), (BudgetPeriod::Month, "month")] {
        let limits = BudgetLimits {
            period,
            ..tokens_limit(100)
        };
        let run = fresh.running(name).await;
        let hold = |moment, tokens| {
            let mut hold = new_hold(&run, limits, tokens);
            hold.at = at(moment);
            hold
        };
        let charge = Charge {
            at: at(LAST),
            ..charge_of(ModelCallId::new(), 90)
        };
        fresh.charge(&run, vec![charge]).await;
        fresh.held(&hold(LAST, 10)).await;
        let refused = fresh.hold(&hold(LAST, 1)).await;
        assert!(matches!(refused, Ok(HoldOutcome::Exhausted { .. })), "{refused:?}");
        fresh.held(&hold(FIRST, 90)).await;
        let refused = fresh.hold(&hold(FIRST, 1)).await;
        let Ok(HoldOutcome::Exhausted { used, held, .. }) = refused else {
            panic!("not refused: {refused:?}");
        };
        assert_eq!((used, held), (Amount::default(), amounts(2, 100)));
    }
}

/// What it holds is held in whatever period is asked about; what it has used is used in the one in which it ended, and in no other.
pub async fn a_call_over_midnight_counts_on_both_sides_until_it_is_charged(fresh: &FreshBudgets) {
    for (period, name) in [(BudgetPeriod::Day, "day"), (BudgetPeriod::Month, "month")] {
        let limits = BudgetLimits {
            period,
            ..tokens_limit(100)
        };
        let run = fresh.running(name).await;
        let hold = NewHold {
            at: at(LAST),
            ..new_hold(&run, limits, 60)
        };
        fresh.held(&hold).await;
        for moment in [LAST, FIRST] {
            let balance = fresh.balance_at(name, period, at(moment)).await;
            assert_eq!(
                (balance.used, balance.held),
                (Amount::default(), amount(60)),
                "{moment}"
            );
            let too_much = NewHold {
                at: at(moment),
                ..new_hold(&run, limits, 41)
            };
            let refused = fresh.hold(&too_much).await;
            assert!(matches!(refused, Ok(HoldOutcome::Exhausted { .. })), "{refused:?}");
        }
        let charge = Charge {
            at: at(FIRST),
            ..charge_of(hold.id, 50)
        };
        fresh.charge(&run, vec![charge]).await;
        for _ in 0..2 {
            for (moment, used) in [(LAST, Amount::default()), (FIRST, amount(50))] {
                let balance = fresh.balance_at(name, period, at(moment)).await;
                assert_eq!((balance.used, balance.held), (used, Amount::default()), "{moment}");
            }
            fresh.fold_all().await;
        }
        for (moment, left) in [(LAST, 100), (FIRST, 50)] {
            for (tokens, is_there) in [(left + 1, false), (left, true)] {
                let next = NewHold {
                    at: at(moment),
                    ..new_hold(&run, limits, tokens)
                };
                let outcome = fresh.hold(&next).await;
                assert_eq!(outcome == Ok(HoldOutcome::Held), is_there, "{moment}: {outcome:?}");
                fresh.budgets.release(next.id).await.expect("the store answers");
            }
        }
    }
}

/// Whenever its instance is missed: nobody has made that call since.
pub async fn what_is_lost_counts_where_it_was_held(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let held = [LAST, FIRST].map(|moment| NewHold {
        at: at(moment),
        ..new_hold(&run, UNLIMITED, 60)
    });
    for hold in &held {
        fresh.held(hold).await;
    }
    fresh.store.recover(InstanceId::new()).await.expect("the store answers");
    for _ in 0..2 {
        for period in [BudgetPeriod::Day, BudgetPeriod::Month] {
            for hold in &held {
                let balance = fresh.balance_at("acme", period, hold.at).await;
                assert_eq!(balance.used, estimated(hold).amount(), "{period:?}");
            }
        }
        let days: Vec<_> = fresh.usage(Some("acme")).await.iter().map(|row| row.day).collect();
        assert_eq!(days, held.each_ref().map(|hold| hold.at.utc_day()));
        fresh.fold_all().await;
    }
}

/// What is used is used.
pub async fn forever_never_ends(fresh: &FreshBudgets) {
    charge_each_moment(fresh).await;
    let run = fresh.running("acme").await;
    for _ in 0..2 {
        for moment in ["1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
            let balance = fresh.balance_at("acme", BudgetPeriod::Forever, at(moment)).await;
            assert_eq!((balance.used.calls, balance.used.tokens), (6, 111_111));
        }
        let limits = BudgetLimits {
            period: BudgetPeriod::Forever,
            tokens: Some(111_120),
            ..UNLIMITED
        };
        let refused = fresh.hold(&new_hold(&run, limits, 10)).await;
        assert!(matches!(refused, Ok(HoldOutcome::Exhausted { .. })), "{refused:?}");
        let hold = new_hold(&run, limits, 9);
        fresh.held(&hold).await;
        fresh.budgets.release(hold.id).await.expect("the store answers");
        fresh.fold_all().await;
    }
}
