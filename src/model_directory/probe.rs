//! One tiny call with one key, to see whether it works.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ids::{ItemId, RunId};
use callboard_actors::item::{ContentPart, Item, ItemContent, ItemStatus, Role, Usage};
use callboard_actors::ports::{Model, ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use callboard_actors::time::Timestamp;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

/// What the model is asked.
const QUESTION: &str = "Say one word: ready";

/// What it may write. Models that think first need a few.
const MOST_OUTPUT_TOKENS: u64 = 64;

/// A key of a provider with a model, to be tried.
pub struct KeyProbe {
    /// The models of the configuration that ask for this.
    pub routes: Vec<String>,
    /// The provider.
    pub provider: String,
    /// Its name for the model.
    pub upstream_model: String,
    /// The key's place in the configuration, from 1.
    pub number: usize,
    /// The key's last four characters, if they may be shown.
    pub last_four: Option<String>,
    /// The adapter with the key.
    pub model: Arc<dyn Model>,
    /// How long the call may take.
    pub longest: Duration,
}

/// What a try has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// From the request to the first piece of the answer.
    pub first_token: Duration,
    /// What it used; zeros if the provider does not say.
    pub usage: Usage,
    /// What answered, as the provider names it.
    pub model: String,
}

impl KeyProbe {
    /// Whether it would show the same.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.provider == other.provider && self.upstream_model == other.upstream_model && self.number == other.number
    }

    /// Makes the call.
    ///
    /// # Errors
    /// Why there is no whole answer, in words fit for people.
    pub async fn ask(&self) -> Result<ProbeAnswer, ModelError> {
        let began = Instant::now();
        let last_moment = began + self.longest;
        let late = || ModelError::new(ModelErrorKind::Timeout, "the model did not answer in time");
        let answering = self.model.call(question());
        let mut pieces = timeout_at(last_moment, answering).await.map_err(|_| late())??.pieces;
        let mut first_token = None;
        loop {
            let piece = timeout_at(last_moment, pieces.next()).await.map_err(|_| late())?;
            let broke_off = || ModelError::new(ModelErrorKind::Connection, "the model's answer broke off");
            let piece = piece.ok_or_else(broke_off)??;
            let first_token = *first_token.get_or_insert_with(|| began.elapsed());
            if let ModelDelta::Finished { usage, model, .. } = piece {
                return Ok(ProbeAnswer {
                    first_token,
                    usage,
                    model,
                });
            }
        }
    }
}

fn question() -> ModelRequest {
    let item = Item {
        id: ItemId::new(),
        status: ItemStatus::Completed,
        created_at: Timestamp::now(),
        content: ItemContent::Message {
            role: Role::User,
            content: vec![ContentPart::text(QUESTION)],
        },
    };
    ModelRequest {
        run_id: RunId::new(),
        step: 1,
        attempt: 1,
        instructions: None,
        conversation: Arc::from([Arc::new(item)]),
        tools: Arc::from([]),
        max_output_tokens: Some(MOST_OUTPUT_TOKENS),
        options: Arc::default(),
    }
}
