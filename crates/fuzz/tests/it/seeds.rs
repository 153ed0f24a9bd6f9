//! What fuzzing begins with: real encodings, and each way of being wrong that we know.
//!
//! `cargo test -p rowcall-fuzz -- --ignored seeds` writes them anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use rowcall_core::clock::{Clock as _, TestClock};
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::record::{Body, EpochOrigin, Gap, GapCause, GapState, HostFacts, Sample};
use rowcall_core::token::{Pin, Token, TokenId, TokenSecret};
use rowcall_fuzz::Files;
use rowcall_spool::{Settings, Spool};
use rowcall_testkit::ca::{Issued, Leaf, TestCa};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::corpus::folder;

const BOOT_ID: &str = "3bd22b5c-0000-4000-8000-000000000001";
const START: UnixMicros = UnixMicros(1_799_999_000_000_000);
const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = folder(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
#[ignore = "writes the corpus"]
fn seeds() {
    streams();
    tokens();
    certificates();
    requests();
    headers();
    spools();
}

fn hello() -> pb::Hello {
    pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: "node1.example".into(),
        agent_version: "0.1.0".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        boot_id: BOOT_ID.into(),
        run_id: 3,
        spool_epoch: 7,
        oldest_sequence: 1,
        next_sequence: 9,
        clock_unix_us: START.0,
        host_info: Some(facts()),
        ..Default::default()
    }
}

fn facts() -> pb::HostInfo {
    pb::HostInfo {
        cpu_number: Some(4),
        cpu_architecture: Some("x86_64".into()),
        cpu_model: Some("CPU @ 2.60GHz".into()),
        cpu_mhz: Some(2_600.0),
        l2_cache_kib: Some(1_024),
        total_mem_kib: Some(8 << 20),
        os: Some("Debian GNU/Linux 12".into()),
        kernel: Some("6.1.0".into()),
        kernel_host_name: Some("node1".into()),
        booted_unix_us: Some(START.0 - 1),
        ..pb::HostInfo::default()
    }
}

fn record(sequence: u64, body: pb::record::Body) -> pb::Record {
    pb::Record { sequence, time_unix_us: START.0, due_ticks: sequence, body: Some(body) }
}

fn measured() -> pb::record::Body {
    pb::record::Body::Sample(pb::Sample {
        elapsed_us: Some(60_000_000),
        uptime_us: Some(90_000_000),
        memory_free_kib: Some(2 << 20),
        memory_available_kib: Some(4 << 20),
        cpu_idle_percent: Some(93.5),
        cpu_kernel_percent: Some(1.25),
        disk_io: Some(900),
        disk_available_kib: Some(300 << 20),
        clock_shift_us: None,
        vitals: None,
    })
}

/// A sample with some vitals, of which a few are no numbers.
fn in_breadth() -> pb::record::Body {
    let vitals = pb::Vitals {
        cpu_iowait_percent: Some(12.5),
        cpu_steal_percent: Some(f32::NAN),
        load_1: Some(0.25),
        forks: Some(u64::MAX),
        net_rx_bytes: Some(1 << 40),
        pressure_io_full_percent: Some(f32::INFINITY),
        clock_offset_us: Some(-1_500),
        ..Default::default()
    };
    pb::record::Body::Sample(pb::Sample { vitals: Some(vitals.into()), ..Default::default() })
}

