//! Measures what a fleet is for: more runs than one instance bears, no long silence when an instance dies, and readers that cost nothing.
//!
//! ```sh
//! cargo run --release --example fleet -- --chart docs/fleet.svg        # 1, 2, 3, 4 instances of 20 runs each
//! cargo run --release --example fleet -- --what takeover               # from kill -9 to the first event of the next owner
//! cargo run --release --example fleet -- --what viewers                # 2,000 who read along elsewhere
//! ```
//!
//! Needs PostgreSQL and Redis installed, and starts its own; PostgreSQL waits for the disk.
//!
//! | module | |
//! |---|---|
//! | `arguments` | the command line |
//! | `site` | the services, and instances on them |
//! | `scale`, `takeover`, `viewers` | what is measured |
//! | `chart` | the figures of `scale` as SVG |

mod arguments;
mod chart;
#[path = "../simulate_load/palette.rs"]
mod palette;
#[path = "../rig/mod.rs"]
mod rig;
mod scale;
mod site;
mod takeover;
mod viewers;

use anyhow::Context;
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};

use arguments::{Arguments, What};

// One thread: the machine belongs to the fleet.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be raised")?;
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: the figures say nothing about a release build.");
    }
    match arguments.what {
        What::Scale => scale::measure(&arguments).await,
        What::Takeover => takeover::measure(&arguments).await,
        What::Viewers => viewers::measure(&arguments).await,
    }
}

/// Figures for people.
fn print<const COLUMNS: usize>(title: &str, header: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{title}\n{table}");
}
