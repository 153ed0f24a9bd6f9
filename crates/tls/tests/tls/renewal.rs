//! Proof of key by moved clocks: what an expired certificate is still good for.

use rowcall_tls::csr::{CsrError, CsrKey};
use rowcall_tls::identity::Role;
use rowcall_tls::issue::Issued;
use rowcall_tls::renewal::{ProofError, Proven, RenewalProof, verify_renewal};
use rowcall_tls::request::{NewKey, RequestError, sign_renewal};
use rowcall_tls::trust::{ClientTrust, TrustError};

use crate::pki::{DAY, Pki, agent_params, days, der, node1, rogue, signed};
use crate::support::AGENT;

/// Thirty days, from today.
fn enrolled(pki: &Pki) -> (NewKey, Issued) {
    let key = NewKey::generate().unwrap();
    let csr = CsrKey::read(&key.request_der("node1").unwrap()).unwrap();
    let issued = pki.clients.issue_for_key(Role::Agent, &node1(), &csr, days(0), 30 * DAY).unwrap();
    let certificate_pem = rowcall_tls::certificate::to_pem(&issued.chain_der);
    let key_pem = key.pkcs8_pem();
    (key, Issued { certificate_pem, key_pem })
}

fn trust(pki: &Pki) -> ClientTrust {
    ClientTrust::new(&pki.server()).unwrap()
}

fn prove(trust: &ClientTrust, old: &Issued, in_days: i64) -> Result<Proven, ProofError> {
    let csr_der = NewKey::generate().unwrap().request_der("node1").unwrap();
    let signature = sign_renewal(&old.key_pem, &csr_der).unwrap();
    let certificate_der = der(&old.certificate_pem);
    let proof = RenewalProof {
        certificate_der: &certificate_der,
        csr_der: &csr_der,
        signature: &signature,
    };
    verify_renewal(trust, &proof, days(in_days))
}

#[test]
fn key_of_an_expired_certificate_proves_its_holder_for_90_days() {
    let pki = Pki::new();
    let (_, old) = enrolled(&pki);
    let trust = trust(&pki);
    for in_days in [0, 29, 31, 119] {
        let proven = prove(&trust, &old, in_days).unwrap();
        assert_eq!(proven.identity.to_string(), AGENT);
        assert_eq!(proven.certificate.chain[0], der(&old.certificate_pem));
    }
    let error = prove(&trust, &old, 121).unwrap_err();
    assert!(matches!(error, ProofError::TooOld { .. }), "{error}");
    assert!(error.to_string().contains("more than 90 days ago; enrol this host again"), "{error}");
    let error = prove(&trust, &old, -2).unwrap_err();
    assert!(matches!(error, ProofError::Trust(TrustError::NotYetValid { .. })), "{error}");
}

#[test]
fn a_signature_by_another_key_over_another_request_or_in_another_context_proves_nothing() {
    let pki = Pki::new();
    let (key, old) = enrolled(&pki);
    let trust = trust(&pki);
    let certificate_der = der(&old.certificate_pem);
    let csr_der = key.request_der("node1").unwrap();
    let other_csr = NewKey::generate().unwrap().request_der("node1").unwrap();
    let by_stranger = NewKey::generate().unwrap().sign_renewal(&csr_der).unwrap();
    let good = key.sign_renewal(&csr_der).unwrap();
    let without_context = {
        let pair = rcgen::KeyPair::from_pem(&old.key_pem).unwrap();
        rcgen::SigningKey::sign(&pair, &csr_der).unwrap()
    };
    let (_, cut) = good.split_last().unwrap();
    for (csr_der, signature) in [
        (&csr_der, by_stranger.as_slice()),
        (&other_csr, &good),
        (&csr_der, &without_context),
        (&csr_der, cut),
        (&csr_der, &[]),
    ] {
        let proof = RenewalProof { certificate_der: &certificate_der, csr_der, signature };
        assert_eq!(verify_renewal(&trust, &proof, days(0)).unwrap_err(), ProofError::Signature);
    }
    let proof =
        RenewalProof { certificate_der: &certificate_der, csr_der: &csr_der, signature: &good };
    assert!(verify_renewal(&trust, &proof, days(0)).is_ok());
}

