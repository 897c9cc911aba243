//! A connection to a server. A thread of its own waits for the server, so that the caller can be interrupted at any
//! time, also while a name is looked up or nothing arrives.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use ureq::RequestBuilder;
use ureq::http::response::Parts;
use ureq::typestate::WithoutBody;

use super::super::read::heed;
use super::{AttemptError, BEAT, judge, passing};

/// Bytes that are handed on at a time.
const PIECE: usize = 1 << 16;
/// Pieces that may wait to be written.
const AHEAD: usize = 16;

/// The beginning of an answer.
pub(super) struct ResponseHead {
    pub parts: Parts,
    /// Of the body, as announced.
    pub length: Option<u64>,
}

enum Received {
    ResponseHead(Box<ResponseHead>),
    Bytes(Vec<u8>),
    End,
}

pub(super) struct Connection<'a> {
    received: Receiver<Result<Received, AttemptError>>,
    interrupt: &'a AtomicBool,
}

impl<'a> Connection<'a> {
    /// Sends a request. The thread ends with the answer, or soon after nobody listens any more.
    pub fn open(request: RequestBuilder<WithoutBody>, interrupt: &'a AtomicBool) -> Result<Self, AttemptError> {
        let (tell, received) = sync_channel(AHEAD);
        let run = move || {
            let end = ask(request, &tell).map(|()| Received::End);
            // Nobody may be left to hear it.
            drop(tell.send(end));
        };
        thread::Builder::new().name("download".to_owned()).spawn(run).map_err(AttemptError::Store)?;
        Ok(Self { received, interrupt })
    }

    pub fn head(&mut self) -> Result<ResponseHead, AttemptError> {
        match self.next()? {
            Received::ResponseHead(head) => Ok(*head),
            Received::Bytes(_) | Received::End => Err(passing("the server sent no answer")),
        }
    }

    /// What came next of the body; `None` at its end.
    pub fn bytes(&mut self) -> Result<Option<Vec<u8>>, AttemptError> {
        match self.next()? {
            Received::Bytes(bytes) => Ok(Some(bytes)),
            Received::ResponseHead(_) | Received::End => Ok(None),
        }
    }

    fn next(&self) -> Result<Received, AttemptError> {
        loop {
            heed(self.interrupt).map_err(|_| AttemptError::Stopped)?;
            match self.received.recv_timeout(BEAT) {
                Ok(received) => return received,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(passing("the line to the server was lost")),
            }
        }
    }
}

fn ask(
    request: RequestBuilder<WithoutBody>,
    tell: &SyncSender<Result<Received, AttemptError>>,
) -> Result<(), AttemptError> {
    let (parts, body) = request.call().map_err(judge)?.into_parts();
    let length = body.content_length();
    let mut reader = body.into_reader();
    let mut told = tell.send(Ok(Received::ResponseHead(Box::new(ResponseHead { parts, length }))));
    let mut buffer = vec![0; PIECE];
    while told.is_ok() {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => told = tell.send(Ok(Received::Bytes(buffer[..count].to_vec()))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(passing(error.to_string())),
        }
    }
    Ok(())
}