/// One of each kind, and one that cannot be.
fn devices() -> pb::record::Body {
    let label =
        |name: &str, value: &str| pb::MetricLabel { name: name.into(), value: value.into() };
    let disk = |name: &str, reads| pb::Disk {
        name: name.into(),
        counted_since: 7,
        reads,
        busy_max_percent: Some(99.5),
        ..Default::default()
    };
    let devices = pb::Devices {
        filesystems: vec![pb::Filesystem {
            mount: "/".into(),
            source: "/dev/vda1".into(),
            r#type: "ext4".into(),
            size_kib: Some(1 << 20),
            ..Default::default()
        }],
        disks: vec![disk("vda", 5), disk("vdb", u64::MAX)],
        interfaces: vec![pb::Interface {
            name: "eth0".into(),
            up: Some(true),
            ..Default::default()
        }],
        sensors: vec![pb::Sensor {
            name: "acpitz".into(),
            temperature_mc: -2_000,
            critical_mc: Some(100_000),
        }],
        md_arrays: vec![pb::MdArray { name: "md0".into(), disks: 2, ..Default::default() }],
        memory_controllers: vec![pb::MemoryController { name: "mc0".into(), ..Default::default() }],
        cgroups: vec![pb::Cgroup {
            name: "system.slice".into(),
            cpu_us: Some(9),
            ..Default::default()
        }],
        processes: vec![pb::Process { command: "postgres".into(), pid: 1, ..Default::default() }],
        metrics: vec![pb::Metric {
            name: "node_reboot_required".into(),
            labels: vec![label("b", "x\u{1b}"), label("a", "1"), label("a", "2")],
            value: 1.0,
        }],
        skipped: vec![pb::Skipped {
            collector: "filesystems".into(),
            item: "/mnt".into(),
            reason: pb::SkipReason::Hung.into(),
            count: 1,
        }],
    };
    pb::record::Body::Devices(devices.into())
}

fn frames(frames: &[pb::stream_request::Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let request = pb::StreamRequest { frame: Some(frame.clone()) };
        request.encode_length_delimited(&mut bytes).unwrap();
    }
    bytes
}

fn streams() {
    use pb::stream_request::Frame::{Batch, Bye, Hello};
    let batch = |records| Batch(pb::Batch { records, spool: Some(pb::SpoolStatus::default()) });
    let gap = pb::record::Body::Gap(pb::Gap {
        through_sequence: 4,
        ticks: 2,
        state: pb::GapState::Missed.into(),
        cause: pb::GapCause::Suspended.into(),
        from_unix_us: START.0,
        to_unix_us: START.0 + 1,
    });
    let odd = pb::record::Body::Sample(pb::Sample {
        elapsed_us: Some(u64::MAX),
        cpu_idle_percent: Some(f64::NAN),
        cpu_kernel_percent: Some(f64::NEG_INFINITY),
        clock_shift_us: Some(i64::MIN),
        ..Default::default()
    });
    let said = Hello(hello());
    write("stream", "good-hello", &frames(std::slice::from_ref(&said)));
    let records = vec![
        record(1, pb::record::Body::HostInfo(facts().into())),
        record(2, measured()),
        record(3, gap),
        record(5, odd),
        pb::Record { body: None, ..record(6, measured()) },
    ];
    let bye = Bye(pb::Bye { reason: pb::ByeReason::Stopped.into(), unacknowledged_records: 0 });
    let whole = [said.clone(), batch(records), batch(vec![record(7, measured())]), bye];
    write("stream", "good-batches", &frames(&whole));
    let breadth = vec![record(1, in_breadth()), record(2, devices())];
    write("stream", "good-vitals-and-devices", &frames(&[said.clone(), batch(breadth)]));
    let hole = [said, batch(vec![record(1, measured()), record(3, measured())])];
    write("stream", "good-hello-then-a-hole", &frames(&hole));
    let harmful = "\u{1b}[31m\0Robert'); DROP TABLE host_info;--\r\n<script>\u{202e}\u{2066}\"";
    let texts = pb::Hello {
        agent_version: harmful.into(),
        machine_id: "\u{feff}\u{e} é".repeat(60),
        ..hello()
    };
    write("stream", "good-harmful-texts", &frames(&[Hello(texts)]));
    for (name, wrong) in [
        ("bad-other-host", pb::Hello { host_name: "node2.example".into(), ..hello() }),
        ("bad-name", pb::Hello { host_name: "node1\0.example".into(), ..hello() }),
        ("bad-version", pb::Hello { protocol_min: 9, protocol_max: 8, ..hello() }),
        ("bad-epoch", pb::Hello { spool_epoch: 0, ..hello() }),
        ("bad-order", pb::Hello { oldest_sequence: u64::MAX >> 1, ..hello() }),
        ("bad-sequence", pb::Hello { next_sequence: u64::MAX, ..hello() }),
    ] {
        write("stream", name, &frames(&[Hello(wrong)]));
    }
    write("stream", "bad-batch-first", &frames(&[batch(vec![record(1, measured())])]));
    write("stream", "bad-deep-groups", &[&[100][..], &[0x7b; 100]].concat());
    let mut name = frames(&[Hello(hello())]);
    let at = name.windows(5).position(|part| part == b"node1").unwrap();
    name[at] = 0xff;
    write("stream", "bad-utf8", &name);
}

