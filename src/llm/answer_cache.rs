//! Adapter of the `AnswerCache` port in this process's memory: bounded in bytes, each answer for as long as its route says. What is used
//! least goes first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard_actors::ports::AnswerCache;
use callboard_actors::ports::answer_cache::{CachedAnswer, CallFingerprint};
use moka::Expiry;
use moka::sync::Cache;

/// What an entry takes beside its answer: the key, and the cache's own records of it. About; measured at moka 0.12.
const BYTES_PER_ENTRY: usize = 256;

/// Answers in memory. A clone is the same cache.
#[derive(Clone)]
pub struct MemoryAnswerCache(Cache<CallFingerprint, Kept>);

#[derive(Clone)]
struct Kept {
    answer: Arc<CachedAnswer>,
    time_to_live: Duration,
}

impl MemoryAnswerCache {
    /// For answers of so many bytes together.
    pub fn new(max_bytes: usize) -> Self {
        let weigh = |_: &CallFingerprint, kept: &Kept| {
            let bytes = kept.answer.bytes.saturating_add(BYTES_PER_ENTRY);
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(max_bytes as u64)
                .weigher(weigh)
                .expire_after(AsItsRouteSays)
                .build(),
        )
    }
}

impl AnswerCache for MemoryAnswerCache {
    fn get(&self, call: &CallFingerprint) -> Option<Arc<CachedAnswer>> {
        Some(self.0.get(call)?.answer)
    }

    fn put(&self, call: CallFingerprint, answer: Arc<CachedAnswer>, time_to_live: Duration) {
        self.0.insert(call, Kept { answer, time_to_live });
    }
}

/// Each answer has a time of its own; being read does not make it longer.
struct AsItsRouteSays;

impl Expiry<CallFingerprint, Kept> for AsItsRouteSays {
    fn expire_after_create(&self, _: &CallFingerprint, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.time_to_live)
    }

    fn expire_after_update(
        &self,
        _: &CallFingerprint,
        kept: &Kept,
        _: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.time_to_live)
    }
}

#[cfg(test)]
mod tests {
    use callboard_actors::event::FinishReason;
    use callboard_actors::item::Usage;
    use callboard_actors::ports::ModelDelta;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn call(number: u8) -> CallFingerprint {
        CallFingerprint([number; 32])
    }

    fn answer(text: &str, bytes: usize) -> Arc<CachedAnswer> {
        Arc::new(CachedAnswer {
            provider: "one".into(),
            is_simulated: false,
            pieces: vec![
                ModelDelta::Text(text.to_owned()),
                ModelDelta::Finished {
                    reason: FinishReason::Stop,
                    usage: Usage::of(1, 1),
                    model: "m".to_owned(),
                },
            ],
            bytes,
        })
    }

    #[test]
    fn an_answer_is_given_again_to_its_call_and_to_no_other() {
        let cache = MemoryAnswerCache::new(1_000_000);
        assert_eq!(cache.get(&call(1)), None);
        cache.put(call(1), answer("one", 100), LONG);
        assert_eq!(cache.get(&call(1)), Some(answer("one", 100)));
        assert_eq!(cache.get(&call(2)), None);
        cache.put(call(1), answer("newer", 100), LONG);
        assert_eq!(cache.clone().get(&call(1)), Some(answer("newer", 100)));
    }

    #[test]
    fn each_answer_has_its_own_time() {
        let cache = MemoryAnswerCache::new(1_000_000);
        cache.put(call(1), answer("gone", 100), Duration::ZERO);
        cache.put(call(2), answer("there", 100), LONG);
        assert_eq!(cache.get(&call(1)), None);
        assert_eq!(cache.get(&call(2)), Some(answer("there", 100)));
        cache.put(call(2), answer("gone as well", 100), Duration::ZERO);
        assert_eq!(cache.get(&call(2)), None);
    }

    #[test]
    fn all_answers_together_have_a_size() {
        let cache = MemoryAnswerCache::new(10_000);
        for number in 0..100 {
            cache.put(call(number), answer("one of many", 1_000), LONG);
        }
        cache.put(call(200), answer("too long for any", 20_000), LONG);
        cache.0.run_pending_tasks();
        assert!(cache.0.weighted_size() <= 10_000, "{}", cache.0.weighted_size());
        assert!(cache.0.entry_count() > 0);
        assert_eq!(cache.get(&call(200)), None);
    }
}
