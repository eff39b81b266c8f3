//! What is printed, and what is refused before any database is asked.

use clap::Parser;

use super::*;
use crate::cli::{Cli, EXIT_WRONG_INPUT, Task, exit_code};
use crate::store::migrate::{Difference, DifferenceKind, TableHash};

fn arguments(words: &[&str]) -> MigrateStoreArguments {
    let cli = Cli::try_parse_from([&["callboard", "migrate-store"], words].concat()).expect("it parses");
    let Ok(Task::MigrateStore(_, arguments)) = crate::cli::run(cli, &mut Vec::new()) else {
        panic!("another task");
    };
    arguments
}

#[test]
fn directions_that_nobody_wrote_are_refused() {
    for (from, to) in [("sqlite", "sqlite"), ("postgres", "sqlite"), ("postgres", "postgres")] {
        let error = arguments(&["--from", from, "--to", to])
            .target_url(&Config::default())
            .expect_err("it is refused");
        assert_eq!(
            error.to_string(),
            format!("a store cannot be moved from {from} to {to}, only from sqlite to postgres")
        );
        assert_eq!(exit_code(&error.into()), EXIT_WRONG_INPUT);
    }
    assert!(Cli::try_parse_from(["callboard", "migrate-store", "--from", "sqlite", "--to", "mysql"]).is_err());
}

#[test]
fn the_target_is_named_by_the_configuration_or_the_command_line() {
    let mut config = Config::default();
    let plain = arguments(&["--from", "sqlite", "--to", "postgres"]);
    let error = plain.target_url(&config).expect_err("nothing names it");
    assert!(error.to_string().contains("--to-url-env"), "{error}");
    assert_eq!(exit_code(&error.into()), EXIT_WRONG_INPUT);

    config.store.postgres_url_env = Some("CALLBOARD_TEST_NO_SUCH_VARIABLE".to_owned());
    let error = plain.target_url(&config).expect_err("it is not set");
    assert!(error.to_string().contains("CALLBOARD_TEST_NO_SUCH_VARIABLE"), "{error}");

    // A variable that is always there.
    let named = arguments(&["--from", "sqlite", "--to", "postgres", "--to-url-env", "PATH"]);
    assert_eq!(named.target_url(&config).ok(), std::env::var("PATH").ok());
}

#[test]
fn a_difference_is_shown_and_told_with_its_table_and_row() {
    let comparison = |table, difference: Option<Difference>| Comparison {
        table,
        source: TableHash::default(),
        target: TableHash::default(),
        first_difference: difference,
    };
    let difference = Difference {
        key: "run_0, position 3".to_owned(),
        kind: DifferenceKind::Columns(vec!["content"]),
    };
    let comparisons = [comparison("runs", None), comparison("items", Some(difference))];
    let mut output = Vec::new();
    let error = print_comparisons(&comparisons, &mut output).expect_err("they differ");
    assert!(
        error
            .to_string()
            .starts_with("items: run_0, position 3 differs in content. "),
        "{error}"
    );
    assert_eq!(exit_code(&error.into()), 1);
    let printed = String::from_utf8(output).expect("UTF-8");
    assert!(printed.contains("same") && printed.contains("DIFFERENT"), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
}