fn tokens() {
    let token = |id, secret, pin| Token {
        id: TokenId::new([id; 8]),
        secret: TokenSecret::new([secret; 32]),
        pin: Pin::new([pin; 32]),
    };
    let whole = token(0xab, 0xcd, 0xef).reveal();
    write("token", "good", whole.as_bytes());
    write("token", "good-zeros", token(0, 0, 0).reveal().as_bytes());
    write("token", "good-with-a-new-line", format!(" {whole}\r\n").as_bytes());
    let mut changed = whole.clone();
    changed.pop();
    // The last letter holds two bits that must be zero.
    for (name, text) in [
        ("bad-empty", "  \n".to_owned()),
        ("bad-cut", changed.clone()),
        ("bad-bits", format!("{changed}9")),
        ("bad-upper-case", whole.to_uppercase()),
        ("bad-more", format!("{whole}.x")),
        ("bad-format", whole.replace("rc1", "rc2")),
        ("bad-space", whole.replacen('.', ". ", 1)),
        ("bad-letters", whole.replace('z', "é")),
    ] {
        write("token", name, text.as_bytes());
    }
}

pub(crate) fn der(issued: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap().to_vec()
}

fn certificates() {
    let ca = TestCa::root("root").unwrap();
    let issue = |leaf: &Leaf| der(&ca.issue(leaf).unwrap());
    let uri = "spiffe://example.org/agent/node1.example";
    let agent = issue(&Leaf::client(uri));
    write("certificate", "good-agent", &agent);
    let name = format!("spiffe://d/operator/{}", "x".repeat(253));
    write("certificate", "good-operator-long-name", &issue(&Leaf::client(&name)));
    let names = ["a.example", "b.example"];
    write("certificate", "good-with-dns-names", &issue(&Leaf::client(uri).dns_names(&names)));
    write("certificate", "good-authority", &issue(&Leaf::client("spiffe://d").as_authority()));
    write("certificate", "bad-no-uri", &issue(&Leaf::server()));
    let two = Leaf::client(uri).uris(&[uri, "spiffe://example.org/viewer/alice"]);
    write("certificate", "bad-two-uris", &issue(&two));
    for (file, uri) in [
        ("bad-form", "https://example.org/agent/node1"),
        ("bad-role", "spiffe://example.org/root/node1"),
        ("bad-name", "spiffe://example.org/agent/a%2f"),
        ("bad-path", "spiffe://example.org/agent/.."),
    ] {
        write("certificate", file, &issue(&Leaf::client(uri)));
    }
    write("certificate", "bad-cut", agent.get(..agent.len() / 2).unwrap());
    write("certificate", "bad-text", b"-----BEGIN CERTIFICATE-----");
}

fn requests() {
    let request = |key: &KeyPair, params: &CertificateParams| {
        params.serialize_request(key).unwrap().der().to_vec()
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "node1.example");
    let whole = request(&key, &params);
    write("csr", "good", &whole);
    // What it asks for besides is ignored.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names =
        vec![SanType::URI("spiffe://example.org/operator/root".try_into().unwrap())];
    write("csr", "good-asks-for-more", &request(&key, &params));
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    write("csr", "bad-key", &request(&other, &params));
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    write("csr", "bad-ed25519", &request(&other, &params));
    let mut signature = whole.clone();
    *signature.last_mut().unwrap() ^= 1;
    write("csr", "bad-signature", &signature);
    write("csr", "bad-more-behind", &[&whole[..], &[0]].concat());
    write("csr", "bad-cut", whole.get(..whole.len() / 2).unwrap());
    write("csr", "bad-empty", &[]);
}

fn headers() {
    let header = |version_command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[version_command, family][..], &length, rest].concat()
    };
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x1d, 0x13];
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    let more = [&v4[..], &[4, 0, 3, 0, 0, 0]].concat();
    write("proxy", "good-v4", &[&header(0x21, 0x11, &v4)[..], b"TLS"].concat());
    write("proxy", "good-v6", &header(0x21, 0x21, &v6));
    write("proxy", "good-local", &header(0x20, 0, &[]));
    write("proxy", "good-with-records", &header(0x21, 0x11, &more));
    write("proxy", "bad-cut", &header(0x21, 0x11, &v4)[..20]);
    write("proxy", "bad-addresses", &header(0x21, 0x21, &v4));
    write("proxy", "bad-version", &header(0x11, 0x11, &v4));
    write("proxy", "bad-family", &header(0x21, 0x12, &v4));
    write("proxy", "bad-text", b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 7443\r\n");
    write("proxy", "bad-tls", b"\x16\x03\x01\x02\x00\x01");
}

