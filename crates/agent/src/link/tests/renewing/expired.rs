//! A certificate that has expired, and when others are due.

use super::*;

#[tokio::test]
async fn an_expired_certificate_is_renewed_by_proof_where_enrolment_is() {
    let mut site = Site::start().await;
    let past = now().plus_micros(-40 * DAY_US);
    // An authority that was there then.
    let root = rowcall_tls::issue::Authority::create_root("test.example".parse().unwrap(), past);
    let clients = root.unwrap().create_issuing(rowcall_tls::issue::Purpose::Clients, past).unwrap();
    let key = NewKey::generate().unwrap();
    let csr = CsrKey::read(&key.request_der("node1").unwrap()).unwrap();
    let issued = clients.issue_for_key(Role::Agent, &"node1".parse().unwrap(), &csr, past, MONTH);
    let expired = issued.unwrap().chain_der[0].clone();
    let generation = identity::held(&site.dir()).unwrap().unwrap().files;
    std::fs::write(&generation.certificate, rowcall_tls::certificate::to_pem([&expired])).unwrap();
    std::fs::write(&generation.key, key.pkcs8_pem()).unwrap();
    // The streams' port believes that authority, and sees that its certificate is over.
    let client_ca = site.pki.put("client-ca.pem", clients.cert_pem()).unwrap();
    let material = Material::load(&Files {
        certificate: site.pki.dir().join("server.pem"),
        key: site.pki.dir().join("server.key"),
        authorities: client_ca,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = server_config(&material.unwrap()).unwrap();
    let tls = Arc::new(arc_swap::ArcSwap::from_pointee(tls));
    let domain = TrustDomain::parse("test.example").unwrap();
    let strict = Acceptor::new(listener, Arc::clone(&tls), domain).start(&site.stop);
    let (sender, calls) = mpsc::channel(8);
    let server = tonic::transport::Server::builder()
        .add_service(TelemetryServiceServer::new(Service(sender)));
    tokio::spawn(server.serve_with_incoming(strict));
    site.calls = calls;
    let toml = generation.key.with_file_name("identity.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let text = text.replace(&format!("127.0.0.1:{}", site.peer.port), &format!("127.0.0.1:{port}"));
    std::fs::write(&toml, text).unwrap();
    site.answers(1, Renewal::Refuse(tonic::Code::Unauthenticated));
    let before = site.held();

    let Enrolled { agent, notes } = site.agent(None).await;
    site.asked_times(1, 1).await;
    let look = async || notes.told().refused.map(|note| note.text);
    let told = rowcall_testkit::poll::wait_for("the refusal", LONG, look).await;
    for part in ["certificate_expired", "it is not renewed: https://127.0.0.1:", "no renewal"] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    let asked = site.asked(1).remove(0);
    assert_eq!(asked.certificate_der, expired.to_vec());
    let trust = rowcall_tls::trust::ClientTrust::new(
        &Material::load(&Files {
            certificate: site.pki.dir().join("server.pem"),
            key: site.pki.dir().join("server.key"),
            authorities: site.pki.dir().join("client-ca.pem"),
        })
        .unwrap(),
    );
    let pb::RenewRequest { csr_der, certificate_der, signature } = asked;
    let proof = rowcall_tls::renewal::RenewalProof {
        certificate_der: &certificate_der,
        csr_der: &csr_der,
        signature: &signature,
    };
    let proven = rowcall_tls::renewal::verify_renewal(&trust.unwrap(), &proof, now()).unwrap();
    assert_eq!(proven.identity.name.as_str(), "node1");
    agent.stopped().await;

    // Now it gives one, of an authority that the streams' port believes as well from now on: the
    // agent comes at once with what it got.
    let both = format!("{}{}", clients.cert_pem(), site.pki.clients.cert_pem());
    let material = Material::load(&Files {
        certificate: site.pki.dir().join("server.pem"),
        key: site.pki.dir().join("server.key"),
        authorities: site.pki.put("client-ca.pem", &both).unwrap(),
    });
    tls.store(Arc::new(server_config(&material.unwrap()).unwrap()));
    site.answers(1, Renewal::Issue);
    let Enrolled { agent, .. } = site.agent(None).await;
    site.renewed(&before).await;
    let (mut call, hello) = site.welcomed(0, b"", None).await;
    still_streams(&mut call, &hello, &agent, 1).await;
    agent.stopped().await;
}

#[test]
fn a_fleet_spreads_its_renewals_and_never_asks_at_once_again() {
    let (pki, key) = (Pki::create().unwrap(), NewKey::generate().unwrap());
    let csr = key.request_der("node1").unwrap();
    let first = bundle(&pki.clients, pki.root.certificate_der(), &csr, "node1");
    let read = |told: Option<i64>| {
        let renew_after =
            told.map(|at| prost_types::Timestamp { seconds: at / 1_000_000, nanos: 0 });
        Bundle::read(Some(pb::CertificateBundle { renew_after, ..first.clone() })).unwrap()
    };
    let days = |bundle: &Bundle, random| {
        bundle.renew_at(random).since(now().plus_micros(-DAY_US / 24)) / DAY_US
    };
    let plain = read(None);
    assert_eq!([0.0, 0.5, 1.0].map(|random| days(&plain, random)), [10, 11, 13]);
    let UnixMicros(now_us) = now();
    assert_eq!(days(&read(Some(now_us + 20 * DAY_US)), 0.0), 20);
    for senseless in [now_us - 90 * DAY_US, now_us + 31 * DAY_US] {
        assert_eq!(days(&read(Some(senseless)), 0.0), 10, "a third of its life");
    }
    assert_eq!(days(&read(Some(now_us)), 0.0), 3, "a tenth of its life at least");
}
