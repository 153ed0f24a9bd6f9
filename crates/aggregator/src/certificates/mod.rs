//! Certificate, key, authorities, revocation lists: what is in force, and how it changes.
//!
//! The files are looked at every [`EVERY`] and when somebody asks, on a thread that may block, one
//! look at a time. What is good replaces what was in force, for handshakes from then on; streams
//! stay. What is not changes nothing, and is said in the log, in the metrics and in Status until it
//! is good again. When the authorities or their revocation lists changed, all peers are checked
//! again, and those that would be refused now are told so and cut.

mod load;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::token::Pin;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Rfc3339;
use rowcall_tls::reload::Watcher;
use rowcall_tls::trust::ClientTrust;
use rustls::ServerConfig;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::Error;
use crate::config::Config;
pub(crate) use load::Issuing;
use load::Loaded;

/// Time between two looks at the files.
const EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// What is in force. Shared.
#[derive(Debug)]
pub(crate) struct Certificates {
    config: Config,
    clock: SharedClock,
    loaded: ArcSwap<Loaded>,
    tls: Arc<ArcSwap<ServerConfig>>,
    enrollment_tls: Option<Arc<ArcSwap<ServerConfig>>>,
    /// Why what the files hold now is not in force.
    bad: Mutex<Option<String>>,
    /// Why nobody knows what the files hold now.
    hangs: Mutex<Option<String>>,
    asked: Arc<Notify>,
    watcher: Mutex<Watcher>,
    /// When whom to believe changed last, by the monotonic clock.
    changed_at: Mutex<Option<std::time::Duration>>,
}

/// When each kind of certificate, or list, ends: the first of its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) server: UnixMicros,
    pub(crate) client_ca: UnixMicros,
    pub(crate) client_crl: Option<UnixMicros>,
    pub(crate) issuer: Option<UnixMicros>,
    pub(crate) server_ca: Option<UnixMicros>,
}

impl Certificates {
    /// Reads and checks the files. What is out of date is only warned of.
    ///
    /// # Errors
    /// [`Error::Certificates`]
    pub(crate) fn load(config: &Config, clock: &SharedClock) -> Result<Arc<Self>, Error> {
        let watcher = Mutex::new(watch::watcher(config));
        let loaded = load::load(config, clock).map_err(Error::Certificates)?;
        for problem in load::readable_keys(config) {
            warn!("{problem}");
        }
        let enrollment_tls =
            loaded.issuing.as_ref().map(|issuing| Arc::new(ArcSwap::new(Arc::clone(&issuing.tls))));
        let certificates = Self {
            config: config.clone(),
            clock: Arc::clone(clock),
            tls: Arc::new(ArcSwap::new(Arc::clone(&loaded.tls))),
            enrollment_tls,
            loaded: ArcSwap::from_pointee(loaded),
            bad: Mutex::default(),
            hangs: Mutex::default(),
            asked: Arc::default(),
            watcher,
            changed_at: Mutex::default(),
        };
        Ok(Arc::new(certificates))
    }

    /// For the stream's listener.
    pub(crate) fn tls(&self) -> Arc<ArcSwap<ServerConfig>> {
        Arc::clone(&self.tls)
    }

    /// For the enrolment listener; none where nothing is issued.
    pub(crate) fn enrollment_tls(&self) -> Option<Arc<ArcSwap<ServerConfig>>> {
        self.enrollment_tls.clone()
    }

    /// Wakes whoever looks at the files.
    pub(crate) fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// Whose clients are served.
    pub(crate) fn trust_domain(&self) -> TrustDomain {
        self.loaded.load().trust_domain.clone()
    }

    /// Which of them are believed.
    pub(crate) fn trust(&self) -> ClientTrust {
        self.loaded.load().trust.clone()
    }

    /// What certificates are issued with. None: nothing is issued.
    pub(crate) fn issuing(&self) -> Option<Arc<Issuing>> {
        self.loaded.load().issuing.clone()
    }

    /// What nodes must trust, by one hash; none where nothing is issued.
    pub(crate) fn server_authorities_sha256(&self) -> Option<[u8; 32]> {
        self.loaded.load().issuing.as_ref().map(|issuing| issuing.server_authorities_sha256)
    }

    /// The authority that tokens name; none where nothing is issued.
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.loaded.load().issuing.as_ref().map(|issuing| issuing.pin)
    }

    /// When what is in force ends.
    pub(crate) fn ends(&self) -> Ends {
        let loaded = self.loaded.load();
        let issuing = loaded.issuing.as_ref();
        Ends {
            server: loaded.material.validity().not_after,
            client_ca: loaded.material.authorities().not_after(),
            client_crl: loaded.material.revocations_until(),
            issuer: issuing.map(|issuing| issuing.issuer.not_after()),
            server_ca: issuing.map(|issuing| issuing.server_authorities_not_after),
        }
    }

    /// What is wrong: the files cannot be read or used, or what is in force is out of date.
    pub(crate) fn error(&self) -> Option<String> {
        let told = |text: &Mutex<Option<String>>| {
            text.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        told(&self.hangs)
            .or_else(|| told(&self.bad))
            .or_else(|| self.loaded.load().out_of_date(self.clock.wall()))
    }

    /// Says what is trusted, until when, and what is issued.
    pub(crate) fn announce(&self) {
        let ends = self.ends();
        let loaded = self.loaded.load();
        info!(
            trust_domain = %loaded.trust_domain,
            client_authorities = loaded.material.authorities().certificates().len(),
            first_ends = %Rfc3339(ends.client_ca),
            server_certificate_ends = %Rfc3339(ends.server),
            revocation_list_ends = ends.client_crl.map(|end| tracing::field::display(Rfc3339(end))),
            "believed are clients of"
        );
        if ends.client_crl.is_some() {
            for authority in loaded.material.authorities_without_revocations() {
                warn!(
                    authority,
                    "client_crl has no list of this client authority: its certificates are \
                     accepted until they expire"
                );
            }
        }
        match (&loaded.issuing, ends.issuer) {
            (Some(issuing), Some(until)) => {
                info!(pin = %issuing.pin, until = %Rfc3339(until), "issues certificates")
            }
            _ => info!("does not issue certificates"),
        }
        if let Some(error) = loaded.out_of_date(self.clock.wall()) {
            warn!(error, "certificates are out of date");
        }
    }
}

impl crate::admin::Credentials for Certificates {
    fn pin(&self) -> Option<Pin> {
        Self::pin(self)
    }

    fn server_authorities_sha256(&self) -> Option<[u8; 32]> {
        Self::server_authorities_sha256(self)
    }

    fn error(&self) -> Option<String> {
        Self::error(self)
    }

    fn expires_at(&self) -> UnixMicros {
        self.ends().server
    }

    fn client_ca_expires_at(&self) -> Option<UnixMicros> {
        Some(self.ends().client_ca)
    }
}

/// Checks the files as [`Certificates::load`] does, and that no key is for everybody to read.
///
/// # Errors
/// [`Error::Certificates`]
pub(crate) fn check(config: &Config, clock: &SharedClock) -> Result<(), Error> {
    load::load(config, clock).map_err(Error::Certificates)?;
    match load::readable_keys(config).as_slice() {
        [] => Ok(()),
        problems => Err(Error::Certificates(problems.join("\n"))),
    }
}
