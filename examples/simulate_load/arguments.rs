//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

use crate::launch::{Account, UpstreamKind};

/// Puts load on a Callboard server and measures what comes of it.
///
/// It starts a server and a simulated provider of its own, with a fresh database, unless --url names a server.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// A named scenario with targets; without one, a load of your own (--runs, --concurrency, --mix, --tokens, …)
    #[arg(long)]
    pub(crate) scenario: Option<Scenario>,
    /// Runs in all [default: 2000, or what suits the scenario]
    #[arg(long)]
    pub(crate) runs: Option<u64>,
    /// Clients, each with one run at a time [default: 50, or what suits the scenario]
    #[arg(long)]
    pub(crate) concurrency: Option<usize>,
    /// Accounts by tier, to whom the clients are dealt in turn, for example free=1,pro=3
    #[arg(long, conflicts_with_all = ["url", "scenario"])]
    pub(crate) mix: Option<Mix>,
    /// Tokens of each answer
    #[arg(long, default_value_t = 20)]
    pub(crate) tokens: u32,
    /// Tokens per second of each answer; 0 is as fast as possible
    #[arg(long, default_value_t = 0)]
    pub(crate) tokens_per_second: u32,
    /// How long the model thinks before each answer, milliseconds
    #[arg(long, default_value_t = 0)]
    pub(crate) first_token_ms: u64,
    /// What answers the server's model calls
    #[arg(long, value_enum, default_value = "http", conflicts_with = "url")]
    pub(crate) upstream: UpstreamKind,
    /// A server that runs already, such as http://127.0.0.1:8700; its default model must be a simulated one
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// An API key for it
    #[arg(long, requires = "url")]
    pub(crate) key: Option<String>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the figures as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// Exit with 1 if a target was missed
    #[arg(long)]
    pub(crate) check: bool,
}

/// A named scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One client: how long until the provider is asked
    Latency,
    /// Instant model calls: how many runs a second
    Throughput,
    /// Many clients read along: how late a token arrives
    Streaming,
    /// Thousands of runs wait for their models: what each costs
    Waiting,
    /// Thousands of runs wait for their clients' answers, and get them
    Answers,
    /// All of them, each with a fresh server
    All,
}

/// How many accounts of each tier.
#[derive(Debug, Clone)]
pub(crate) struct Mix(Vec<(String, usize)>);

impl Mix {
    pub(crate) fn accounts(&self) -> impl Iterator<Item = Account> {
        self.0.iter().flat_map(|(tier, count)| {
            (1..=*count).map(move |number| Account {
                name: format!("{tier}-{number}"),
                tier: tier.clone(),
            })
        })
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |part: &str| {
            let (tier, count) = part.split_once('=')?;
            let count = count.parse().ok().filter(|count| *count > 0)?;
            Some((tier.to_owned(), count))
        };
        let parts = text.split(',').map(|part| read(part.trim()));
        let mix: Option<Vec<_>> = parts.collect();
        mix.map(Self)
            .ok_or_else(|| "give tiers and counts, such as free=1,pro=3".to_owned())
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(tier, count)| format!("{count} × {tier}")).collect();
        formatter.write_str(&parts.join(", "))
    }
}
