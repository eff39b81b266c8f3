//! Where a fleet is reached.

use tokio::sync::watch;

use super::PAUSE;

/// One instance, for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The instance's name.
    pub(crate) name: String,
    /// `http://ADDRESS:PORT`.
    pub(crate) url: String,
}

/// The instances that listen now, as a load balancer without health checks knows them: one that hangs is still among them. Cheap to
/// clone; all clones say the same.
#[derive(Clone)]
pub(crate) struct Addresses(watch::Sender<Vec<Address>>);

impl Default for Addresses {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl Addresses {
    pub(crate) fn all(&self) -> Vec<Address> {
        self.0.borrow().clone()
    }

    /// The one of this turn, where turns count upwards. `None` if there is none at all.
    pub(crate) fn in_turn(&self, turn: usize) -> Option<Address> {
        let known = self.0.borrow();
        known.get(turn.checked_rem(known.len())?).cloned()
    }

    /// Which turn is that of this instance.
    pub(crate) fn turn_of(&self, name: &str) -> Option<usize> {
        self.0.borrow().iter().position(|address| address.name == name)
    }

    pub(super) fn add(&self, name: &str, url: &str) {
        let address = Address {
            name: name.to_owned(),
            url: url.to_owned(),
        };
        self.0.send_modify(|known| {
            known.retain(|other| other.name != name);
            known.push(address);
        });
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.send_modify(|known| known.retain(|address| address.name != name));
    }

    /// Before asking again: until another instance is there, or for a moment.
    pub(super) async fn pause(&self) {
        let mut changes = self.0.subscribe();
        let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
    }
}
