//! What the README shows works as it stands there: its grpcurl calls, with the real program.
//! (Its settings are the files of `deploy/`, which `deploy.rs` tries.)

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::stack::{Stack, root};

/// The commands of the README's `sh` blocks that call grpcurl, continuation lines joined.
fn grpcurl_examples() -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let mut examples = Vec::new();
    for block in readme.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default().replace("\\\n", " ");
        examples.extend(block.lines().filter(|l| l.starts_with("grpcurl ")).map(str::to_owned));
    }
    Ok(examples)
}

pub(crate) fn grpcurl() -> Result<PathBuf> {
    let installed = root().join(".tools/venv/bin/grpcurl");
    if installed.is_file() {
        return Ok(installed);
    }
    let found = Command::new("sh").args(["-c", "command -v grpcurl"]).output()?;
    ensure!(found.status.success(), "grpcurl is missing: run `make deps`");
    Ok(String::from_utf8(found.stdout)?.trim().into())
}

#[tokio::test]
async fn the_grpcurl_examples_answer() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("100ms").await?;
    let _agent = stack.agent("db1.example", aggregator.address)?;
    stack.number("SELECT count(*) FROM host_usage", "rows", |n| n >= 3).await?;
    let viewer = stack.site.client("viewer", "x")?;
    let program = grpcurl()?;
    let program = program.to_str().context("the path is no text")?;

    let examples = grpcurl_examples()?;
    assert!(examples.len() >= 3, "the README lost its grpcurl examples: {examples:?}");
    for example in examples {
        // Only what differs between the README's machine and this one is replaced.
        let mut command = example
            .replacen("grpcurl ", &format!("'{program}' "), 1)
            .replace("localhost:7443", &format!("localhost:{}", aggregator.address.port()));
        for (flag, file) in [
            ("-cacert ", &viewer.authorities),
            ("-cert ", &viewer.certificate),
            ("-key ", &viewer.key),
        ] {
            let (before, rest) = command.split_once(flag).context("each has all three files")?;
            let (_, after) = rest.split_once(' ').context("more comes after a file")?;
            command = format!("{before}{flag}'{}' {after}", file.display());
        }
        let output = Command::new("sh").args(["-c", &command]).current_dir(root()).output()?;
        let (told, failed) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}\n{failed}");
        if command.contains("/Summary") {
            assert!(told.contains("db1.example"), "{command}\n{told}");
        } else {
            assert!(!told.trim().is_empty(), "{command}\n{failed}");
        }
    }
    Ok(())
}
