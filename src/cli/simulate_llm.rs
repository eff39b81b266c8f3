//! `callboard simulate-llm`: what its flags and its file come to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use crate::llm::simulate_server::settings::{KeySettings, SettingsError};
use crate::llm::simulate_server::{SimulateServerOptions, SimulateServerSettings};
use crate::llm::simulated::troubles::{Outage, SlowStart};

/// How to serve the simulated model. Flags count over what the file says.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct SimulateLlmArguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8701)]
    port: u16,
    /// Threads that serve; 0 is one per CPU
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    workers: usize,
    /// Read limits, keys, troubles and what to answer from this file (TOML, or JSON if its name ends so)
    #[arg(long, value_name = "PATH")]
    settings: Option<PathBuf>,
    /// Milliseconds before the first token, where a request has no `simulate` of its own [default: 0]
    #[arg(long, value_name = "MS")]
    first_token_ms: Option<u64>,
    /// Tokens of an answer, likewise [default: 24]
    #[arg(long, value_name = "COUNT")]
    tokens: Option<u32>,
    /// Tokens per second, likewise; 0 is as fast as possible [default: 0]
    #[arg(long, value_name = "COUNT")]
    tokens_per_second: Option<u32>,
    /// Take only this key, and others that are given likewise [default: every key, and none]
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Calls that each key may make in any minute [default: no limit]
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u64>,
    /// Tokens that each key may use in any minute [default: no limit]
    #[arg(long, value_name = "COUNT")]
    tokens_per_minute: Option<u64>,
    /// Calls that each key may make at the same time [default: no limit]
    #[arg(long, value_name = "COUNT")]
    concurrent_calls: Option<u64>,
    /// How long "a minute" is for these limits, ms [default: 60000]
    #[arg(long, value_name = "MS")]
    window_ms: Option<u64>,
    /// Chooses which calls meet trouble [default: 0]
    #[arg(long, value_name = "NUMBER")]
    trouble_seed: Option<u64>,
    /// The share of calls that get no answer, from 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    outage_share: Option<f64>,
    /// The status that they get [default: none, their connection is closed]
    #[arg(long, value_name = "STATUS", requires = "outage_share")]
    outage_status: Option<u16>,
    /// How much later answers begin, ms: half of them less than the first figure, one in a hundred more than the second
    #[arg(long, num_args = 2, value_names = ["MEDIAN", "P99"])]
    slow_start_ms: Option<Vec<u64>>,
    /// The share of answers that begin late, from 0 to 1 [default: 1]
    #[arg(long, value_name = "SHARE", requires = "slow_start_ms")]
    slow_start_share: Option<f64>,
    /// The share of answers that break off, from 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    break_share: Option<f64>,
}

impl SimulateLlmArguments {
    /// What to start. Reads the file, and checks everything.
    pub(super) fn options(self) -> Result<SimulateServerOptions, SettingsError> {
        let bind = SocketAddr::new(self.host, self.port);
        let workers = match self.workers {
            0 => crate::config::this_machine().cpus as usize,
            workers => workers,
        };
        let settings = self.settings_in_force()?;
        settings.check()?;
        Ok(SimulateServerOptions {
            bind,
            workers,
            settings,
        })
    }

    fn settings_in_force(self) -> Result<SimulateServerSettings, SettingsError> {
        let mut settings = match &self.settings {
            Some(path) => SimulateServerSettings::from_file(path)?,
            None => SimulateServerSettings::default(),
        };
        let simulate = &mut settings.simulate;
        put(&mut simulate.first_token_ms, self.first_token_ms);
        put(&mut simulate.tokens, self.tokens);
        put(&mut simulate.tokens_per_second, self.tokens_per_second);
        put(&mut settings.window_ms, self.window_ms);
        let limits = &mut settings.limits;
        limits.requests_per_minute = self.requests_per_minute.or(limits.requests_per_minute);
        limits.tokens_per_minute = self.tokens_per_minute.or(limits.tokens_per_minute);
        limits.concurrent_calls = self.concurrent_calls.or(limits.concurrent_calls);
        settings.keys.extend(self.keys.into_iter().map(|key| KeySettings {
            key,
            ..KeySettings::default()
        }));
        let troubles = &mut settings.troubles;
        put(&mut troubles.seed, self.trouble_seed);
        put(&mut troubles.break_share, self.break_share);
        troubles.outages.extend(self.outage_share.map(|share| Outage {
            share,
            from_ms: 0,
            until_ms: None,
            status: self.outage_status,
        }));
        if let Some([median_ms, p99_ms]) = self.slow_start_ms.as_deref() {
            troubles.slow_start = Some(SlowStart {
                share: self.slow_start_share.unwrap_or(1.0),
                median_ms: *median_ms,
                p99_ms: *p99_ms,
            });
        }
        Ok(settings)
    }
}

fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        arguments: SimulateLlmArguments,
    }

    fn options(flags: &[&str]) -> Result<SimulateServerOptions, SettingsError> {
        let alone = Alone::try_parse_from([&["simulate-llm"], flags].concat()).expect("it parses");
        alone.arguments.options()
    }

    #[test]
    fn flags_count_over_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("provider.toml");
        std::fs::write(
            &path,
            "window_ms = 5000\n[limits]\nrequests_per_minute = 9\ntokens_per_minute = 9\n",
        )
        .expect("written");
        let path = path.to_str().expect("UTF-8");
        let flags = [
            "--settings",
            path,
            "--requests-per-minute",
            "3",
            "--key",
            "sk-simulated-1",
        ];
        let settings = options(&flags).expect("right").settings;
        assert_eq!((settings.window_ms, settings.keys.len()), (5_000, 1));
        let limits = settings.limits;
        assert_eq!(
            (limits.requests_per_minute, limits.tokens_per_minute),
            (Some(3), Some(9))
        );
    }

    #[test]
    fn troubles_can_be_given_by_flags() {
        let flags = "--trouble-seed 4 --outage-share 0.1 --outage-status 529 --slow-start-ms 100 900 --break-share 0.5";
        let troubles = options(&flags.split(' ').collect::<Vec<_>>())
            .expect("right")
            .settings
            .troubles;
        assert_eq!((troubles.seed, troubles.outages[0].status), (4, Some(529)));
        assert_eq!(
            troubles.slow_start.map(|slow| (slow.median_ms, slow.p99_ms)),
            Some((100, 900))
        );
    }

    #[test]
    fn wrong_values_are_named() {
        for (flags, said) in [
            (["--break-share", "2"], "troubles.break_share"),
            (["--key", "short"], "keys[0].key"),
            (
                ["--settings", "/nowhere/provider.toml"],
                "cannot read /nowhere/provider.toml",
            ),
        ] {
            let error = options(&flags).expect_err("it is wrong").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
