//! `docker-daemon:` — images of a Docker daemon, which gives and takes them as `docker save` and `docker load` do
//! (Docker Engine API, `GET /images/NAME/get` and `POST /images/load`), over its socket.
//!
//! One request for each connection, and as little of HTTP/1.1 (RFC 9112) as that needs: what the daemon answers is as
//! long as it says, in chunks, or until it hangs up.
//!
//! Must not know: what is in the archives.

use crate::registry::escaped;
use crate::{Error, Result};
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use types::Reference;

/// Where the daemon listens if nothing else is said.
pub const SOCKET: &str = "unix:///var/run/docker.sock";
/// Longest line of an answer's head, and of its messages, in bytes.
const LINE: u64 = 64 << 10;
/// Most lines of a head, and of those before it that are no answer yet.
const LINES: usize = 200;

/// Both ways of a connection.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What the daemon answers.
struct Answer {
    status: u16,
    body: Body,
}

/// The bytes of an answer.
struct Body {
    stream: BufReader<Box<dyn Stream>>,
    length: Length,
}

/// How much of it is still to come.
enum Length {
    /// So many bytes.
    Known(u64),
    /// So many bytes of this chunk, then another one.
    Chunk(u64),
    /// Until it hangs up.
    Open,
    /// Nothing.
    Ended,
}

/// A request whose body is still being written; ends with [`Write::flush`].
pub struct Upload {
    stream: Option<BufReader<Box<dyn Stream>>>,
    host: String,
}

/// The archive of the image `name`.
pub fn get(host: &str, name: &Reference) -> Result<impl Read + Send + use<>> {
    let mut stream = connect(host)?;
    let path = format!("/images/{}/get", escaped(&self::name(name).unwrap_or_else(|| name.to_string())));
    let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: monopod\r\nConnection: close\r\n\r\n");
    let failed = |source| Error::Daemon { host: host.into(), why: io_text(&source) };
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = answer(BufReader::new(stream)).map_err(failed)?;
    if answer.status != 200 {
        return Err(refused(host, &mut answer));
    }
    Ok(answer.body)
}

/// Takes an archive that is written to it.
pub fn put(host: &str) -> Result<Upload> {
    let mut stream = connect(host)?;
    let request = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nUser-Agent: monopod\r\n\
                   Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let failed = |source| Error::Daemon { host: host.into(), why: io_text(&source) };
    stream.write_all(request.as_bytes()).map_err(failed)?;
    Ok(Upload { stream: Some(BufReader::new(stream)), host: host.into() })
}

/// The name that the image is known by, and gets here; none if it was asked for by its id (`sha256:HEX`).
pub fn name(asked: &Reference) -> Option<String> {
    let is_id = asked.domain.is_none() && asked.path == "sha256" && asked.tag.as_ref().is_some_and(|t| t.len() == 64);
    (!is_id).then(|| crate::source::complete(asked).to_string())
}

fn connect(host: &str) -> Result<Box<dyn Stream>> {
    let failed = |source: io::Error| Error::Daemon { host: host.into(), why: io_text(&source) };
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Box::new(UnixStream::connect(path).map_err(failed)?));
    }
    match host.strip_prefix("tcp://").or(host.strip_prefix("http://")) {
        Some(address) => Ok(Box::new(TcpStream::connect(address.trim_end_matches('/')).map_err(failed)?)),
        None => Err(Error::Daemon {
            host: host.into(),
            why: "only unix:///SOCKET and tcp://HOST:PORT without TLS are supported".into(),
        }),
    }
}

fn io_text(source: &io::Error) -> String {
    source.to_string()
}

/// Reads the head of an answer.
fn answer(mut stream: BufReader<Box<dyn Stream>>) -> io::Result<Answer> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("its answer is not HTTP: {why}"));
    let mut head: Option<u16> = None;
    let mut length = Length::Open;
    for _ in 0..LINES {
        let field = line(&mut stream)?;
        let Some(status) = head else {
            let status = field.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            head = Some(status.ok_or_else(|| bad(&field))?);
            continue;
        };
        let Some((name, value)) = field.split_once(':') else {
            if status != 100 {
                return Ok(Answer { status, body: Body { stream, length } });
            }
            // That is no answer yet (RFC 9110, 15.2).
            (head, length) = (None, Length::Open);
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" if !matches!(length, Length::Chunk(_)) => {
                length = Length::Known(value.trim().parse().map_err(|_| bad(&field))?);
            }
            "transfer-encoding" if value.trim().eq_ignore_ascii_case("chunked") => length = Length::Chunk(0),
            _ => {}
        }
    }
    Err(bad("its head is too long"))
}

/// A line without its end.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(LINE).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Length::Chunk(0) = self.length {
            // Behind each chunk but the first is the end of its line.
            let mut size = line(&mut self.stream)?;
            if size.is_empty() {
                size = line(&mut self.stream)?;
            }
            let digits = size.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            self.length = if size == 0 { Length::Ended } else { Length::Chunk(size) };
        }
        let most = match self.length {
            Length::Known(left) | Length::Chunk(left) => left.min(buffer.len() as u64) as usize,
            Length::Open => buffer.len(),
            Length::Ended => 0,
        };
        if most == 0 {
            return Ok(0);
        }
        let got = self.stream.read(&mut buffer[..most])?;
        match &mut self.length {
            Length::Known(left) | Length::Chunk(left) if got > 0 => *left -= got as u64,
            Length::Known(_) | Length::Chunk(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        Ok(got)
    }
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default, alias = "error")]
    message: String,
}

