//! Packet filtering and translation of addresses (nf_tables), as requests of [`crate::netlink`]: a [`Batch`] is carried out
//! as a whole or not at all.
//!
//! A rule is a list of [`Expression`]s, which load what they look at into 16 registers of 4 bytes and compare it there; a
//! value of several fields lies in registers one after the other, each field padded to 4 bytes.
//!
//! Must not know: what a rule is for.

use crate::netlink::{APPEND, Attributes, CREATE, EXCLUSIVE, Family as Part, Refusal, Requests, Socket, attributes};
use rustix::io::Result;

/// Packets of which protocols a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6 (nat: kernel 5.2).
    Inet = 1,
    /// IPv4.
    Ipv4 = 2,
    /// Frames between ports of a bridge.
    Bridge = 7,
    /// IPv6.
    Ipv6 = 10,
}

const NFNL_SUBSYS_NFTABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;
const DELETE_ELEMENTS: u16 = 14;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// Where a chain is called from, with its priority among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter`, `nat` or `route`.
    pub kind: &'static str,
    /// Which place (`NF_INET_*`).
    pub place: Place,
    /// Lower is earlier: -300 raw, -200 connection tracking, -150 mangle, -100 translation of destinations, 0 filter, 100
    /// translation of sources.
    pub priority: i32,
}

/// A place in the way of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Place {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// Number `n` (0 to 15) of the 4-byte registers.
pub const fn register(n: u32) -> u32 {
    8 + n
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verdict<'a> {
    Drop,
    Accept,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

/// What [`Expression::Meta`] loads (`NFT_META_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Meta {
    /// Ethernet type: 0x0800, 0x86dd, big-endian.
    Protocol = 1,
    Mark = 3,
    /// Number of the link it came by.
    InLink = 4,
    OutLink = 5,
    /// Name of that, padded with zeros to 16 bytes.
    InName = 6,
    OutName = 7,
    /// 2 or 10.
    NetworkFamily = 15,
    /// 6 TCP, 17 UDP, 132 SCTP.
    Transport = 16,
    PacketType = 19,
}

/// From where a payload is read (`NFT_PAYLOAD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What [`Expression::Connection`] loads (`NFT_CT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Connection {
    /// Bits: 2 established, 4 related, 8 new, 1 invalid.
    State = 0,
    Mark = 3,
    /// Bits of `IPS_*`: 32 is a translated destination.
    Status = 2,
}

/// How [`Expression::Compare`] compares (`NFT_CMP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Is {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    LessOrEqual = 3,
    Greater = 4,
    GreaterOrEqual = 5,
}