#[test]
fn certificates_of_others_and_revoked_ones_are_not_renewed() {
    let pki = Pki::new();
    let (_, old) = enrolled(&pki);
    let stranger = Pki::new();
    let error = prove(&trust(&stranger), &old, 0).unwrap_err();
    assert_eq!(error, ProofError::Trust(TrustError::UnknownAuthority));

    let of_servers = signed(&agent_params(|_| {}), &rogue(&pki.servers), "");
    let error = prove(&trust(&pki), &of_servers, 0).unwrap_err();
    assert_eq!(error, ProofError::Trust(TrustError::UnknownAuthority));

    let serial =
        rowcall_tls::certificate::PeerCertificate::from_chain(&[der(&old.certificate_pem)]);
    let list = pki.revocations(&[&serial.unwrap().serial], days(39));
    let revoked = ClientTrust::new(&pki.server().with_revocations(&list).unwrap()).unwrap();
    assert_eq!(prove(&revoked, &old, 39).unwrap_err(), ProofError::Trust(TrustError::Revoked));

    // Too old a list cannot say that it is not.
    let list = pki.revocations(&[], days(37));
    let stale = ClientTrust::new(&pki.server().with_revocations(&list).unwrap()).unwrap();
    let error = prove(&stale, &old, 39).unwrap_err();
    assert!(matches!(error, ProofError::Trust(TrustError::StaleRevocations(_))), "{error}");
    assert!(prove(&stale, &old, 37).is_ok());
}

#[test]
fn bytes_that_are_no_certificate_or_one_without_a_name_are_refused_in_words() {
    let pki = Pki::new();
    let trust = trust(&pki);
    let proof = RenewalProof { certificate_der: b"abc", csr_der: b"", signature: b"" };
    let error = verify_renewal(&trust, &proof, days(0)).unwrap_err().to_string();
    assert!(error.starts_with("the certificate to renew cannot be used: "), "{error}");
    let nameless =
        signed(&agent_params(|params| params.subject_alt_names.clear()), &rogue(&pki.clients), "");
    let error = prove(&trust, &nameless, 0).unwrap_err().to_string();
    assert!(error.contains("has no URI SAN"), "{error}");
}

#[test]
fn requests_are_read_for_their_key_and_refused_in_words() {
    let key = NewKey::generate().unwrap();
    let request = key.request_der("node1").unwrap();
    let read = CsrKey::read(&request).unwrap();
    assert_eq!(read.sha256(), CsrKey::read(&key.request_der("other").unwrap()).unwrap().sha256());
    assert_ne!(read.sha256(), [0; 32]);

    let mut forged = request.clone();
    let at = forged.windows(5).position(|part| part == b"node1").unwrap();
    forged[at] = b'm';
    assert_eq!(CsrKey::read(&forged), Err(CsrError::Signature));
    let mut longer = request.clone();
    longer.push(0);
    for bytes in [&b""[..], b"abc", &request[..request.len() - 1], &longer] {
        let error = CsrKey::read(bytes).unwrap_err();
        assert!(matches!(error, CsrError::Unreadable(_)), "{error}");
    }
    assert_eq!(CsrKey::read(&[0; 16_385]), Err(CsrError::TooLarge(16_385)));
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let request = agent_params(|_| {}).serialize_request(&pair).unwrap();
        assert_eq!(CsrKey::read(request.der()), Err(CsrError::Key));
        assert!(matches!(NewKey::from_pem(&pair.serialize_pem()), Err(RequestError::OtherKind)));
    }
    assert_eq!(format!("{key:?}"), "NewKey(..)");
    let again = NewKey::from_pem(&key.pkcs8_pem()).unwrap();
    let again = CsrKey::read(&again.request_der("node1").unwrap()).unwrap();
    assert_eq!(again.sha256(), read.sha256());
}
