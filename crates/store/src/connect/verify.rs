//! Whose certificate a server may show, for each `sslmode`.
//!
//! As libpq has it, and so wider than rustls: a certificate that stands in `sslrootcert` itself is
//! believed, even if it calls itself an authority; a certificate without names among its
//! extensions is known by its common name; and the old form (X.509 version 1), which PostgreSQL's
//! manual makes with OpenSSL before 3.2, is taken where it is signed by a root directly. What is
//! proved over the connection is always that the server holds the key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, X509Version};

/// What of the certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing.
    Nothing,
    /// That an authority signed it.
    Chain,
    /// That, and the server's name.
    ChainAndName,
}

/// The authorities in `sslrootcert`.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) anchors: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// The check, as rustls calls it.
#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    authorities: Authorities,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(check: Check, authorities: Authorities, provider: &CryptoProvider) -> Self {
        Self { check, authorities, algorithms: provider.signature_verification_algorithms }
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &X509Certificate<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.authorities.certificates.iter().any(|own| own.as_ref() == leaf.as_ref()) {
            return in_time(parsed, now);
        }
        if parsed.version() == X509Version::V1 {
            in_time(parsed, now)?;
            return self.signed_by_a_root(parsed);
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.authorities.anchors,
            between,
            now,
            self.algorithms.all,
        )
    }

    fn signed_by_a_root(&self, leaf: &X509Certificate<'_>) -> Result<(), Error> {
        let roots = self.authorities.certificates.iter();
        let mut roots = roots.filter_map(|der| X509Certificate::from_der(der).ok());
        let signed = roots.any(|(_, root)| {
            root.subject() == leaf.issuer()
                && leaf.verify_signature(Some(root.public_key())).is_ok()
        });
        if signed { Ok(()) } else { Err(CertificateError::UnknownIssuer.into()) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check != Check::Nothing {
            let parsed = parse(end_entity)?;
            self.chain(end_entity, &parsed, intermediates, now)?;
            if self.check == Check::ChainAndName {
                name(end_entity, &parsed, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parsed = parse(certificate)?;
        if parsed.version() == X509Version::V1 {
            let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
            return verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms);
        }
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What rustls is given: the check with these authorities.
pub(super) fn verifier(
    check: Check,
    authorities: Authorities,
    provider: &CryptoProvider,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier::new(check, authorities, provider))
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(der);
    parsed.map(|(_, parsed)| parsed).map_err(|_| CertificateError::BadEncoding.into())
}

fn in_time(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if seconds > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn name(
    der: &CertificateDer<'_>,
    parsed: &X509Certificate<'_>,
    server: &ServerName<'_>,
) -> Result<(), Error> {
    let extension = parsed.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
    let named = extension.as_ref().is_some_and(|extension| {
        let names = &extension.value.general_names;
        names.iter().any(|n| matches!(n, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    });
    if named {
        return verify_server_name(&ParsedCertificate::try_from(der)?, server);
    }
    let common: Vec<_> =
        parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let wanted = server.to_str();
    if common.iter().any(|common| fits(common, &wanted, server)) {
        return Ok(());
    }
    Err(CertificateError::NotValidForNameContext {
        expected: server.to_owned(),
        presented: common.iter().map(|common| format!("CN={common}")).collect(),
    }
    .into())
}

/// A common name, in which `*.` stands for one label.
fn fits(common: &str, wanted: &str, server: &ServerName<'_>) -> bool {
    if common.eq_ignore_ascii_case(wanted) {
        return true;
    }
    let host = matches!(server, ServerName::DnsName(_));
    match (common.strip_prefix("*."), wanted.split_once('.')) {
        (Some(common), Some((label, wanted))) if host && !label.is_empty() => {
            common.contains('.') && common.eq_ignore_ascii_case(wanted)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_is_taken_whole_or_with_one_label_open() {
        for (common, host, fit) in [
            ("db.example.org", "DB.example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("*", "db", false),
            ("db", "db2", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("*.0.0.1", "10.0.0.1", false),
        ] {
            let server = ServerName::try_from(host).unwrap();
            assert_eq!(fits(common, &server.to_str(), &server), fit, "{common} {host}");
        }
    }
}