/// A step of a rule. Registers are those of [`register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Loads something about the packet.
    Meta(Meta, u32),
    /// Sets it from a register.
    SetMeta(Meta, u32),
    /// Loads `length` bytes of the packet, from `offset` on.
    Payload {
        /// From where.
        base: Base,
        /// Bytes after that.
        offset: u32,
        /// How many.
        length: u32,
        /// Into which register.
        register: u32,
    },
    /// Goes on only if it holds.
    Compare(u32, Is, &'a [u8]),
    /// Register = register & mask.
    Mask(u32, &'a [u8]),
    /// Goes on only if the value is in a set; loads what a map has for it.
    Lookup {
        /// Name of the set or map.
        set: &'a str,
        /// Where the value is.
        register: u32,
        /// Where what the map has goes.
        into: Option<u32>,
        /// Goes on only if it is *not* there.
        absent: bool,
    },
    /// Loads a constant.
    Load(u32, &'a [u8]),
    /// Ends the rule so.
    Verdict(Verdict<'a>),
    /// Translates the destination to the address, and the port, in these registers.
    DestinationTo {
        /// `Ipv4` or `Ipv6`.
        family: Family,
        /// Where the address is.
        address: u32,
        /// Where the port is.
        port: Option<u32>,
    },
    /// Translates the source to the address in this register.
    SourceTo {
        /// `Ipv4` or `Ipv6`.
        family: Family,
        /// Where the address is.
        address: u32,
    },
    /// Translates the source to the address of the link by which the packet leaves; true: to random ports.
    Masquerade(bool),
    /// Translates the destination to this host, and to the port in the register.
    Redirect(Option<u32>),
    /// Hands the packet to a transparent socket (kernel: nft_tproxy).
    TransparentProxy {
        /// `Ipv4`, `Ipv6`, or `Inet` for both, then without an address.
        family: Family,
        /// Where the address is.
        address: Option<u32>,
        /// Where the port is.
        port: Option<u32>,
    },
    /// Loads something about the connection.
    Connection(Connection, u32),
    /// Sets it from a register.
    SetConnection(Connection, u32),
    /// Loads the type (`RTN_*`: 2 local) of the packet's destination, or of its source.
    RouteType {
        /// The source instead of the destination.
        source: bool,
        /// Into which register.
        register: u32,
    },
    /// Loads the number of the link by which the packet's destination is reached; 0 if there is no route.
    RouteLink(u32),
    /// Loads whether a transparent socket waits for the packet.
    SocketTransparent(u32),
    /// Refuses: a reset for TCP if true, else "port unreachable".
    Reject(bool),
    /// Counts packets and bytes.
    Counter,
    /// The packet waits in this queue ([`crate::queue`]); it goes on to the next chain if nobody has the queue.
    Queue(u16),
}

/// A set, or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number in this batch, by which rules of the same batch find it; unique among them.
    pub id: u32,
    /// Fields of a value.
    pub key: &'a [Field],
    /// What a map has for it: a value of these fields; empty for a set.
    pub data: &'a [Field],
    /// Values are ranges: each element is the first of those that it and all up to the next end are for.
    pub ranges: bool,
}

/// A field of a value: its type for those who list it (libnftables' numbers), and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    Ipv4,
    Ipv6,
    /// 6 TCP, 17 UDP, 132 SCTP.
    Transport,
    Port,
    Mark,
    /// 16 bytes.
    LinkName,
}

impl Field {
    const fn number(self) -> u32 {
        match self {
            Field::Ipv4 => 7,
            Field::Ipv6 => 8,
            Field::Transport => 12,
            Field::Port => 13,
            Field::Mark => 19,
            Field::LinkName => 41,
        }
    }

    /// Its bytes.
    pub const fn length(self) -> u32 {
        match self {
            Field::Ipv4 | Field::Mark => 4,
            Field::Ipv6 | Field::LinkName => 16,
            Field::Transport => 1,
            Field::Port => 2,
        }
    }
}

/// Type and length of a value: the length of one field is its own, of several their padded sum.
fn value_type(fields: &[Field]) -> (u32, u32) {
    match fields {
        [one] => (one.number(), one.length()),
        several => several
            .iter()
            .fold((0, 0), |(kind, length), f| (kind << 6 | f.number(), length + f.length().next_multiple_of(4))),
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// The value: fields one after the other, each padded to 4 bytes if there are several.
    pub key: Vec<u8>,
    /// What a map has for it.
    pub data: Vec<u8>,
}

/// Changes that are carried out together.
#[derive(Debug, Clone)]
pub struct Batch {
    requests: Requests,
    family: Family,
    table: String,
}

impl Batch {
    /// Changes of the table `table`.
    pub fn new(family: Family, table: &str) -> Batch {
        let mut requests = Requests::new();
        requests.add(BATCH_BEGIN, 0, &batch_header(), |_| ());
        Batch { requests, family, table: table.to_owned() }
    }

    fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Batch {
        self.requests.add(NFNL_SUBSYS_NFTABLES | kind, flags, &[self.family as u8, 0, 0, 0], fill);
        self
    }

    /// True if nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.requests.count() == 1
    }

    /// Makes the table, if it is not there.
    pub fn table(&mut self) -> &mut Batch {
        let name = self.table.clone();
        self.add(NEW_TABLE, CREATE, |a| {
            a.text(1, &name);
        })
    }

    /// Makes the table; `EEXIST` if it is there.
    pub fn new_table(&mut self) -> &mut Batch {
        let name = self.table.clone();
        self.add(NEW_TABLE, CREATE | EXCLUSIVE, |a| {
            a.text(1, &name);
        })
    }

    /// Takes the table away with all it holds; `ENOENT` if it is not there.
    pub fn delete_table(&mut self) -> &mut Batch {
        let name = self.table.clone();
        self.add(DELETE_TABLE, 0, |a| {
            a.text(1, &name);
        })
    }

    /// Takes the table away, if it is there.
    pub fn destroy_table(&mut self) -> &mut Batch {
        self.table().delete_table()
    }

    /// Makes a chain; without a hook it is jumped to. Those with a hook accept what no rule decides.
    pub fn chain(&mut self, name: &str, hook: Option<Hook>) -> &mut Batch {
        let table = self.table.clone();
        self.add(NEW_CHAIN, CREATE, |a| {
            a.text(1, &table).text(3, name);
            if let Some(hook) = hook {
                a.nest(4, |a| {
                    a.big(1, hook.place as u32).big(2, hook.priority as u32);
                });
                a.text(7, hook.kind);
            }
        })
    }

    /// Takes all rules of a chain away.
    pub fn flush_chain(&mut self, name: &str) -> &mut Batch {
        let table = self.table.clone();
        self.add(DELETE_RULE, 0, |a| {
            a.text(1, &table).text(2, name);
        })
    }

    /// Adds a rule at the end of a chain.
    pub fn rule(&mut self, chain: &str, expressions: &[Expression<'_>]) -> &mut Batch {
        let table = self.table.clone();
        self.add(NEW_RULE, CREATE | APPEND, |a| {
            a.text(1, &table).text(2, chain).nest(4, |a| {
                for expression in expressions {
                    a.nest(1, |a| expression.fill(a));
                }
            });
        })
    }

    /// Makes a set or a map.
    pub fn set(&mut self, set: Set<'_>) -> &mut Batch {
        const INTERVAL: u32 = 4;
        const MAP: u32 = 8;
        let table = self.table.clone();
        self.add(NEW_SET, CREATE, |a| {
            let (kind, length) = value_type(set.key);
            let map = !set.data.is_empty();
            let flags = if map { MAP } else { 0 } | if set.ranges { INTERVAL } else { 0 };
            a.text(1, &table).text(2, set.name).big(3, flags).big(4, kind).big(5, length);
            if map {
                let (kind, length) = value_type(set.data);
                a.big(6, kind).big(7, length);
            }
            a.big(10, set.id);
            if matches!(set.key, [Field::LinkName | Field::Mark]) {
                // For those who list it: the value has the machine's byte order (NFTNL_UDATA_SET_KEYBYTEORDER).
                a.bytes(13, &[0, 4, 1, 0, 0, 0]);
            }
        })
    }

    /// Adds elements to a set or map; `exclusive`: `EEXIST` if one is there.
    pub fn add_elements(&mut self, set: &str, elements: &[Element], exclusive: bool) -> &mut Batch {
        self.elements(NEW_ELEMENTS, CREATE | if exclusive { EXCLUSIVE } else { 0 }, set, elements)
    }

    /// Takes elements away; `ENOENT` if one is not there.
    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) -> &mut Batch {
        self.elements(DELETE_ELEMENTS, 0, set, elements)
    }

    /// Takes all elements of a set or map away.
    pub fn flush_set(&mut self, set: &str) -> &mut Batch {
        let table = self.table.clone();
        self.add(DELETE_ELEMENTS, 0, |a| {
            a.text(2, set).text(1, &table);
        })
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element]) -> &mut Batch {
        let table = self.table.clone();
        // The list is one attribute, which has at most 65535 bytes.
        for part in elements.chunks(500) {
            self.add(kind, flags, |a| {
                a.text(2, set).text(1, &table).nest(3, |a| {
                    for element in part {
                        a.nest(1, |a| {
                            a.nest(1, |a| {
                                a.bytes(1, &element.key);
                            });
                            if !element.data.is_empty() {
                                a.nest(2, |a| {
                                    a.bytes(1, &element.data);
                                });
                            }
                        });
                    }
                });
            });
        }
        self
    }

    /// Carries all of it out, or nothing. The request of a refusal counts from the first change.
    pub fn carry_out(mut self, socket: &mut Socket) -> std::result::Result<(), Refusal> {
        if self.is_empty() {
            return Ok(());
        }
        let last = self.requests.count() - 1;
        self.requests.add(BATCH_END, 0, &batch_header(), |_| ());
        socket
            .send_and_wait(&mut self.requests, last)
            .map_err(|r| Refusal { request: r.request.saturating_sub(1), ..r })
    }
}

