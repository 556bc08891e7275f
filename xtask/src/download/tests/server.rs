//! An HTTP/1.1 server for one file on 127.0.0.1, one request per connection, that does as badly as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// The file, or the range that was asked for, as it should be.
    Serve,
    /// The same without ranges: always 200 and everything.
    NoRanges,
    /// The same as `Serve`, but the connection ends when byte `0` of the file would come.
    CutBefore(usize),
    /// As `NoRanges`, but the connection ends before this byte.
    NoRangesCutBefore(usize),
    /// 206 with this `Content-Range`, the bytes being those asked for.
    Range(&'static str),
    /// This status line and these headers, and a text as the body.
    Status(&'static str, &'static [&'static str], &'static str),
    /// The file in chunks, without its length; `false` leaves out the end mark.
    Chunked(bool),
    /// The file until the connection closes, without its length.
    UntilClose,
    /// The file with another `Content-Length` than it has.
    Length(usize),
    /// One byte every so many milliseconds.
    Trickle(u64),
    /// The head, and then nothing.
    Silence,
    /// 302 to this place.
    Redirect(String),
}

/// A running server; it ends with the process.
pub(super) struct Server {
    /// `http://127.0.0.1:PORT/file.bin`.
    pub(super) url: String,
    /// The requests so far, heads only.
    requests: Arc<Mutex<Vec<String>>>,
    state: Arc<Mutex<State>>,
}

struct State {
    file: Vec<u8>,
    tag: Option<String>,
    /// What to do with the next requests; the last one holds on.
    acts: Vec<Act>,
}

impl Server {
    /// Serves `file`, with the acts in turn and the last one from then on.
    pub(super) fn new(file: &[u8], acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
        let tag = Some("\"v1\"".to_owned());
        let state = Arc::new(Mutex::new(State { file: file.to_vec(), tag, acts: acts.to_vec() }));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, log) = (state.clone(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, log) = (shared.clone(), log.clone());
                // A client that goes away in the middle is what some tests do.
                thread::spawn(move || drop(stream.and_then(|stream| answer(stream, &shared, &log))));
            }
        });
        Self { url, requests, state }
    }

    /// Replaces the file by another version.
    pub(super) fn set(&self, file: &[u8], tag: Option<&str>, acts: &[Act]) {
        *self.state.lock().unwrap() = State { file: file.to_vec(), tag: tag.map(str::to_owned), acts: acts.to_vec() };
    }

    /// Every request's first line and headers.
    pub(super) fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The `Range` headers of all requests, `-` where there is none.
    pub(super) fn ranges(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|head| field(head, "range").unwrap_or("-").to_owned()).collect()
    }
}

/// A header of a request.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().unwrap().push(head.clone());
    let (file, tag, act) = {
        let mut state = state.lock().unwrap();
        let act = if state.acts.len() > 1 { state.acts.remove(0) } else { state.acts[0].clone() };
        (state.file.clone(), state.tag.clone(), act)
    };

    let asked = field(&head, "range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = field(&head, "if-range").is_none_or(|validator| Some(validator) == tag.as_deref());
    let ranges = !matches!(act, Act::NoRanges | Act::NoRangesCutBefore(_) | Act::UntilClose | Act::Chunked(_));
    let start: usize = asked.filter(|_| same && ranges).unwrap_or(0);
    let etag = tag.map_or_else(String::new, |tag| format!("ETag: {tag}\r\n"));
    let (all, close) = (file.len(), "Connection: close\r\n\r\n");
    if start >= all && start > 0 {
        let text =
            format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{all}\r\nContent-Length: 0\r\n");
        return stream.write_all(format!("{text}{close}").as_bytes());
    }
    let body = &file[start..];
    let ok = if start > 0 {
        format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{all}\r\n{etag}", all - 1)
    } else {
        format!("HTTP/1.1 200 OK\r\n{etag}")
    };
    let whole = format!("{ok}Content-Length: {}\r\n{close}", body.len());
    match act {
        Act::Serve | Act::NoRanges => stream.write_all(&[whole.as_bytes(), body].concat())?,
        Act::CutBefore(end) | Act::NoRangesCutBefore(end) => {
            let sent = &body[..end.saturating_sub(start).min(body.len())];
            stream.write_all(&[whole.as_bytes(), sent].concat())?;
        }
        Act::Range(range) => {
            let text =
                format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}\r\n", body.len());
            stream.write_all(&[format!("{text}{close}").as_bytes(), body].concat())?;
        }
        Act::Status(line, headers, text) => {
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            let length = text.len();
            let text = format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {length}\r\n{close}{text}");
            stream.write_all(text.as_bytes())?;
        }
        Act::Chunked(end) => {
            stream.write_all(format!("{ok}Transfer-Encoding: chunked\r\n{close}").as_bytes())?;
            for chunk in body.chunks(1000) {
                stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
            }
            if end {
                stream.write_all(b"0\r\n\r\n")?;
            }
        }
        Act::UntilClose => stream.write_all(&[format!("{ok}{close}").as_bytes(), body].concat())?,
        Act::Length(length) => {
            stream.write_all(&[format!("{ok}Content-Length: {length}\r\n{close}").as_bytes(), body].concat())?;
        }
        Act::Trickle(pause) => {
            stream.write_all(whole.as_bytes())?;
            for byte in body {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(pause));
            }
        }
        Act::Silence => {
            stream.write_all(whole.as_bytes())?;
            thread::sleep(Duration::from_secs(5));
        }
        Act::Redirect(to) => {
            let text = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n{close}");
            stream.write_all(text.as_bytes())?;
        }
    }
    stream.flush()?;
    stream.shutdown(Shutdown::Write)
}