/// A spool in a folder, filled by `fill` and closed.
fn spool(fill: impl FnOnce(&Spool, &TestClock)) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(START));
    let settings = Settings {
        dir: folder.path().to_owned(),
        max_bytes: 1 << 20,
        max_age: 10 * 1_440 * MINUTE,
        owner: "node1.example".into(),
    };
    let epoch = Epoch::new(7).unwrap();
    let own: Arc<TestClock> = Arc::clone(&clock);
    let (spool, _) = Spool::open(settings, own, BOOT_ID, epoch).unwrap();
    fill(&spool, &clock);
    assert!(spool.close(PATIENCE));
    files(folder.path())
}

/// What of the files is not guarded twice.
fn files(folder: &Path) -> Files {
    let positions = fs::read(folder.join("positions")).unwrap();
    let slots: Vec<_> = positions.chunks(4096).collect();
    // The newer one.
    let generation = |slot: &&&[u8]| u64::from_le_bytes(slot[16..24].try_into().unwrap());
    let slot = slots.iter().max_by_key(generation).unwrap();
    let segment = fs::read(folder.join("00000000000000000001.seg")).unwrap();
    let until = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let records = segment.get(1024..until(&segment)).unwrap_or(&[]);
    Files { slot: slot[..until(slot)].to_vec(), segment: [&segment[..64], records].concat() }
}

fn append(spool: &Spool, clock: &TestClock, body: Body) -> Sequence {
    clock.advance(MINUTE);
    spool.append(clock.wall(), clock.since_boot(), body)
}

fn sample(free: i64) -> Body {
    Body::Sample(Sample { memory_free_kib: Some(free), ..Sample::default() })
}

fn spools() {
    let put = |name: &str, files: &Files| write("spool", name, &files.to_input());
    let three = spool(|spool, clock| {
        for free in 1..=3 {
            append(spool, clock, sample(free));
        }
        assert!(spool.flush(PATIENCE));
    });
    put("good-three", &three);
    put("good-without-positions", &Files { slot: Vec::new(), ..three.clone() });
    put("good-positions-alone", &Files { segment: Vec::new(), ..three.clone() });
    let mut damaged = three.clone();
    damaged.segment[64 + 96] ^= 0x40;
    put("damaged-record", &damaged);
    let mut newer = three.clone();
    newer.slot[8] = 9;
    put("bad-newer", &newer);
    put("bad-empty", &Files { slot: Vec::new(), segment: Vec::new() });
    let mut header = three;
    header.segment[..8].fill(0);
    put("damaged-header", &header);
    let all = spool(|spool, clock| {
        append(
            spool,
            clock,
            Body::HostFacts(Box::new(HostFacts { cpu_number: Some(4), ..HostFacts::default() })),
        );
        let acknowledged = append(spool, clock, sample(1));
        let gap = Gap {
            through: acknowledged.next(),
            ticks: 5,
            state: GapState::Missed,
            cause: GapCause::Suspended,
            from: clock.wall(),
            to: clock.wall(),
        };
        append(spool, clock, Body::Gap(gap));
        spool.set_interval(MINUTE);
        assert!(spool.flush(PATIENCE));
        spool.release(acknowledged);
        spool.new_epoch(Epoch::new(8).unwrap(), EpochOrigin::RolledBack);
        append(spool, clock, sample(2));
        assert!(spool.flush(PATIENCE));
    });
    put("good-all-kinds", &all);
    let unset = spool(|spool, clock| {
        let early = UnixMicros(86_400_000_000);
        spool.append(early, clock.since_boot(), sample(1));
        assert!(spool.flush(PATIENCE));
        spool.clock_is(clock.wall(), clock.since_boot());
        append(spool, clock, sample(2));
        assert!(spool.flush(PATIENCE));
    });
    put("good-clock-found-late", &unset);
}
