//! What it costs to admit: Permits, the ledger, and the fair queue at several lengths.

use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ledger::Ledger;
use callboard_actors::permits::Permits;
use callboard_actors::queue::{FairQueue, WaitingRun};
use callboard_actors::time::Timestamp;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn account(number: usize) -> AccountId {
    format!("account-{number}").parse().expect("a good name")
}

fn waiting(number: usize, accounts: usize) -> WaitingRun {
    WaitingRun {
        id: RunId::new(),
        account: account(number % accounts),
        tier: "pro".into(),
        deadline: Some(Timestamp::from_micros(number as i64)),
        told_at: Timestamp::from_micros(0),
    }
}

fn permits_and_ledger(criterion: &mut Criterion) {
    let permits = Permits::new(2000);
    criterion.bench_function("permit taken and given back", |bencher| {
        bencher.iter(|| permits.try_acquire())
    });
    let ledger = Ledger::default();
    let held: Vec<_> = (0..1000).map(|number| ledger.adopt(&account(number))).collect();
    let one = account(500);
    criterion.bench_function("slot taken and given back, 1000 accounts", |bencher| {
        bencher.iter(|| ledger.try_take(&one, Some(5)));
    });
    drop(held);
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(1));
    for length in [100, 10_000, 100_000] {
        group.bench_function(BenchmarkId::new("in and out, runs waiting", length), |bencher| {
            let mut queue = FairQueue::default();
            for number in 0..length {
                queue.insert(waiting(number, 100));
            }
            let mut number = 0;
            bencher.iter_batched(
                || {
                    number += 1;
                    waiting(number, 100)
                },
                |run| {
                    queue.insert(run);
                    queue.next(|_| true)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, permits_and_ledger, queue);
criterion_main!(benches);
