//! The command line: flags in, text out. A file per verb in `verb/`; a verb fills a request of `ops`, calls the engine,
//! and prints the reply in Podman's words.
//!
//! Must not know: how the engine does anything.

mod complete;
mod dispatch;
mod environment;
mod failure;
mod flag;
mod format;
pub mod init;
mod manual;
mod paint;
mod program;
mod progress;
mod stream;
mod surface;
mod table;
mod template;
mod time;
mod verb;

pub use dispatch::main;
