//! What the originals refuse about conversations: calls of tools without results, and results without calls.

use std::collections::HashSet;

/// Calls whose results have to come, in a conversation that is read from its beginning.
#[derive(Debug, Default)]
pub(super) struct OpenToolCalls {
    called: Vec<String>,
    answered: HashSet<String>,
}

impl OpenToolCalls {
    pub(super) fn call(&mut self, id: &str) {
        self.called.push(id.to_owned());
    }

    /// Whether such a call waits for its result.
    pub(super) fn answer(&mut self, id: &str) -> bool {
        self.called.iter().any(|call| call == id) && self.answered.insert(id.to_owned())
    }

    /// Calls that have no result, if there are any, by their ids. Begins anew.
    pub(super) fn close(&mut self) -> Option<String> {
        let Self { called, answered } = std::mem::take(self);
        let open: Vec<_> = called.into_iter().filter(|call| !answered.contains(call)).collect();
        (!open.is_empty()).then(|| open.join(", "))
    }
}