/// struct nfgenmsg: the subsystem that the batch is for, big-endian.
fn batch_header() -> [u8; 4] {
    [0, 0, 0, 10]
}

/// A connection for batches.
pub fn open() -> Result<Socket> {
    Socket::open(Part::Netfilter)
}

/// Asks the kernel which state of its rules this is, only to see whether it has any: an error if it knows no such thing.
pub fn ask_for_generation(socket: &mut Socket) -> Result<()> {
    const GET_GENERATION: u16 = 16;
    let mut request = Requests::new();
    request.add(NFNL_SUBSYS_NFTABLES | GET_GENERATION, 0, &[0; 4], |_| ());
    socket.ask(request, false, |_, _| ())
}

/// The elements of a set or map; `ENOENT` if it is not there.
pub fn elements(socket: &mut Socket, family: Family, table: &str, set: &str) -> Result<Vec<Element>> {
    let mut request = Requests::new();
    request.add(NFNL_SUBSYS_NFTABLES | GET_ELEMENTS, 0, &[family as u8, 0, 0, 0], |a| {
        a.text(1, table).text(2, set);
    });
    let mut found = Vec::new();
    socket.ask(request, true, |_, body| {
        let list = attributes(body.get(4..).unwrap_or_default()).find(|a| a.0 == 3).map(|a| a.1).unwrap_or_default();
        for (_, element) in attributes(list) {
            let value = |kind| {
                let nested = attributes(element).find(|a| a.0 == kind).map(|a| a.1).unwrap_or_default();
                attributes(nested).find(|a| a.0 == 1).map(|a| a.1.to_vec()).unwrap_or_default()
            };
            found.push(Element { key: value(1), data: value(2) });
        }
    })?;
    Ok(found)
}