/// The error that an answer tells of.
fn refused(host: &str, answer: &mut Answer) -> Error {
    let mut bytes = Vec::new();
    let _ = (&mut answer.body).take(LINE).read_to_end(&mut bytes);
    let said = serde_json::from_slice::<Complaint>(&bytes).map(|complaint| complaint.message).unwrap_or_default();
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    let why = if said.is_empty() { format!("it answers {}", answer.status) } else { said };
    Error::Daemon { host: host.into(), why }
}

impl Upload {
    /// Ends the request, and reads what has become of it: messages in JSON, of which one may be an error.
    fn end(&mut self) -> io::Result<()> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        stream.get_mut().write_all(b"0\r\n\r\n")?;
        let mut answer = answer(stream)?;
        if answer.status != 200 {
            return Err(io::Error::other(refused(&self.host, &mut answer)));
        }
        let mut messages = BufReader::new(answer.body);
        loop {
            let mut message = Vec::new();
            (&mut messages).take(LINE).read_until(b'\n', &mut message)?;
            if message.is_empty() {
                return Ok(());
            }
            #[derive(Deserialize)]
            struct Message {
                #[serde(default)]
                error: String,
            }
            let error = serde_json::from_slice::<Message>(&message).map(|message| message.error).unwrap_or_default();
            if !error.is_empty() {
                return Err(io::Error::other(format!("the Docker daemon: {error}")));
            }
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::BrokenPipe.into()) };
        if bytes.is_empty() {
            return Ok(0);
        }
        let stream = stream.get_mut();
        write!(stream, "{:x}\r\n", bytes.len())?;
        stream.write_all(bytes)?;
        stream.write_all(b"\r\n")?;
        Ok(bytes.len())
    }

    /// A reel flushes once, when the archive is complete.
    fn flush(&mut self) -> io::Result<()> {
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A daemon that answers one request with `answer`, and gives what it was sent.
    fn daemon(answer: &'static [u8], until: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
        let directory = std::env::temp_dir().join(format!("monopod-daemon-{}-{}", std::process::id(), crate::random()));
        let listener = UnixListener::bind(&directory).unwrap();
        let host = format!("unix://{}", directory.display());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut sent = Vec::new();
            let mut byte = [0];
            while !sent.ends_with(until) && stream.read(&mut byte).unwrap() > 0 {
                sent.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            std::fs::remove_file(directory).unwrap();
            sent
        });
        (host, served)
    }

    #[test]
    fn answers_of_every_length() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more"[..], Some("hello")),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                Some("hello"),
            ),
            (b"HTTP/1.0 200 OK\r\n\r\nhello", Some("hello")),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some("")),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", None),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
        ] {
            let (host, served) = daemon(answer, b"\r\n\r\n");
            let mut text = String::new();
            let read = get(&host, &"busybox:1".parse().unwrap()).unwrap().read_to_string(&mut text);
            assert_eq!(read.is_ok().then_some(text.as_str()), expected);
            let sent = String::from_utf8(served.join().unwrap()).unwrap();
            assert!(sent.starts_with("GET /images/docker.io/library/busybox:1/get HTTP/1.1\r\n"), "{sent}");
        }
    }

    /// No answer, again and again.
    const ENDLESS: &str = {
        const ONE: [u8; 25] = *b"HTTP/1.1 100 Continue\r\n\r\n";
        const ALL: [[u8; 25]; LINES] = [ONE; LINES];
        match std::str::from_utf8(ALL.as_flattened()) {
            Ok(text) => text,
            Err(_) => panic!("it is ASCII"),
        }
    };

    #[test]
    fn what_the_daemon_refuses() {
        let (host, served) =
            daemon(b"HTTP/1.1 404 Not Found\r\n\r\n{\"message\":\"no such \\u001bimage\"}", b"\r\n\r\n");
        let error = get(&host, &"x:1".parse().unwrap()).err().unwrap().to_string();
        served.join().unwrap();
        assert!(error.contains("no such image") && error.contains(&host), "{error}");
        for (answer, word) in [
            (
                &b"HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"a\"}\n{\"errorDetail\":{},\"error\":\"disk full\"}\n"[..],
                "disk full",
            ),
            (b"HTTP/1.1 500 Oh\r\n\r\n{\"message\":\"oh\"}", "oh"),
            (b"nonsense\r\n", "not HTTP"),
            (ENDLESS.as_bytes(), "too long"),
        ] {
            let (host, served) = daemon(answer, b"0\r\n\r\n");
            let mut upload = put(&host).unwrap();
            upload.write_all(b"archive").unwrap();
            let error = upload.flush().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert!(served.join().unwrap().ends_with(b"\r\n\r\n7\r\narchive\r\n0\r\n\r\n"));
        }
        assert!(get("ssh://x", &"x:1".parse().unwrap()).err().unwrap().to_string().contains("unix://"));
    }
}
