//! The fault proxy, in front of a server that sends back what it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use skiff_harness::fault_proxy::{Counts, Fault, FaultProxy};

/// Long enough for any machine; reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to believe that nothing comes.
const QUIET: Duration = Duration::from_millis(200);

fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.78.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = stream.unwrap();
            thread::spawn(move || {
                let mut writer = reader.try_clone().unwrap();
                std::io::copy(&mut reader, &mut writer)
            });
        }
    });
    address
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn exchange(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn wait_for(proxy: &FaultProxy, condition: impl Fn(Counts) -> bool) {
    let begun = Instant::now();
    while !condition(proxy.counts()) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", proxy.counts());
        thread::yield_now();
    }
}

/// Says that nothing comes, not even an end.
fn hears_nothing(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let read = stream.read(&mut [0]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn without_a_fault_bytes_and_ends_pass() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    assert_eq!(exchange(&mut stream, b"hello").unwrap(), b"hello");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    wait_for(&proxy, |counts| counts == Counts { accepted: 1, open: 0, up: 5, down: 5 });
}

#[test]
fn latency_and_bandwidth_slow_what_passes() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.behave(Fault::Latency(Duration::from_millis(50)));
    let begun = Instant::now();
    exchange(&mut stream, b"hello").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100), "one latency up, one down");
    proxy.behave(Fault::Bandwidth { bytes_per_second: 10_000 });
    let begun = Instant::now();
    exchange(&mut stream, &[b'x'; 2000]).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(160), "2,000 bytes at 10,000 a second");
}

#[test]
fn latency_is_left_early_when_it_is_taken_back() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.behave(Fault::Latency(Duration::from_secs(3600)));
    stream.write_all(b"hello").unwrap();
    proxy.behave(Fault::None);
    stream.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn cut_passes_exactly_what_it_says() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    exchange(&mut stream, b"before").unwrap();
    proxy.behave(Fault::Cut { after: 3 });
    stream.write_all(b"hello").unwrap();
    let mut answer = Vec::new();
    let _end = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"hel");
}

#[test]
fn reset_meets_open_and_new_connections() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut open = connect(&proxy);
    exchange(&mut open, b"hello").unwrap();
    proxy.behave(Fault::Reset);
    assert_eq!(open.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut new = connect(&proxy);
    assert!(exchange(&mut new, b"hello").is_err());
    proxy.behave(Fault::None);
    exchange(&mut connect(&proxy), b"hello").unwrap();
}

#[test]
fn severing_meets_open_connections_only() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut open = connect(&proxy);
    exchange(&mut open, b"hello").unwrap();
    proxy.sever();
    assert_eq!(open.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    exchange(&mut connect(&proxy), b"hello").unwrap();
}

#[test]
fn half_open_swallows_and_never_ends() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut open = connect(&proxy);
    exchange(&mut open, b"hello").unwrap();
    proxy.behave(Fault::HalfOpen);
    let mut new = connect(&proxy);
    for stream in [&mut open, &mut new] {
        stream.write_all(b"anyone?").unwrap();
        assert!(hears_nothing(stream));
    }
    proxy.behave(Fault::None);
    assert!(exchange(&mut open, b"hello").is_err(), "the other side is long gone");
}

#[test]
fn silence_holds_back_and_lets_go() {
    let proxy = FaultProxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    exchange(&mut stream, b"hello").unwrap();
    proxy.behave(Fault::Silence);
    stream.write_all(b"later").unwrap();
    assert!(hears_nothing(&mut stream));
    proxy.behave(Fault::None);
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"later");
}
