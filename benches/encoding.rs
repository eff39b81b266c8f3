//! The JSON paths of an event: written once by the run actor, checked when it comes back from the store, decoded for JSON pages.

use std::hint::black_box;

use callboard_actors::encoding::{EncodedEvents, EventEncoder, encode};
use callboard_actors::event::EventBody;
use callboard_actors::ids::{ItemId, RunId};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 1000;

fn deltas() -> Vec<EventBody> {
    let item_id = ItemId::new();
    (0..EVENTS)
        .map(|index| EventBody::TextDelta {
            item_id,
            delta: format!("word {index} "),
        })
        .collect()
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encoding");
    group.throughput(Throughput::Elements(EVENTS));
    let run = RunId::new();
    group.bench_function("encode_each_delta_alone", |bencher| {
        bencher.iter_batched(
            deltas,
            |bodies| {
                let mut encoder = EventEncoder::new(run, 0);
                for body in bodies {
                    encoder.push(body);
                    black_box(encoder.take());
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("encode_as_one_batch", |bencher| {
        bencher.iter_batched(deltas, |bodies| encode(run, 0, bodies), BatchSize::SmallInput);
    });

    let encoded = encode(run, 0, deltas()).expect("there are events");
    group.bench_function("check_what_was_stored", |bencher| {
        bencher.iter(|| EncodedEvents::from_stored(black_box(encoded.bytes().clone())));
    });
    group.bench_function("walk_frames", |bencher| {
        bencher.iter(|| encoded.frames().map(|frame| frame.data.len()).sum::<usize>());
    });
    group.bench_function("decode", |bencher| bencher.iter(|| encoded.events()));
    group.bench_function("slice_in_the_middle", |bencher| {
        bencher.iter(|| encoded.after(black_box(Some(EVENTS / 2))));
    });
    let singles: Vec<EncodedEvents> = (0..EVENTS)
        .filter_map(|seq| encoded.after(seq.checked_sub(1)).map(|rest| rest.truncated(1)))
        .collect();
    group.bench_function("join", |bencher| {
        bencher.iter(|| EncodedEvents::join_all(black_box(&singles)));
    });
    group.finish();
}

criterion_group!(benches, encoding);
criterion_main!(benches);
