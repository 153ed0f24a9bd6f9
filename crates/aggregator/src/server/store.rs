//! Which database, and with which settings.

use rowcall_store::Settings;

use crate::Error;
use crate::config::{Config, Database as Which};
use crate::enrollment;

/// The database of an embedded server.
const EMBEDDED_DATABASE: &str = "host_agent";

/// Connections of the ingest pool beyond those for what agents send: one for the upkeep task, one
/// for small work aside, one to check who may still speak. So none of them ever waits for what agents
/// send, or takes its place.
const EXTRA_CONNECTIONS: usize = 3;

/// Connections beside the pools: the one that hears of revocations.
const ALONE: usize = 1;

/// Connections to the database, all together.
pub(super) fn connections(config: &Config) -> usize {
    ingest(config) + config.report_connections + ALONE
}

/// Connections of the ingest pool. Calls for certificates have their own there, so that a fleet
/// that enrols never waits for what agents send, nor they for it.
fn ingest(config: &Config) -> usize {
    let enrollment = config.enrollment.as_ref().map_or(0, |_| enrollment::AT_ONCE);
    config.ingest_connections + EXTRA_CONNECTIONS + enrollment
}

/// Starts the embedded server where there is to be one; and the settings to connect with.
pub(super) async fn embedded(
    config: &Config,
) -> Result<(Option<rowcall_postgres::Server>, Settings), Error> {
    let settings = |url: String| store_settings(config, url);
    match &config.database {
        Which::Url(url) => Ok((None, settings(url.clone()))),
        Which::Embedded => {
            let options =
                rowcall_postgres::Server::options(&config.data_dir).database(EMBEDDED_DATABASE);
            let started = tokio::task::spawn_blocking(move || options.start()).await;
            let server = started.map_err(|_| Error::Task("embedded database"))??;
            let url = server.url(EMBEDDED_DATABASE);
            Ok((Some(server), settings(url)))
        }
    }
}

/// What the settings say of the store.
pub(super) fn store_settings(config: &Config, url: String) -> Settings {
    Settings {
        url,
        ingest_connections: ingest(config),
        report_connections: config.report_connections,
        statement_timeout: config.statement_timeout,
        pool_wait: config.pool_wait,
        retention: config.retention,
        device_retention: config.device_retention,
        max_database_bytes: config.max_database_bytes,
        ..Settings::default()
    }
}