impl Expression<'_> {
    /// Name (1) and contents (2) of the expression; the numbers are those of linux/netfilter/nf_tables.h.
    fn fill(&self, a: &mut Attributes<'_>) {
        let data = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            move |a: &mut Attributes<'_>| {
                a.bytes(1, &bytes);
            }
        };
        match *self {
            Expression::Meta(what, register) => a.text(1, "meta").nest(2, |a| {
                a.big(1, register).big(2, what as u32);
            }),
            Expression::SetMeta(what, register) => a.text(1, "meta").nest(2, |a| {
                a.big(2, what as u32).big(3, register);
            }),
            Expression::Payload { base, offset, length, register } => a.text(1, "payload").nest(2, |a| {
                a.big(1, register).big(2, base as u32).big(3, offset).big(4, length);
            }),
            Expression::Compare(register, is, value) => a.text(1, "cmp").nest(2, |a| {
                a.big(1, register).big(2, is as u32).nest(3, data(value));
            }),
            Expression::Mask(register, mask) => a.text(1, "bitwise").nest(2, |a| {
                a.big(1, register).big(2, register).big(3, mask.len() as u32);
                a.nest(4, data(mask)).nest(5, data(&vec![0; mask.len()]));
            }),
            Expression::Lookup { set, register, into, absent } => a.text(1, "lookup").nest(2, |a| {
                a.text(1, set).big(2, register);
                if let Some(into) = into {
                    a.big(3, into);
                }
                if absent {
                    a.big(5, 1);
                }
            }),
            Expression::Load(register, value) => a.text(1, "immediate").nest(2, |a| {
                a.big(1, register).nest(2, data(value));
            }),
            Expression::Verdict(verdict) => a.text(1, "immediate").nest(2, |a| {
                a.big(1, 0).nest(2, |a| {
                    a.nest(2, |a| verdict.fill(a));
                });
            }),
            Expression::DestinationTo { family, address, port } => a.text(1, "nat").nest(2, |a| {
                a.big(1, 1).big(2, family as u32).big(3, address);
                if let Some(port) = port {
                    a.big(5, port);
                }
            }),
            Expression::SourceTo { family, address } => a.text(1, "nat").nest(2, |a| {
                a.big(1, 0).big(2, family as u32).big(3, address);
            }),
            Expression::Masquerade(random) => a.text(1, "masq").nest(2, |a| {
                if random {
                    // NF_NAT_RANGE_PROTO_RANDOM_FULLY.
                    a.big(1, 16);
                }
            }),
            Expression::Redirect(port) => a.text(1, "redir").nest(2, |a| {
                if let Some(port) = port {
                    a.big(1, port);
                }
            }),
            Expression::TransparentProxy { family, address, port } => a.text(1, "tproxy").nest(2, |a| {
                a.big(1, if family == Family::Inet { 0 } else { family as u32 });
                if let Some(address) = address {
                    a.big(2, address);
                }
                if let Some(port) = port {
                    a.big(3, port);
                }
            }),
            Expression::Connection(what, register) => a.text(1, "ct").nest(2, |a| {
                a.big(1, register).big(2, what as u32);
            }),
            Expression::SetConnection(what, register) => a.text(1, "ct").nest(2, |a| {
                a.big(2, what as u32).big(4, register);
            }),
            Expression::RouteType { source, register } => a.text(1, "fib").nest(2, |a| {
                // NFT_FIB_RESULT_ADDRTYPE; NFTA_FIB_F_SADDR or _DADDR.
                a.big(1, register).big(2, 3).big(3, if source { 1 } else { 2 });
            }),
            Expression::RouteLink(register) => a.text(1, "fib").nest(2, |a| {
                // NFT_FIB_RESULT_OIF; NFTA_FIB_F_DADDR.
                a.big(1, register).big(2, 1).big(3, 2);
            }),
            Expression::SocketTransparent(register) => a.text(1, "socket").nest(2, |a| {
                a.big(1, 0).big(2, register);
            }),
            Expression::Reject(reset) => a.text(1, "reject").nest(2, |a| {
                // NFT_REJECT_TCP_RST; NFT_REJECT_ICMPX_UNREACH with NFT_REJECT_ICMPX_PORT_UNREACH.
                if reset {
                    a.big(1, 1);
                } else {
                    a.big(1, 2).bytes(2, &[1]);
                }
            }),
            Expression::Queue(number) => a.text(1, "queue").nest(2, |a| {
                // NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL, NFTA_QUEUE_FLAGS: NFT_QUEUE_FLAG_BYPASS.
                a.bytes(1, &number.to_be_bytes()).bytes(2, &[0, 1]).bytes(3, &[0, 1]);
            }),
            Expression::Counter => a.text(1, "counter").nest(2, |_| ()),
        };
    }
}

impl Verdict<'_> {
    fn fill(self, a: &mut Attributes<'_>) {
        match self {
            Verdict::Drop => a.big(1, 0),
            Verdict::Accept => a.big(1, 1),
            Verdict::Return => a.big(1, -5i32 as u32),
            Verdict::Jump(chain) => a.big(1, -3i32 as u32).text(2, chain),
            Verdict::Goto(chain) => a.big(1, -4i32 as u32).text(2, chain),
        };
    }
}

#[cfg(test)]
mod tests;
