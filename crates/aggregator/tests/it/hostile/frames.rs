//! Messages that are too large, too deep or none, byte by byte.

use http::Request;
use prost::Message as _;
use prost::bytes::Bytes;
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::telemetry_service_client::TelemetryServiceClient;
use rowcall_testkit::database::Database;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::rig::{PATIENCE, Rig, hello};

/// What the server says to these bytes as the body of a stream's request: code and message.
async fn answer(rig: &Rig, body: Vec<u8>) -> (Code, String) {
    let stream = rig.tls("agent", "node1").await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::post("https://localhost/rowcall.v1.TelemetryService/Stream")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut sending) = client.send_request(request, false).unwrap();
    sending.send_data(Bytes::from(body), false).unwrap();
    let said = async {
        let mut body = response.await.unwrap().into_body();
        while body.data().await.is_some() {}
        body.trailers().await.unwrap().unwrap()
    };
    let said = tokio::time::timeout(PATIENCE, said).await.expect("no answer");
    driving.abort();
    let status = tonic::Status::from_header_map(&said).unwrap();
    (status.code(), status.message().to_owned())
}

fn message(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

fn whole(bytes: &[u8]) -> Vec<u8> {
    message(u32::try_from(bytes.len()).unwrap(), bytes)
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_anything_is_received() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    for length in [256 * 1024 + 1, 4 * 1024 * 1024 + 1, 1 << 31, u32::MAX] {
        let (code, said) = answer(&rig, message(length, &[])).await;
        assert_eq!(code, Code::ResourceExhausted, "{said}");
        assert!(said.starts_with("frame too large: at most 262144 bytes are taken"), "{said}");
        assert!(said.contains(&length.to_string()), "{said}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_frame_are_refused_in_words() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let bad_text =
        pb::StreamRequest { frame: Some(pb::stream_request::Frame::Hello(hello("node1", 1))) };
    let mut bad_text = bad_text.encode_to_vec();
    let name = bad_text.windows(5).position(|part| part == b"node1").unwrap();
    bad_text[name] = 0xff;
    for body in [
        // Groups of an unknown field, ten thousand deep.
        whole(&[0x7b; 10_000]),
        whole(&[0xff; 300]),
        // A length that leads out of the message.
        whole(&[0x0a, 0x7f, 0x00]),
        // Text that is no UTF-8.
        whole(&bad_text),
        // A compressed message without a name for the compression, and a flag that is none.
        [&[1][..], &[0, 0, 0, 1, 0]].concat(),
        [&[9][..], &[0, 0, 0, 1, 0]].concat(),
    ] {
        let (code, said) = answer(&rig, body).await;
        assert_eq!(code, Code::InvalidArgument, "{said}");
        assert!(said.starts_with("what came is no frame of this protocol ("), "{said}");
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    // Field 1,000, of 200,000 bytes.
    let (code, said) =
        answer(&rig, whole(&[&[0xc2, 0x3e, 0xc0, 0x9a, 0x0c][..], &[7; 200_000]].concat())).await;
    assert_eq!((code, said.as_str()), (Code::InvalidArgument, "the first frame must be Hello"));
}

/// A stream whose messages are sent compressed.
async fn compressed(
    rig: &Rig,
    name: &str,
) -> (mpsc::Sender<pb::StreamRequest>, tonic::Streaming<pb::StreamResponse>) {
    let (requests, outgoing) = mpsc::channel(4);
    let mut client = TelemetryServiceClient::new(rig.channel("agent", name).await)
        .send_compressed(CompressionEncoding::Gzip);
    let responses = client.stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let frame = Some(pb::stream_request::Frame::Hello(hello(name, 1)));
    requests.send(pb::StreamRequest { frame }).await.unwrap();
    (requests, responses)
}

#[tokio::test]
async fn a_gzip_bomb_is_refused_at_the_limit_and_others_go_on() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut honest, _) = rig.connected("honest", 1).await;
    let (requests, mut responses) = compressed(&rig, "bomber").await;
    assert!(responses.message().await.unwrap().is_some(), "a compressed Hello is welcome");
    // 32 KiB on the wire.
    let info = pb::HostInfo { os: Some("x".repeat(32 << 20)), ..Default::default() };
    let record = pb::Record {
        due_ticks: 0,
        sequence: 1,
        time_unix_us: 1,
        body: Some(pb::record::Body::HostInfo(info.into())),
    };
    let batch = pb::Batch { records: vec![record], spool: None };
    let frame = Some(pb::stream_request::Frame::Batch(batch));
    requests.send(pb::StreamRequest { frame }).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, responses.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "frame too large: it inflates to more than the 262144 bytes that are taken"
    );
    honest.samples(1..=1).await;
    honest.acknowledged(1).await;
}
