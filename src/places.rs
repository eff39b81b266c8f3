//! How much of one kind is done at once: calls of a tool, uploads of an account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use callboard_actors::ids::AccountId;
use tokio::sync::Semaphore;

/// Entries from which on those that nobody uses are looked for.
const FIRST_SWEEP: usize = 64;

/// Places, shared by all who ask under the same key for as long as any of them has them.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<(String, usize), Weak<Semaphore>>,
    sweep_at: usize,
}

impl Places {
    /// So many places of this key.
    pub(crate) fn of(&self, key: &str, most: usize) -> Arc<Semaphore> {
        // What a panic left is as good as before: each entry stands alone.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (key.to_owned(), most);
        if let Some(places) = entries.by_key.get(&key).and_then(Weak::upgrade) {
            return places;
        }
        if entries.by_key.len() >= entries.sweep_at.max(FIRST_SWEEP) {
            entries.by_key.retain(|_, places| places.strong_count() > 0);
            entries.sweep_at = entries.by_key.len() * 2;
        }
        let places = Arc::new(Semaphore::new(most));
        entries.by_key.insert(key, Arc::downgrade(&places));
        places
    }
}

/// Places that accounts share. One account has half of them at most, so that none keeps the others out. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SharedPlaces {
    all: Arc<Semaphore>,
    /// What an account may have of them.
    share: usize,
    of_accounts: Arc<Places>,
}

impl SharedPlaces {
    /// So many, and at least one.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            all: Arc::new(Semaphore::new(most)),
            share: most.div_ceil(2),
            of_accounts: Arc::default(),
        }
    }

    /// What an account takes, in this order, to have a place: one of its own share, then one of all.
    pub(crate) fn of(&self, account: &AccountId) -> [Arc<Semaphore>; 2] {
        [self.of_accounts.of(account.as_str(), self.share), self.all.clone()]
    }

    /// All of them, for what is of no account.
    pub(crate) fn all(&self) -> &Arc<Semaphore> {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_half_of_the_places() {
        let places = SharedPlaces::new(4);
        let of = |account: &str| places.of(&account.parse().expect("a name"));
        let (first, second) = (of("acme"), of("other"));
        assert_eq!(first[0].available_permits(), 2);
        assert_eq!(first[1].available_permits(), 4);
        assert!(Arc::ptr_eq(&first[0], &of("acme")[0]) && !Arc::ptr_eq(&first[0], &second[0]));
        assert!(Arc::ptr_eq(&first[1], &second[1]));
        let one = SharedPlaces::new(0).of(&"acme".parse().expect("a name"));
        assert_eq!(one.map(|places| places.available_permits()), [1, 1]);
    }

    #[test]
    fn places_are_shared_for_as_long_as_anybody_has_them_and_then_forgotten() {
        let places = Places::default();
        let (one, same, other) = (places.of("a", 1), places.of("a", 1), places.of("a", 2));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        for index in 0..10_000 {
            places.of(&format!("key {index}"), 1);
        }
        let kept = places.0.lock().expect("not poisoned").by_key.len();
        assert!(kept <= FIRST_SWEEP + 2, "{kept}");
        assert!(Arc::ptr_eq(&one, &places.of("a", 1)));
    }
}
