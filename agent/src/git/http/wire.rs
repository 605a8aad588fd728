//! gix's view of HTTP: requests that it writes and answers that it reads, each through the operation's budget.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use gix_transport::client::blocking_io::http as git_http;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use reqwest::{Response, Url};

use super::Transfer;

/// One connection of gix to one server.
pub(in crate::git) struct Wire {
    transfer: Arc<Transfer>,
    redirected: Option<String>,
}

impl Wire {
    pub(in crate::git) fn new(transfer: Arc<Transfer>) -> Self {
        Self { transfer, redirected: None }
    }
}

impl git_http::Http for Wire {
    type Headers = Head;
    type ResponseBody = Body;
    type PostBody = Upload;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<git_http::GetResponse<Head, Body>> {
        let tail = url.strip_prefix(base_url).unwrap_or_default().trim_start_matches('/');
        let request = self.transfer.get(parse(url)?, header_map(headers));
        let response = self.transfer.budget.wait(request).map_err(gix::Error::from_error)?;
        let reached = response.url().as_str();
        if reached != url {
            self.redirected = reached.strip_suffix(tail).map(|base| base.trim_end_matches('/').to_owned());
        }
        let exchange = Exchange { transfer: self.transfer.clone(), state: State::Answered(response) };
        let exchange = Rc::new(RefCell::new(exchange));
        Ok(git_http::GetResponse { headers: Head::new(exchange.clone()), body: Body::new(exchange) })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: git_http::PostBodyDataKind,
    ) -> gix::Result<git_http::PostResponse<Head, Body, Upload>> {
        let state = State::Gathering { url: parse(url)?, headers: header_map(headers), body: Vec::new() };
        let exchange = Rc::new(RefCell::new(Exchange { transfer: self.transfer.clone(), state }));
        Ok(git_http::PostResponse {
            post_body: Upload(exchange.clone()),
            headers: Head::new(exchange.clone()),
            body: Body::new(exchange),
        })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected.clone()
    }
}

fn parse(url: &str) -> gix::Result<Url> {
    Url::parse(url).map_err(gix::Error::from_error)
}

fn header_map(lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?))
    };
    lines.into_iter().filter_map(|line| header(line.as_ref())).collect()
}

/// One request and its answer. gix gathers the request's body first; reading anything of the answer sends it.
struct Exchange {
    transfer: Arc<Transfer>,
    state: State,
}

enum State {
    Gathering { url: Url, headers: HeaderMap, body: Vec<u8> },
    Answered(Response),
    Failed,
}

impl Exchange {
    fn answer(&mut self) -> io::Result<&mut Response> {
        if let State::Gathering { url, headers, body } = &mut self.state {
            let request = self.transfer.post(url.clone(), std::mem::take(headers), std::mem::take(body));
            let answer = self.transfer.budget.wait(request);
            self.state = State::Failed;
            self.state = State::Answered(answer?);
        }
        match &mut self.state {
            State::Answered(response) => Ok(response),
            State::Gathering { .. } | State::Failed => Err(io::Error::other("HTTP has failed")),
        }
    }

    fn chunk(&mut self) -> io::Result<Bytes> {
        let transfer = self.transfer.clone();
        let response = self.answer()?;
        transfer.budget.wait(transfer.chunk(response))
    }
}

/// The body of a request while gix writes it.
pub(in crate::git) struct Upload(Rc<RefCell<Exchange>>);

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0.borrow_mut().state {
            State::Gathering { body, .. } => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            State::Answered(_) | State::Failed => Err(io::Error::other("the request has been sent")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The head of an answer as lines of text.
pub(in crate::git) struct Head {
    exchange: Rc<RefCell<Exchange>>,
    text: Option<io::Cursor<Vec<u8>>>,
}

impl Head {
    fn new(exchange: Rc<RefCell<Exchange>>) -> Self {
        Self { exchange, text: None }
    }

    fn text(&mut self) -> io::Result<&mut io::Cursor<Vec<u8>>> {
        if self.text.is_none() {
            let mut exchange = self.exchange.borrow_mut();
            let mut text = Vec::new();
            for (name, value) in exchange.answer()?.headers() {
                text.extend_from_slice(name.as_str().as_bytes());
                text.extend_from_slice(b":");
                text.extend_from_slice(value.as_bytes());
                text.extend_from_slice(b"\n");
            }
            self.text = Some(io::Cursor::new(text));
        }
        Ok(self.text.as_mut().expect("it was just set"))
    }
}

impl Read for Head {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text()?.read(buffer)
    }
}

impl BufRead for Head {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.text()?.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        if let Some(text) = &mut self.text {
            text.consume(length);
        }
    }
}

/// The body of an answer.
pub(in crate::git) struct Body {
    exchange: Rc<RefCell<Exchange>>,
    chunk: Bytes,
}

impl Body {
    fn new(exchange: Rc<RefCell<Exchange>>) -> Self {
        Self { exchange, chunk: Bytes::new() }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.chunk = self.exchange.borrow_mut().chunk()?;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, length: usize) {
        self.chunk.advance(length);
    }
}
