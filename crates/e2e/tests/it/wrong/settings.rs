//! Settings that cannot be meant, ports that are taken, and programs that are not installed.

use std::net::TcpListener;

use anyhow::Result;

use super::{Files, says};
use crate::stack::command;

#[tokio::test]
async fn the_aggregator_tells_all_wrong_settings_at_once() -> Result<()> {
    let files = Files::new()?;
    let file = files.path("aggregator.toml");
    std::fs::write(&file, "intervall = '1m'\nretention = '6d'\n")?;
    let mut command = files.aggregator("serve")?;
    command.arg("--config").arg(&file).args(["--interval", "soon"]);
    command.env("ROWCALL_FLUSH_ROWS", "0");
    let parts = [
        "5 problems",
        "unknown setting \"intervall\"; did you mean interval?",
        "aggregator.toml): 6d is not between 7d and 3650d",
        "interval (flag --interval): \"soon\" is no duration",
        "flush_rows (environment variable ROWCALL_FLUSH_ROWS): \"0\" is no whole number between 1 and",
        "database is not set: give it in the settings file, as ROWCALL_DATABASE or as --database",
    ];
    says(command, 2, &parts).await?;
    Ok(())
}

#[tokio::test]
async fn the_agent_tells_all_wrong_settings_at_once() -> Result<()> {
    let files = Files::new()?;
    let file = files.path("agent.toml");
    std::fs::write(&file, "intervall = 5\nspool_max_bytes = 1\n")?;
    let mut command = files.agent()?;
    command.arg("--config").arg(&file).args(["--min-interval", "1ms"]);
    command.env("ROWCALL_ALIGN", "maybe").env_remove("ROWCALL_AGGREGATOR");
    let parts = [
        "5 problems",
        "unknown key \"intervall\"",
        "agent.toml: spool_max_bytes: \"1\" is too little; the least is 1MiB",
        "--min-interval: \"1ms\" is too short; the least is 10ms",
        "environment variable ROWCALL_ALIGN: \"maybe\" is neither true nor false",
        "aggregator is not set",
    ];
    says(command, 2, &parts).await?;
    Ok(())
}

#[tokio::test]
async fn a_password_in_a_flag_ends_the_start_and_is_not_repeated() -> Result<()> {
    let files = Files::new()?;
    for what in ["serve", "migrate"] {
        for url in ["postgresql://u:geheim@db/x", "host=db user=u password=geheim"] {
            let mut command = files.aggregator(what)?;
            command.args(["--database", url]);
            let parts = [
                "database (flag --database): a password in a flag is visible to every user of this \
                 machine",
                "ROWCALL_DATABASE",
                "passfile=FILE in the URL",
            ];
            let said = says(command, 2, &parts).await?;
            assert!(!said.contains("geheim"), "{said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_setting_that_names_it() -> Result<()> {
    let files = Files::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (setting, flag) in [("listen", "--listen"), ("http_listen", "--http-listen")] {
        let mut command = files.aggregator("serve")?;
        command.env("ROWCALL_DATABASE", "postgresql://u@127.0.0.1:1/x").args([flag, &address]);
        let part = format!(
            "rowcall-aggregator: {setting}: cannot listen on {address}: Address already in use \
             (os error 98); another program has the port, choose another with {flag}"
        );
        says(command, 1, &[&part]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn missing_programs_of_postgresql_are_told_with_the_package_that_has_them() -> Result<()> {
    let files = Files::new()?;
    let (empty, data) = (files.path("empty"), files.path("data"));
    std::fs::create_dir(&empty)?;
    let mut up = command("rowcall")?;
    up.args(["up", "--data-dir"]).arg(&data);
    let mut embedded = files.aggregator("serve")?;
    embedded.args(["--database", "embedded", "--data-dir"]).arg(&data);
    let mut migrate = files.aggregator("migrate")?;
    migrate.args(["--database", "embedded", "--data-dir"]).arg(&data);
    let parts = [
        "found no server binaries (postgres and initdb) of PostgreSQL in",
        "install them (Debian, Ubuntu: `apt-get install postgresql`), or set PG_BIN to the folder \
         that holds them",
    ];
    for mut command in [up, embedded, migrate] {
        command.env("PG_BIN", &empty);
        says(command, 1, &parts).await?;
        assert!(!data.join("postgres").exists(), "something was begun");
    }
    Ok(())
}
