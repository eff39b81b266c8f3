//! Which turns stay whole, which are summed up, and which are left out.

use super::deciding::Planned;
use super::*;
use crate::event::EventBody;
use crate::item::{ItemContent, ItemStatus, Role};
use crate::ports::threads::ThreadExtent;
use crate::run::thread_history::EarlierTurns;

/// About this many tokens, and eight more for the message and its last letters.
fn turn(position: u64, tokens: usize) -> Turn {
    Turn {
        position,
        items: vec![Item::message(Role::User, "abcd".repeat(tokens))],
    }
}

fn summary(before: u64, turns: u64) -> Item {
    let content = ItemContent::Summary {
        text: format!("summary before {before}"),
        turns,
        tokens: turns * 100,
        before_position: before,
    };
    Item::new(ItemStatus::Completed, content)
}

fn with_summary(mut turn: Turn, before: u64, turns: u64) -> Turn {
    turn.items.push(summary(before, turns));
    turn
}

fn tokens(tokens: u64) -> Bounds {
    Bounds {
        tokens: Some(tokens),
        bytes: 1_000_000,
    }
}

/// Reads these, newest first, as far as it wants to.
fn read(bounds: u64, input: u64, own: Option<&Item>, turns: Vec<Turn>) -> Reading {
    let mut reading = Reading::new(100, tokens(bounds), tokens(input), own.and_then(Standing::of));
    for turn in turns {
        if reading.take(turn).is_break() {
            return reading;
        }
    }
    reading.reach_beginning();
    reading
}

fn planned(kept: usize, put_in: usize, from: u64) -> Option<Planned> {
    Some(Planned { kept, put_in, from })
}

#[test]
fn half_of_the_room_stays_whole_and_the_rest_is_summed_up() {
    let turns = || (0..10).rev().map(|position| turn(position, 100)).collect();
    let fits = read(2000, 5000, None, turns());
    assert!(fits.fits());
    assert_eq!(fits.whole().items.len(), 10);
    let reading = read(1000, 5000, None, turns());
    assert!(!reading.fits());
    assert_eq!(reading.plan(), planned(4, 6, 0));
    assert_eq!(reading.that_fit().turns, 9);
    let earlier = reading.summarizing(
        reading.plan().expect("a plan"),
        ThreadExtent::default(),
        EarlierTurns::default(),
    );
    assert_eq!(earlier.items.len(), 4);
    let work = earlier.to_summarize.expect("work");
    assert_eq!((work.kept_items, work.lines.lines().count()), (4, 6));
    assert_eq!(work.trimmed, None);
    let (item, _) = work.done("what was said");
    let ItemContent::Summary {
        turns, before_position, ..
    } = item.content
    else {
        panic!("{item:?}");
    };
    assert_eq!((turns, before_position), (6, 6));
}

#[test]
fn what_the_model_cannot_read_is_not_put_in() {
    let turns = (0..50).rev().map(|position| turn(position, 100)).collect();
    let reading = read(1000, 400, None, turns);
    assert!(!reading.is_all, "it does not read what is of no use");
    assert!(reading.turns.len() < 12, "{}", reading.turns.len());
    let plan = reading.plan().expect("a plan");
    assert_eq!((plan.kept, plan.put_in, plan.from), (4, 3, 43));
}

#[test]
fn the_newest_summary_stands_for_all_before_it() {
    let turns = vec![
        turn(9, 100),
        with_summary(turn(8, 100), 6, 6),
        with_summary(turn(7, 100), 3, 3),
        turn(6, 100),
        turn(5, 100),
    ];
    let reading = read(1000, 5000, None, turns);
    assert!(reading.fits());
    assert_eq!(reading.turns.len(), 4);
    let earlier = reading.whole();
    assert_eq!(earlier.items.len(), 5, "the turns, and one summary before them");
    assert!(matches!(
        &earlier.items[0].content,
        ItemContent::Summary { before_position: 6, .. }
    ));
    assert!(
        earlier.items[1..]
            .iter()
            .all(|item| !matches!(item.content, ItemContent::Summary { .. }))
    );
    let Some(EventBody::HistorySummarized { turns, kept_turns, .. }) = earlier.summarized else {
        panic!("not told");
    };
    assert_eq!((turns, kept_turns), (6, 4));
}

