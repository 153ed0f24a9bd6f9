//! Certificates and keys that cannot be read or do not belong together.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::Result;
use rowcall_testkit::ca::{Leaf, Paths, TestCa};

use super::{Files, says};

/// The two programs, each with its certificate files; fresh ones for each spoiling.
fn programs() -> Result<[(Files, Command, Paths); 2]> {
    let (one, two) = (Files::new()?, Files::new()?);
    let mut aggregator = one.aggregator("serve")?;
    aggregator.env("ROWCALL_DATABASE", "postgresql://u@127.0.0.1:1/x");
    let agent = two.agent()?;
    let (of_aggregator, of_agent) = (one.aggregator.clone(), two.agent.clone());
    Ok([(one, aggregator, of_aggregator), (two, agent, of_agent)])
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_with_both_files() -> Result<()> {
    for (_files, command, paths) in programs()? {
        let other = TestCa::root("other")?.issue(&Leaf::server())?;
        fs::write(&paths.key, other.key_pem)?;
        let part = format!(
            "key in {} does not belong to the first certificate in {}; give the two files that \
             were made together",
            paths.key.display(),
            paths.certificate.display()
        );
        says(command, 2, &[&part]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn files_that_hold_something_else_are_told_with_what_to_do() -> Result<()> {
    for (_files, command, paths) in programs()? {
        let key = fs::read(&paths.key)?;
        fs::copy(&paths.certificate, &paths.key)?;
        fs::write(&paths.certificate, key)?;
        let part = format!("certificate file {} holds no PEM block", paths.certificate.display());
        says(command, 2, &[&part, "are the paths of certificate and key swapped?"]).await?;
    }
    for (_files, command, paths) in programs()? {
        fs::write(&paths.certificate, "")?;
        let part = format!("certificate file {} is empty; write it", paths.certificate.display());
        says(command, 2, &[&part]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn files_that_are_missing_or_folders_are_told_by_name() -> Result<()> {
    for (_files, command, paths) in programs()? {
        fs::remove_file(&paths.key)?;
        let part = format!(
            "cannot read key file {}: No such file or directory (os error 2); check the path",
            paths.key.display()
        );
        says(command, 2, &[&part]).await?;
    }
    for (_files, command, paths) in programs()? {
        fs::remove_file(&paths.authorities)?;
        fs::create_dir(&paths.authorities)?;
        let part = format!(
            "cannot read CA file {}: Is a directory (os error 21); give the path of a file",
            paths.authorities.display()
        );
        says(command, 2, &[&part]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_programs_user_may_not_read_is_told_with_what_to_do() -> Result<()> {
    for (files, command, paths) in programs()? {
        fs::set_permissions(files.folder.path(), Permissions::from_mode(0o755))?;
        for path in [&paths.certificate, &paths.authorities] {
            fs::set_permissions(path, Permissions::from_mode(0o644))?;
        }
        fs::set_permissions(&paths.key, Permissions::from_mode(0o000))?;
        let part = format!("cannot read key file {}: Permission denied", paths.key.display());
        says(as_ordinary_user(&files, command)?, 2, &[&part, "readable for the user that"]).await?;
    }
    Ok(())
}

/// The same command as nobody, where this is root, who may read everything.
fn as_ordinary_user(files: &Files, command: Command) -> Result<Command> {
    let id = Command::new("id").arg("-u").output()?;
    if String::from_utf8(id.stdout)?.trim() != "0" {
        return Ok(command);
    }
    // The programs may lie where another user does not get in. Copied by another process: a file
    // that this one has open to write cannot be run while another test's child still inherits it.
    let program = files.path("program");
    let copied = Command::new("cp").arg(command.get_program()).arg(&program).status()?;
    assert!(copied.success(), "cp: {copied}");
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    other.args(command.get_args()).current_dir("/");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    Ok(other)
}
