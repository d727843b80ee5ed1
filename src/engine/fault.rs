//! Other rooms' errors as the one fault that users see: the sort, the sentence with all its causes, a hint where one helps.

use ops::{Fault, Kind};
use std::error::Error;

/// An error and all that caused it, in one line.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// An error of the store.
pub(crate) fn store(error: store::Error) -> Fault {
    use store::Error;
    let kind = match &error {
        Error::NoSuchImage { .. } => Kind::NotFound,
        Error::Ambiguous { .. } | Error::SeveralNames { .. } | Error::InUse { .. } => Kind::Conflict,
        Error::ReadOnly { .. } => Kind::Denied,
        Error::LayerAway { .. } => Kind::NotFound,
        Error::Lent { .. } => Kind::Invalid,
        Error::Compression { .. } | Error::Mismatch { .. } | Error::Entry { .. } | Error::Document { .. } => {
            Kind::Invalid
        }
        Error::Newer { .. } => Kind::Unsupported,
        _ => Kind::Internal,
    };
    let fault = Fault::new(kind, sentence(&error));
    if error.is_disk_full() && !matches!(error, Error::NoSpace { .. }) {
        return fault.hint("free some space on the disk of the store");
    }
    fault
}

/// An error about networks.
pub(crate) fn network(error: network::Error) -> Fault {
    use network::Error;
    let kind = match &error {
        Error::NoSuchNetwork { .. } => Kind::NotFound,
        Error::Exhausted { .. }
        | Error::AddressTaken { .. }
        | Error::PortTaken { .. }
        | Error::SubnetTaken { .. }
        | Error::Exists { .. } => Kind::Conflict,
        Error::AddressOutside { .. } | Error::Invalid(_) | Error::Definition { .. } => Kind::Invalid,
        Error::Kernel { .. } | Error::Driver { .. } | Error::Option { .. } => Kind::Unsupported,
        _ => Kind::Internal,
    };
    let needs_rights = matches!(&error, Error::Step { refusal, .. } if refusal.errno == rustix::io::Errno::PERM);
    let fault = Fault::new(if needs_rights { Kind::Denied } else { kind }, sentence(&error));
    match error {
        Error::Kernel { .. } => fault.hint("use --network host or none"),
        Error::Step { .. } if needs_rights => {
            fault.hint("networks need the capability NET_ADMIN: use --network host or none")
        }
        _ => fault,
    }
}

/// An error of a transfer.
pub(crate) fn transfer(error: transfer::Error) -> Fault {
    Fault::new(Kind::Invalid, sentence(&error))
}

/// An error on the way to a monitor.
pub(crate) fn monitor(error: monitor::Error) -> Fault {
    Fault::internal(sentence(&error))
}

/// What a monitor says of a process that could not be made or executed.
pub(crate) fn launch(code: u8, text: &str) -> Fault {
    let kind = match code {
        127 => Kind::CommandNotFound,
        126 => Kind::CommandFailed,
        // A process that the container, as it is, cannot have: its user is not known there, say.
        255 => Kind::Conflict,
        _ => Kind::Internal,
    };
    Fault::new(kind, text)
}
