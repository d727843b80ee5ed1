//! Rules of a network namespace, by which the kernel chooses a table of routes (ip-rule(8)), as requests of
//! [`crate::netlink`].
//!
//! Must not know: what is in the tables.

use crate::netlink::{CREATE, EXCLUSIVE, Requests};
use std::net::IpAddr;

const NEW_RULE: u16 = 32;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The table that ordinary routes are in.
pub const MAIN: u32 = 254;

/// A rule: for what, and what then. What is left at its default is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule<'a> {
    /// For IPv6.
    pub ipv6: bool,
    /// Smaller ones are looked at first; 0 comes before all others but the first, as the kernel has it.
    pub priority: u32,
    /// Packets with this mark.
    pub mark: u32,
    /// What comes by this link; what this host itself sends comes by `lo`.
    pub from: &'a str,
    /// What is sent by sockets that are tied to this link.
    pub by: &'a str,
    /// What has this source.
    pub source: Option<IpAddr>,
    /// By which table it is routed; `None`: not at all, as if there were no way.
    pub table: Option<u32>,
}

/// Adds a rule; `EEXIST` if there is one like it.
pub fn add(requests: &mut Requests, rule: &Rule<'_>) {
    const FR_ACT_TO_TBL: u8 = 1;
    const FR_ACT_UNREACHABLE: u8 = 7;
    let family = if rule.ipv6 { AF_INET6 } else { AF_INET };
    let source: Vec<u8> = match rule.source {
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
        None => Vec::new(),
    };
    let table = rule.table.and_then(|table| u8::try_from(table).ok()).unwrap_or(0);
    let action = if rule.table.is_some() { FR_ACT_TO_TBL } else { FR_ACT_UNREACHABLE };
    // struct fib_rule_hdr: family, bits of destination and source, type of service, table, two reserved, action, flags.
    let header = [family, 0, source.len() as u8 * 8, 0, table, 0, 0, action, 0, 0, 0, 0];
    // fib_rules.h: FRA_SRC 2, FRA_IIFNAME 3, FRA_PRIORITY 6, FRA_FWMARK 10, FRA_TABLE 15, FRA_OIFNAME 17.
    requests.add(NEW_RULE, CREATE | EXCLUSIVE, &header, |a| {
        if !source.is_empty() {
            a.bytes(2, &source);
        }
        for (kind, name) in [(3, rule.from), (17, rule.by)] {
            if !name.is_empty() {
                a.text(kind, name);
            }
        }
        for (kind, number) in [(6, rule.priority), (10, rule.mark), (15, rule.table.unwrap_or(0))] {
            if number != 0 {
                a.number(kind, number);
            }
        }
    });
}
