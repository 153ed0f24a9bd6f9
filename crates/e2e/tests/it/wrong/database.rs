//! A database that cannot be reached, is not the right one, or gives too few rights.

use anyhow::Result;
use rowcall_testkit::ca::TestCa;
use rowcall_testkit::database::Database;
use rowcall_testkit::process::Process;
use rowcall_testkit::remote::{PASSWORD, Remote, Role};

use super::{Files, says, text};

#[tokio::test]
async fn a_url_that_is_none_ends_the_start_and_its_password_is_not_repeated() -> Result<()> {
    let files = Files::new()?;
    for (url, part) in [
        ("mysql://u:geheim@db/x", "database URL: "),
        ("postgresql://u:geheim@db:port/x", "database URL: "),
        ("postgresql:///host_agent?password=geheim", "it names no host"),
        ("postgresql://u:geheim@db/x?sslmode=perhaps", "sslmode"),
        ("postgresql://u:geheim@db/x?sslmode=verify-full", "sslrootcert"),
    ] {
        for what in ["serve", "migrate"] {
            let mut command = files.aggregator(what)?;
            command.env("ROWCALL_DATABASE", url);
            let said = says(command, 1, &["rowcall-aggregator: ", part]).await?;
            assert!(!said.contains("geheim"), "{url}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_and_named() -> Result<()> {
    let files = Files::new()?;
    for (url, part) in [
        (
            "postgresql://u:geheim@127.0.0.1:1/x",
            "cannot reach PostgreSQL at 127.0.0.1:1 (database x): ",
        ),
        (
            "postgresql://u:geheim@no-such-host.invalid/x",
            "at no-such-host.invalid:5432 (database x): ",
        ),
    ] {
        let mut serve = files.aggregator("serve")?;
        let serve = Process::start("rowcall-aggregator", serve.env("ROWCALL_DATABASE", url))?;
        let line = serve.line("waiting for the database").await;
        assert!(line.contains(" WARN ") && line.contains(part), "{line}");
        assert_eq!(serve.stop().await, Some(0), "{}", serve.output());
        assert!(!serve.output().contains("geheim"), "{}", serve.output());

        let mut migrate = files.aggregator("migrate")?;
        migrate.env("ROWCALL_DATABASE", url);
        let said = says(migrate, 1, &["rowcall-aggregator: ", part]).await?;
        assert!(!said.contains("geheim"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_login_over_tls_ends_the_start_with_what_to_do() -> Result<()> {
    let files = Files::new()?;
    let remote = Remote::shared().await?;
    let root = text(&remote.root_file()?);
    let other = remote.client_file("other.pem", TestCa::root("Somebody")?.root_pem())?;
    let full = |credentials: &str, root: &str| {
        format!("{}?sslmode=verify-full&sslrootcert={root}", remote.url_of(credentials))
    };
    let right = format!("over_tls:{PASSWORD}");
    let wrong_pass = remote.client_file("pass", "*:*:*:over_tls:geheim\n")?;
    let other_name = full(&right, &root).replace("@localhost:", "@db.invalid:");
    let other_name = format!("{other_name}&hostaddr=127.0.0.1");
    for (url, parts) in [
        (
            full("over_tls:geheim", &root),
            &["does not let user over_tls in", "check user and password in the URL"][..],
        ),
        (
            format!("{}&passfile={}", full("over_tls", &root), text(&wrong_pass)),
            &["does not let user over_tls in", "passfile"],
        ),
        (full("over_tls", &root), &["asks for a password that the URL does not have"]),
        (
            full(&right, &root).replace("/postgres?", "/no_such?"),
            &["has no database", "CREATE DATABASE \"no_such\""],
        ),
        (full(&right, &text(&other)), &["is refused: it is not signed by an authority in"]),
        (
            other_name,
            &["is refused: it is for localhost, ", "not for db.invalid; use one of its names"],
        ),
    ] {
        let mut command = files.aggregator("serve")?;
        command.env("ROWCALL_DATABASE", &url);
        let said = says(command, 1, parts).await?;
        assert!(!said.contains("geheim") && !said.contains(PASSWORD), "{said}");
        assert!(!said.contains("error performing TLS handshake"), "said twice: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_database_without_rights_ends_the_start_with_what_to_run() -> Result<()> {
    let files = Files::new()?;
    let remote = Remote::shared().await?;
    let owned = remote.database(Role::EitherWay).await?;
    // Another user may connect, and nothing else.
    let url = owned.replace("either_way:", "over_tls:") + "?sslmode=require";
    for what in ["serve", "migrate"] {
        let mut command = files.aggregator(what)?;
        command.env("ROWCALL_DATABASE", &url);
        let parts = [
            "the user may not change the schema; make it the database's owner (ALTER DATABASE .. \
             OWNER TO ..) or run `rowcall-aggregator migrate` once as the owner",
            "permission denied for database",
            "see sql/README.md for the rights",
        ];
        let said = says(command, 1, &parts).await?;
        let reason = "permission denied for database";
        assert_eq!(said.matches(reason).count(), 1, "said twice: {said}");
    }
    // Not even that.
    let name = owned.rsplit('/').next().unwrap_or_default();
    let revoke = format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC");
    remote.admin().await?.batch_execute(&revoke).await?;
    let mut command = files.aggregator("serve")?;
    command.env("ROWCALL_DATABASE", &url);
    let grant = format!("GRANT CONNECT ON DATABASE \"{name}\" TO \"over_tls\"");
    says(command, 1, &[&grant]).await?;
    Ok(())
}

#[tokio::test]
async fn a_schema_of_a_newer_version_ends_the_start_and_stays_as_it_is() -> Result<()> {
    let files = Files::new()?;
    let database = Database::create().await?;
    let mut first = files.aggregator("migrate")?;
    first.env("ROWCALL_DATABASE", database.url());
    says(first, 0, &[]).await?;
    let sql = database.connect().await?;
    let newer = "UPDATE rowcall.schema SET version = 99, oldest_compatible = 98";
    sql.batch_execute(newer).await?;
    for (what, migrate) in [("serve", "true"), ("serve", "false"), ("migrate", "true")] {
        let mut command = files.aggregator(what)?;
        command.env("ROWCALL_DATABASE", database.url()).args(["--migrate", migrate]);
        let said = says(command, 1, &["version 99", "98 or later; this one knows "]).await?;
        assert!(!said.contains("agents are welcome"), "{said}");
    }
    let row = sql.query_one("SELECT version::int8 FROM rowcall.schema", &[]).await?;
    assert_eq!(row.get::<_, i64>(0), 99);
    Ok(())
}
