//! How what containers send comes to the process: decided once for a router, by what the kernel has, and written down
//! beside its number.
//!
//! Must not know: how either is done.

use std::path::Path;

/// See above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The packet filter hands all of it to two sockets of each link (nft_tproxy).
    Handed,
    /// The process watches the links for packets with which something begins, and meets each with a socket of its own.
    Watched {
        /// There is a packet filter that keeps networks apart; without one nothing is passed on between them.
        filtered: bool,
    },
}

impl Way {
    /// As it is written down.
    pub fn word(self) -> &'static str {
        match self {
            Way::Handed => "handed",
            Way::Watched { filtered: true } => "watched",
            Way::Watched { filtered: false } => "watched-unfiltered",
        }
    }

    /// That of the router whose process keeps its records in `directory`.
    pub fn of(directory: &Path) -> Way {
        let text = std::fs::read_to_string(directory.join("router")).unwrap_or_default();
        match text.split_whitespace().nth(1) {
            Some("watched") => Way::Watched { filtered: true },
            Some("watched-unfiltered") => Way::Watched { filtered: false },
            _ => Way::Handed,
        }
    }

    /// Networks in the router are kept apart by a packet filter.
    pub fn is_filtered(self) -> bool {
        self != Way::Watched { filtered: false }
    }

    /// What the kernel lacks, and what that means; empty if nothing.
    pub fn lacks(self) -> &'static str {
        match self {
            Way::Handed => "",
            Way::Watched { filtered: true } => {
                "this kernel cannot hand packets to transparent sockets (nft_tproxy): links are watched instead"
            }
            Way::Watched { filtered: false } => {
                "this kernel has no packet filter (CONFIG_NF_TABLES) here: links are watched instead, and containers of different networks do not reach each other"
            }
        }
    }
}
