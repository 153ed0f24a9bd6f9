//! Enrolment by the service itself, at a node's first boot: again and again until it is done.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use rowcall_core::backoff::{Backoff, jitter};
use rowcall_core::clock::SharedClock;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{EnrollError, Enrolled, Request, Why, enroll, name_or_ours};
use crate::Error;
use crate::config::{Config, Source};
use crate::identity::{self, Note, Notes};
use crate::link::Journal;
use crate::random;
use crate::service::Notifier;

/// Until this node has an identity, where the settings say that it shall have one. False: it was
/// asked to stop before that.
///
/// # Errors
/// [`Error::NotEnrolled`] where it has none and the settings don't say where to get one;
/// [`Error::Identity`] where the folder cannot be used.
pub(crate) async fn until_enrolled(
    config: &Config,
    clock: &SharedClock,
    shutdown: &CancellationToken,
    notifier: Option<&Notifier>,
) -> Result<bool, Error> {
    let Source::Enrolled(dir) = &config.source else { return Ok(true) };
    if identity::held(dir)?.is_some() {
        return Ok(true);
    }
    let Some(token_file) = config.token_file.clone().filter(|_| !config.enroll_servers.is_empty())
    else {
        return Err(Error::NotEnrolled(dir.clone()));
    };
    let tries = Tries { config, dir, token_file: &token_file, clock, notifier };
    let trying = async {
        tokio::select! {
            enrolled = Box::pin(tries.run()) => enrolled,
            never = alive(notifier) => match never {},
        }
    };
    match shutdown.run_until_cancelled(trying).await {
        None => Ok(false),
        Some(enrolled) => enrolled.map(|()| true),
    }
}

/// A service manager waits for no token, and sees that we are alive.
async fn alive(notifier: Option<&Notifier>) -> Infallible {
    let Some(notifier) = notifier else { return std::future::pending().await };
    drop(notifier.tell("READY=1\n"));
    let beat = notifier.watchdog.map_or(Duration::from_secs(3600), |watchdog| watchdog / 2);
    loop {
        drop(notifier.tell("WATCHDOG=1\n"));
        sleep(beat).await;
    }
}

struct Tries<'a> {
    config: &'a Config,
    dir: &'a Path,
    token_file: &'a Path,
    clock: &'a SharedClock,
    notifier: Option<&'a Notifier>,
}

impl Tries<'_> {
    async fn run(&self) -> Result<(), Error> {
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max)?;
        let notes = Notes::in_folder(Some(self.dir));
        let mut journal = Journal::default();
        loop {
            let error = match self.once().await {
                Ok(()) => {
                    notes.change(|told| *told = identity::Told::default());
                    return Ok(());
                }
                Err(error) => error,
            };
            let wait = match error.why {
                // Asking soon again for what people must change only burdens the server.
                Why::Token | Why::Pin | Why::Name | Why::Usage => {
                    let least = self.config.refused_wait / 5;
                    least + jitter(self.config.refused_wait - least, random::share())
                }
                Why::NotNow | Why::Clock => backoff.next(random::share()),
            };
            self.tell(&notes, &mut journal, &error, wait);
            sleep(wait).await;
        }
    }

    async fn once(&self) -> Result<(), EnrollError> {
        // The name may be set, and known to DNS, only a while after the first boot.
        let name = tokio::task::spawn_blocking(|| name_or_ours(None)).await;
        let request = Request {
            dir: self.dir.to_owned(),
            servers: self.config.enroll_servers.clone(),
            server_name: self.config.server_name.clone(),
            name: name.unwrap_or_else(|_| Err(super::ended()))?,
            machine_id: crate::machine_id(),
            again: false,
            token_file: self.token_file.to_owned(),
        };
        if let Enrolled::Now(new) = enroll(&request, self.clock).await? {
            let (host, server) = (&new.held.about.host, &new.server);
            tracing::info!(%host, %server, "enrolled");
        }
        Ok(())
    }

    fn tell(&self, notes: &Notes, journal: &mut Journal, error: &EnrollError, wait: Duration) {
        let at = self.clock.wall();
        let text = error.to_string();
        notes.change(|told| told.enrolment = Some(Note { at, text: text.clone() }));
        if let Some(notifier) = self.notifier {
            let line = text.replace(char::is_control, " ");
            drop(notifier.tell(&format!("STATUS=not enrolled yet: {line}\n")));
        }
        let Some(repeated) = journal.note(&text, Instant::now()) else {
            return tracing::debug!("not enrolled yet: {text}");
        };
        let next_try_s = wait.as_millis().div_ceil(1000);
        if matches!(error.why, Why::NotNow | Why::Clock) && !repeated.goes_on() {
            tracing::info!(next_try_s, "not enrolled yet: {text}{repeated}");
        } else {
            tracing::warn!(next_try_s, "not enrolled yet: {text}{repeated}");
        }
    }
}
