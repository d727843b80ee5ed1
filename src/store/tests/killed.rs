//! A command that is killed while it brings a layer in.

use super::*;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Set in the process that is to be killed.
const VICTIM: &str = "STORE_TEST_VICTIM";

/// Gives an archive, and then never ends.
struct Endless(std::io::Cursor<Vec<u8>>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 {
            println!("waiting");
            loop {
                std::thread::park();
            }
        }
        Ok(count)
    }
}

#[test]
fn kill_leaves_only_what_the_next_open_collects() {
    if let Ok(root) = std::env::var(VICTIM) {
        let store = Store::open(Path::new(&root), options()).unwrap();
        let archive = Tar::new().directory("locked", 0).file("locked/f", &[0; 1 << 20]).file("g", b"x").bytes();
        let _ = store.ingest_layer(Endless(std::io::Cursor::new(archive)), Expect::default());
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    let store = Store::open(&root, options()).unwrap();
    let image = publish(&store, &[Tar::new().file("f", b"x").end()], "x", &["localhost/a:1"]).unwrap();
    let before = contents(&store);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::killed::kill_leaves_only_what_the_next_open_collects", "--nocapture"]);
    let mut victim = command.env(VICTIM, &root).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut said = Vec::new();
    let mut output = victim.stdout.take().unwrap();
    while !said.ends_with(b"waiting\n") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    assert_eq!(contents(&store).len(), before.len() + 1);
    // Whoever opens the store now leaves it alone.
    drop(Store::open(&root, options()).unwrap());
    assert_eq!(contents(&store).len(), before.len() + 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(contents(&store).len(), before.len() + 1);
    drop(Store::open(&root, Options { collect: false, ..options() }).unwrap());
    assert_eq!(contents(&store).len(), before.len() + 1);
    drop(Store::open(&root, options()).unwrap());
    assert_eq!(contents(&store), before);
    assert_eq!(store.find_image("a:1").unwrap().id, image.id);
}
