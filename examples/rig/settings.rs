//! Configuration files that are put together from pieces.

use std::path::Path;

use anyhow::Context;
use toml::{Table, Value};

/// No limit of requests a second for anyone: whoever waits for something asks as often as the machine bears.
pub(crate) const UNHURRIED: &str = "
    [tiers]
    free = { requests_per_second = 0 }
    plus = { requests_per_second = 0 }
    pro = { requests_per_second = 0 }
    ultra = { requests_per_second = 0 }
";

/// Settings of a server, over the shipped `config.toml`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings(Table);

impl Settings {
    /// These, and `toml` over them: a key that is in both has the value of `toml`.
    pub(crate) fn with(mut self, toml: &str) -> anyhow::Result<Self> {
        let over = toml
            .parse()
            .with_context(|| format!("these settings are no TOML: {toml}"))?;
        lay_over(&mut self.0, over);
        Ok(self)
    }

    /// Writes them as `config.toml` into `folder`.
    pub(crate) fn write_into(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::write(folder.join("config.toml"), toml::to_string(&self.0)?)?;
        Ok(())
    }
}

fn lay_over(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay_over(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}
