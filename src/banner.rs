//! What a server prints when it listens: enough for a newcomer to see a run stream.

use std::fmt;
use std::net::SocketAddr;

/// The facts of the greeting.
#[derive(Debug)]
pub(crate) struct Banner {
    pub(crate) address: SocketAddr,
    /// The one-line explanation of the run limit.
    pub(crate) capacity: String,
    /// Tiers and their concurrent runs, least first.
    pub(crate) tiers: Vec<(String, Option<u32>)>,
    pub(crate) store: String,
    pub(crate) has_keys: bool,
    pub(crate) model: String,
    pub(crate) simulated: bool,
}

impl fmt::Display for Banner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = format!("http://{}", self.address);
        let mut tiers = self.tiers.clone();
        tiers.sort_by_key(|(_, runs)| runs.unwrap_or(u32::MAX));
        let tiers: Vec<String> = tiers
            .iter()
            .map(|(name, runs)| match runs {
                Some(runs) => format!("{name} {runs}"),
                None => format!("{name} no limit"),
            })
            .collect();
        writeln!(formatter, "Callboard {} listens on {url}", env!("CARGO_PKG_VERSION"))?;
        writeln!(formatter)?;
        writeln!(formatter, "  capacity  {}", self.capacity)?;
        writeln!(
            formatter,
            "  tiers     {} (concurrent runs per account)",
            tiers.join(", ")
        )?;
        writeln!(formatter, "  store     {}", self.store)?;
        let access = if self.has_keys {
            "API keys"
        } else {
            "no keys: one local account, this machine only"
        };
        writeln!(formatter, "  access    {access}")?;
        let note = if self.simulated {
            " (asks nobody; configure a real one under [models])"
        } else {
            ""
        };
        writeln!(formatter, "  model     {}{note}", self.model)?;
        writeln!(formatter, "  API       {url}/docs")?;
        writeln!(formatter)?;
        writeln!(formatter, "Start a run and watch it:")?;
        writeln!(formatter)?;
        writeln!(
            formatter,
            "  curl -N {url}/api/v1/runs -H 'content-type: application/json' \\"
        )?;
        if self.has_keys {
            writeln!(formatter, "    -H 'authorization: Bearer YOUR_KEY' \\")?;
        }
        let options = if self.simulated {
            r#", "model_options": {"simulate": {"tokens": 40, "tokens_per_second": 20}}"#
        } else {
            ""
        };
        writeln!(
            formatter,
            "    -d '{{\"input\": \"Hello\", \"stream\": true{options}}}'"
        )
    }
}
