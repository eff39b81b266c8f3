//! What is killed, and those who go on.

use anyhow::Context;

use super::Options;
use crate::rig::{Binary, Fleet, FleetClient, Instance};

/// One server on the store inside it, or the instances of a fleet.
pub(super) struct Site {
    instances: Vec<Instance>,
    pub(super) client: FleetClient,
}

impl Site {
    /// `settings` is TOML for all of them.
    pub(super) async fn start(options: &Options, binary: &Binary, settings: &str) -> anyhow::Result<Self> {
        let fleet = match &options.services {
            None => Fleet::of_one(binary.clone(), settings)?,
            Some(services) => Fleet::new(binary.clone(), &services.database_url, &services.redis_url, settings)?,
        };
        let mut instances = Vec::new();
        let count = options.services.as_ref().map_or(1, |services| services.instances);
        for number in 1..=count {
            instances.push(fleet.start(&format!("instance-{number}")).await?);
        }
        Ok(Self {
            instances,
            client: fleet.client()?,
        })
    }

    /// SIGKILL for one, in turn.
    pub(super) async fn kill(&mut self, turn: u32) -> anyhow::Result<()> {
        self.in_turn(turn)?.kill().await
    }

    /// The one that was killed comes back.
    pub(super) async fn start_again(&mut self, turn: u32) -> anyhow::Result<()> {
        self.in_turn(turn)?.start().await
    }

    fn in_turn(&mut self, turn: u32) -> anyhow::Result<&mut Instance> {
        let index = turn as usize % self.instances.len().max(1);
        self.instances.get_mut(index).context("there is no instance")
    }
}
