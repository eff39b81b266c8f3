//! More for an account, beside its limits.

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amounts, at, charge_of, new_hold, tokens_limit};
use crate::ids::ModelCallId;
use crate::ports::budgets::{Amount, BudgetKind, BudgetLimits, BudgetPeriod, HoldOutcome, TopUp};
use crate::testing::store_conformance::fixtures::{account, at_once};
use crate::time::Timestamp;

fn top_up(account_name: &str, tokens: u64, at: Timestamp) -> TopUp {
    TopUp {
        id: ModelCallId::new(),
        account: account(account_name),
        amount: amounts(tokens, tokens),
        at,
    }
}

/// Those of a month are gone with it; those of a budget that never ends stay.
pub async fn a_top_up_counts_in_its_period(fresh: &FreshBudgets) {
    for (tokens, moment) in [
        (1, "2028-01-31T23:59:59.999999Z"),
        (10, "2028-02-01T00:00:00Z"),
        (100, "2028-02-29T23:59:59.999999Z"),
        (1000, "2028-03-01T00:00:00Z"),
    ] {
        let more = top_up("acme", tokens, at(moment));
        fresh.budgets.top_up(more).await.expect("the store answers");
    }
    let given = async |account_name, period, moment| {
        let balance = fresh.balance_at(account_name, period, at(moment)).await;
        assert_eq!((balance.used, balance.held), (Amount::default(), Amount::default()));
        balance.topped_up
    };
    for (period, moment, tokens) in [
        (BudgetPeriod::Day, "2028-02-01T12:00:00Z", 10),
        (BudgetPeriod::Day, "2028-02-02T12:00:00Z", 0),
        (BudgetPeriod::Month, "2028-02-02T12:00:00Z", 110),
        (BudgetPeriod::Month, "2028-03-31T23:59:59.999999Z", 1000),
        (BudgetPeriod::Month, "2028-04-01T00:00:00Z", 0),
        (BudgetPeriod::Forever, "2020-01-01T00:00:00Z", 1111),
    ] {
        let topped_up = given("acme", period, moment).await;
        assert_eq!(topped_up, amounts(tokens, tokens), "{period:?} {moment}");
        assert_eq!(given("acme-2", period, moment).await, Amount::default());
    }
}

/// However often it comes, one after the other or at once; and no sum fails.
pub async fn the_same_top_up_twice_is_one(fresh: &FreshBudgets) {
    let more = top_up("acme", 10, Timestamp::now());
    let answers = at_once((0..20).map(|index| {
        let budgets = match index % 2 {
            0 => fresh.budgets.clone(),
            _ => fresh.of_another_instance.clone(),
        };
        let more = more.clone();
        async move { budgets.top_up(more).await }
    }))
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for period in [BudgetPeriod::Day, BudgetPeriod::Month, BudgetPeriod::Forever] {
        let balance = fresh.balance_at("acme", period, more.at).await;
        assert_eq!(balance.topped_up, amounts(10, 10));
    }
    for _ in 0..2 {
        let endless = top_up("acme", u64::MAX, Timestamp::now());
        fresh.budgets.top_up(endless).await.expect("the store answers");
    }
    for period in [BudgetPeriod::Month, BudgetPeriod::Forever] {
        let balance = fresh.balance_at("acme", period, more.at).await;
        assert_eq!(balance.topped_up.tokens, (1 << 53) - 1);
    }
}

/// On top of each limit, and no more than that.
pub async fn what_is_topped_up_may_be_used(fresh: &FreshBudgets) {
    for period in [BudgetPeriod::Month, BudgetPeriod::Forever] {
        let name = format!("{period:?}");
        let run = fresh.running(&name).await;
        let limits = BudgetLimits {
            period,
            ..tokens_limit(100)
        };
        fresh.charge(&run, vec![charge_of(ModelCallId::new(), 100)]).await;
        let refused = fresh.hold(&new_hold(&run, limits, 1)).await;
        assert!(matches!(refused, Ok(HoldOutcome::Exhausted { .. })), "{refused:?}");
        let more = top_up(&name, 30, Timestamp::now());
        fresh.of_another_instance.top_up(more).await.expect("the store answers");
        fresh.held(&new_hold(&run, limits, 30)).await;
        let refused = fresh.hold(&new_hold(&run, limits, 1)).await;
        let exhausted = HoldOutcome::Exhausted {
            kind: BudgetKind::Tokens,
            used: amounts(1, 100),
            held: amounts(1, 30),
            topped_up: amounts(30, 30),
        };
        assert_eq!(refused, Ok(exhausted));
        fresh.held(&new_hold(&run, UNLIMITED, 1)).await;
    }
}
