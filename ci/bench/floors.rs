//! What the machine takes for the bare work: a process, namespaces around it, and a layer inflated, hashed and unpacked.
//! Each is a role of the bench, so that it is measured like the engines are.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, ExitCode};

/// The words of a floor's role.
pub fn words(args: &[&str]) -> Vec<String> {
    let own = std::env::current_exe().expect("/proc is mounted").display().to_string();
    [own, "--floor".into()].into_iter().chain(args.iter().map(|word| word.to_string())).collect()
}

/// `unshare PROGRAM…`: the namespaces of a container, then the program. `inflate FILE [on]`: gzip or zstd to
/// nothing or on to standard output, both the compressed and the inflated bytes hashed. `answer ADDRESS PATH...`: one request each by HTTP.
pub fn main(args: &[String]) -> ExitCode {
    match args.first().map(String::as_str) {
        Some("unshare") => {
            let flags = CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWPID
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWCGROUP;
            unshare(flags).expect("unshare");
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("mount");
            let status = Command::new(&args[1]).args(&args[2..]).status().expect("the program runs");
            ExitCode::from(status.code().unwrap_or(1) as u8)
        }
        Some("inflate") => {
            let file = Hashing { inner: File::open(&args[1]).expect("the layer"), hash: Sha256::new() };
            let mut source: Box<dyn Read> = match args[1].ends_with(".zst") {
                true => Box::new(zstd::Decoder::new(file).expect("zstd")),
                false => Box::new(flate2::read::MultiGzDecoder::new(file)),
            };
            let mut hash = Sha256::new();
            let mut bytes = vec![0; 256 << 10];
            let to_stdout = args.get(2).is_some();
            loop {
                match source.read(&mut bytes).expect("the layer is sound") {
                    0 => break,
                    count => {
                        hash.update(&bytes[..count]);
                        if to_stdout {
                            std::io::stdout().write_all(&bytes[..count]).expect("stdout");
                        }
                    }
                }
            }
            if !to_stdout {
                std::io::stdout().write_all(&hash.finalize()).expect("stdout");
            }
            ExitCode::SUCCESS
        }
        Some("answer") => {
            for path in &args[2..] {
                let mut stream = std::net::TcpStream::connect(&args[1]).expect("the registry listens");
                let accept = "application/vnd.oci.image.manifest.v1+json";
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
                    args[1]
                );
                stream.write_all(request.as_bytes()).expect("a request");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("an answer");
                assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            }
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}

/// A reader that hashes what passes.
struct Hashing {
    inner: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }
}