#[test]
fn a_run_with_room_for_all_reads_past_the_summaries_of_others() {
    let turns = |large: usize| {
        vec![
            with_summary(turn(4, 100), 3, 3),
            with_summary(turn(3, 100), 2, 2),
            turn(2, 100),
            turn(1, 100),
            turn(0, large),
        ]
    };
    let reading = read(1000, 5000, None, turns(100));
    assert!(reading.fits());
    let whole = reading.whole();
    assert_eq!((whole.items.len(), whole.summarized), (5, None));

    let more_than_it_says = read(1000, 5000, None, turns(700));
    assert!(more_than_it_says.fits(), "with the summary");
    let earlier = more_than_it_says.whole();
    assert_eq!(earlier.items.len(), 3, "two turns, and the newest summary before them");
    assert!(matches!(
        &earlier.items[0].content,
        ItemContent::Summary { before_position: 3, .. }
    ));

    let less_room = read(500, 5000, None, turns(100));
    assert_eq!(less_room.whole().items.len(), 3);
    let own = summary(3, 3);
    let recovered = read(1000, 5000, Some(&own), turns(100));
    assert_eq!(recovered.whole().items.len(), 3, "it has told of its own summary");
}

#[test]
fn a_new_summary_takes_the_old_one_in() {
    let turns = vec![
        turn(9, 200),
        with_summary(turn(8, 200), 6, 6),
        turn(7, 200),
        turn(6, 200),
        turn(5, 200),
    ];
    let reading = read(800, 5000, None, turns);
    assert!(!reading.fits());
    let plan = reading.plan().expect("a plan");
    assert_eq!(plan, planned(1, 3, 6).expect("a plan"));
    let earlier = reading.summarizing(plan, ThreadExtent::default(), EarlierTurns::default());
    let work = earlier.to_summarize.expect("work");
    assert!(
        work.lines
            .starts_with("{\"type\":\"summary\",\"text\":\"summary before 6\"}\n")
    );
    assert_eq!((work.lines.lines().count(), work.turns, work.before), (4, 9, 9));
    // Without a new one, the old one is shown with as much as fits.
    let shown = reading.that_fit();
    assert_eq!((shown.turns, shown.summary.expect("it fits").before), (3, 6));
}

#[test]
fn a_summary_that_is_cut_off_stands_for_nothing() {
    let mut cut_off = with_summary(turn(8, 100), 6, 6);
    cut_off.items[1].status = ItemStatus::Incomplete;
    let reading = read(
        1000,
        5000,
        None,
        vec![turn(9, 100), cut_off, turn(7, 100), turn(5, 100)],
    );
    assert!(reading.fits());
    assert_eq!((reading.turns.len(), reading.summary.is_none()), (4, true));
}

#[test]
fn a_run_reads_no_further_than_its_own_summary() {
    let own = summary(8, 8);
    let reading = read(1000, 5000, Some(&own), vec![turn(9, 100), turn(8, 100), turn(7, 100)]);
    assert!(reading.fits());
    let earlier = reading.whole();
    assert_eq!((earlier.items.len(), earlier.items[0].id), (3, own.id));
}

#[test]
fn the_last_turn_stays_if_it_leaves_room_for_a_summary() {
    let turns = |newest| vec![turn(3, newest), turn(2, 600), turn(1, 600)];
    assert_eq!(read(1000, 5000, None, turns(600)).plan(), planned(1, 2, 1));
    assert_eq!(read(1000, 5000, None, turns(700)).plan(), planned(0, 3, 1));
}

#[test]
fn without_room_there_is_no_summary() {
    let turns = || vec![turn(3, 300), turn(2, 300)];
    assert_eq!(read(511, 5000, None, turns()).plan(), None);
    assert_eq!(read(512, 5000, None, turns()).plan(), planned(1, 1, 2));
    assert_eq!(read(512, 10, None, turns()).plan(), None, "nothing can be read");
}

#[test]
fn a_summary_is_cut_to_its_room() {
    let reading = read(
        800,
        5000,
        None,
        (0..10).rev().map(|position| turn(position, 100)).collect(),
    );
    let plan = reading.plan().expect("a plan");
    let earlier = reading.summarizing(plan, ThreadExtent::default(), EarlierTurns::default());
    let work = earlier.to_summarize.expect("work");
    let (item, _) = work.done(&"é".repeat(10_000));
    let kept = size_of_items(earlier.items.iter().map(AsRef::as_ref));
    let all = kept + size_of_items([&item]);
    assert!(tokens(800).allow(all), "{all:?}");
    let (short, _) = work.done("short");
    assert!(matches!(&short.content, ItemContent::Summary { text, .. } if text == "short"));
}
