//! Attacks on HTTP/2 by a peer that the handshake let in, frame by frame. Each is bounded by
//! counts; what counts is that the connection is ended or held up, and that others don't notice.

use rowcall_testkit::database::Database;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{PATIENCE, Rig};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a call to the telemetry stream: static names, plain text.
fn call() -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = vec![u8::try_from(text.len()).unwrap()];
        bytes.extend(text.as_bytes());
        bytes
    };
    let mut block = vec![0x83, 0x87, 0x04];
    block.extend(text("/rowcall.v1.TelemetryService/Stream"));
    block.push(0x01);
    block.extend(text("localhost"));
    block.extend([0x0f, 0x10]);
    block.extend(text("application/grpc"));
    block.push(0x00);
    block.extend(text("te"));
    block.extend(text("trailers"));
    block
}

/// How the server ended the connection.
#[derive(Debug)]
struct Ended {
    /// Its GOAWAY's error code, if it said one.
    code: Option<u32>,
}

/// ENHANCE_YOUR_CALM.
const CALM: Option<u32> = Some(11);

/// Sends the frames, reading all the time, until the server ends the connection; none: it took
/// them all.
async fn attack(rig: &Rig, name: &str, frames: impl Iterator<Item = Vec<u8>>) -> Option<Ended> {
    let (mut reader, mut writer) = tokio::io::split(rig.tls("agent", name).await);
    let reading = tokio::spawn(async move {
        let (mut bytes, mut code) = (Vec::new(), None);
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            bytes.extend(&buffer[..read]);
            while bytes.len() >= 9 {
                let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
                let whole = 9 + usize::try_from(length).unwrap();
                if bytes.len() < whole {
                    break;
                }
                if bytes[3] == GOAWAY {
                    code = Some(u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
                }
                bytes.drain(..whole);
            }
        }
        Ended { code }
    });
    let mut sent = writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    for frame in frames {
        if sent.is_err() || reading.is_finished() {
            break;
        }
        sent = writer.write_all(&frame).await;
    }
    // Whoever is not cut off hangs up.
    let took_all = sent.is_ok() && writer.flush().await.is_ok() && !reading.is_finished();
    drop(writer.shutdown().await);
    let ended = tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    (!took_all || ended.code.is_some_and(|code| code != 0)).then_some(ended)
}

/// While somebody is attacked with it, another agent is served.
async fn attacked(frames: impl Iterator<Item = Vec<u8>>) -> Option<Ended> {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut honest, _) = rig.connected("honest", 1).await;
    let served = async {
        for n in 1..=20 {
            honest.samples(n..=n).await;
            honest.acknowledged(n).await;
        }
    };
    let (ended, ()) = tokio::join!(attack(&rig, "flooder", frames), served);
    honest.samples(21..=21).await;
    honest.acknowledged(21).await;
    ended
}

#[tokio::test]
async fn rapid_reset_is_ended() {
    let frames = (0..20_000_u32).map(|n| {
        let stream = 2 * n + 1;
        [
            frame(HEADERS, END_HEADERS, stream, &call()),
            frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    });
    assert_eq!(attacked(frames).await.expect("it was let through").code, CALM);
}

#[tokio::test]
async fn a_header_block_without_an_end_is_ended() {
    let head = std::iter::once(frame(HEADERS, 0, 1, &call()));
    let more = (0..100_000).map(|_| frame(CONTINUATION, 0, 1, &[0x00, 1, b'x', 1, b'y']));
    assert_eq!(attacked(head.chain(more)).await.expect("it was let through").code, CALM);
}

#[tokio::test]
async fn empty_data_frames_are_ended() {
    let head = std::iter::once(frame(HEADERS, END_HEADERS, 1, &call()));
    let more = (0..200_000).map(|_| frame(DATA, 0, 1, &[]));
    assert_eq!(attacked(head.chain(more)).await.expect("it was let through").code, CALM);
}

/// Frames of one kind that h2 answers, or takes, for as long as they come; on a connection that has
/// a call, so that it is not dropped for having none.
async fn is_ended_as_a_flood(kind: u8, payload: &[u8]) {
    let head = std::iter::once(frame(HEADERS, END_HEADERS, 1, &call()));
    let more = (0..40_000).map(|_| frame(kind, 0, 0, payload));
    let ended = attacked(head.chain(more)).await;
    assert_eq!(ended.expect("it was let through").code, None);
}

#[tokio::test]
async fn a_flood_of_pings_is_ended() {
    is_ended_as_a_flood(PING, &[7; 8]).await;
}

#[tokio::test]
async fn a_flood_of_settings_is_ended() {
    is_ended_as_a_flood(SETTINGS, &[]).await;
}

#[tokio::test]
async fn a_flood_of_frames_of_no_known_kind_is_ended() {
    is_ended_as_a_flood(0xbb, &[]).await;
}
