//! One file, several roles: which one is in the name by which it was called. See `src/README.md`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use sys::entry::ByRole;
use sys::role::Role;

// musl's allocator is eight times slower than mimalloc, but smaller: the monitor keeps it.
#[global_allocator]
static ALLOCATOR: ByRole<mimalloc::MiMalloc> = ByRole::new(mimalloc::MiMalloc);

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        // Where it cannot be told, it still ends with this code.
        let _ = writeln!(std::io::stderr(), "Error: internal error{place}: {}: please report this", message(panic));
        std::process::exit(125);
    }));
    sys::own_umask::usual();
    let words: Vec<OsString> = std::env::args_os().collect();
    let code = match words.first().map_or(Role::CommandLine, |name| Role::of(name)) {
        Role::Monitor => monitor::main(),
        Role::Runtime => runtime::command::main(&words),
        Role::Network => usernet::main(),
        Role::Ground => network::keeper::main(),
        Role::CommandLine if cli::init::is_meant(&words) => cli::init::main(&words),
        Role::CommandLine if runtime::command::is_meant(&words) => runtime::command::main(&words),
        Role::CommandLine => {
            // The reader of our output may go: end as other programs do.
            sys::reactor::end_on_broken_pipe();
            cli::main(words)
        }
    };
    ExitCode::from(code)
}

fn message<'a>(panic: &'a std::panic::PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("")
}
