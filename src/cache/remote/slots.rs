//! Which node of a cluster has which key.
//!
//! ```text
//!   key ──crc16──► slot, one of 16,384 ──Map──► node        MOVED 3999 host:port   from now on
//!                                                           ASK 3999 host:port     this once
//! ```
//!
//! Without a cluster nobody ever says MOVED, and the one node has all slots.
//!
//! Invariants
//! - M1 At most [`NODES_MAX`] nodes are known; what would be one more is not followed.
//!
//! Source: "Redis cluster specification": key distribution model, MOVED and ASK redirection.

use super::resp::Reply;
use std::net::{IpAddr, SocketAddr};

/// Slots.
pub const SLOTS: usize = 16_384;

/// Nodes, at most.
pub const NODES_MAX: usize = 64;

/// CRC-16/XMODEM, a byte at a time.
const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 };
            bit += 1;
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "a table that is made by the compiler"
        )]
        {
            table[byte as usize] = crc;
        }
        byte += 1;
    }
    table
};

/// The slot of a key: of what stands in its first braces, if anything does.
pub fn slot(key: &[u8]) -> u16 {
    let open = memchr::memchr(b'{', key);
    let inner = open.and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..memchr::memchr(b'}', rest)?)
    });
    let tag = inner.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        let place = usize::from((crc >> 8) ^ u16::from(*byte));
        (crc << 8) ^ TABLE.get(place).copied().unwrap_or(0)
    });
    crc % 16_384
}

/// A refusal that names another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// The slot is there.
    Moved(u16, SocketAddr),
    /// This once: the slot is on its way there.
    Ask(SocketAddr),
}

/// What the error `text` of the node at `from` says; `None`: it is no redirect, or to a place
/// that cannot be reached without a name server.
pub fn redirect(text: &[u8], from: SocketAddr) -> Option<Redirect> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    let (kind, slot, at) = (words.next()?, words.next()?, words.next()?);
    let slot: u16 = slot.parse().ok()?;
    let (host, port) = at.rsplit_once(':')?;
    let at = place(host, port.parse().ok()?, from)?;
    match kind {
        "MOVED" if usize::from(slot) < SLOTS => Some(Redirect::Moved(slot, at)),
        "ASK" => Some(Redirect::Ask(at)),
        _ => None,
    }
}

/// A node's address. An empty host, or `?`, is the one that was asked.
fn place(host: &str, port: u16, from: SocketAddr) -> Option<SocketAddr> {
    let ip: IpAddr = match host {
        "" | "?" => from.ip(),
        host => host.trim_matches(['[', ']']).parse().ok()?,
    };
    (port != 0).then(|| SocketAddr::new(ip, port))
}

/// The node of each slot, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Their addresses; empty: there is no cluster.
    nodes: Vec<SocketAddr>,
    /// By slot: which of them, [`NOBODY`] unknown; empty while there is no cluster.
    owners: Box<[u8]>,
}

const NOBODY: u8 = u8::MAX;
const _: () = assert!(NODES_MAX < NOBODY as usize);

impl Map {
    /// The node that has `slot`; `None` where nobody is known to.
    pub fn owner(&self, slot: u16) -> Option<SocketAddr> {
        let node = self.owners.get(usize::from(slot))?;
        self.nodes.get(usize::from(*node)).copied()
    }

    /// All nodes.
    pub fn nodes(&self) -> &[SocketAddr] {
        &self.nodes
    }

    /// `slot` is at `at`. False when that would be one node too many (M1).
    pub fn moved(&mut self, slot: u16, at: SocketAddr) -> bool {
        let Some(node) = self.number(at) else {
            return false;
        };
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = node;
        }
        true
    }

    fn number(&mut self, at: SocketAddr) -> Option<u8> {
        if self.owners.is_empty() {
            self.owners = vec![NOBODY; SLOTS].into_boxed_slice();
        }
        let known = self.nodes.iter().position(|node| *node == at);
        let number = known.unwrap_or(self.nodes.len());
        if number >= NODES_MAX {
            return None;
        }
        if known.is_none() {
            self.nodes.push(at);
        }
        u8::try_from(number).ok()
    }

    /// Out of what the node at `from` says to `CLUSTER SLOTS`; `None` when that makes no sense.
    /// Ranges of nodes that cannot be reached, or are too many, have nobody.
    pub fn read(reply: &Reply, from: SocketAddr) -> Option<Self> {
        let mut map = Self::default();
        for range in reply.list()? {
            let [first, last, master, ..] = range.list()? else {
                return None;
            };
            let (first, last) = (first.number()?, last.number()?);
            let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
            let [host, port, ..] = master.list()? else {
                return None;
            };
            let host = match host {
                Reply::Null => "", // it does not know its own
                other => std::str::from_utf8(other.bytes()?).ok()?,
            };
            let at = place(host, u16::try_from(port.number()?).ok()?, from);
            let node = at.and_then(|at| map.number(at)).unwrap_or(NOBODY);
            if first > last || last >= SLOTS {
                return None;
            }
            if let Some(owners) = map.owners.get_mut(first..=last) {
                owners.fill(node);
            }
        }
        (!map.nodes.is_empty()).then_some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::remote::resp::read;

    fn at(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], port))
    }

    /// Goal: slots are those of the specification: the check value of the CRC, and hash tags.
    #[test]
    fn keys_have_the_slots_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b""), 0);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), {
            let crc = b"foo{}{bar}".iter().fold(0_u16, |crc, byte| {
                let place = usize::from((crc >> 8) ^ u16::from(*byte));
                (crc << 8) ^ TABLE[place]
            });
            crc % 16_384
        });
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }

    /// Goal: redirects are understood or left alone.
    #[test]
    fn redirects_name_a_node() {
        let from = at(1, 7000);
        let cases: [(&str, Option<Redirect>); 10] = [
            (
                "MOVED 3999 10.0.0.2:6381",
                Some(Redirect::Moved(3999, at(2, 6381))),
            ),
            ("ASK 3999 10.0.0.2:6381", Some(Redirect::Ask(at(2, 6381)))),
            ("MOVED 1 :6381", Some(Redirect::Moved(1, at(1, 6381)))),
            ("MOVED 1 ?:6381", Some(Redirect::Moved(1, at(1, 6381)))),
            ("MOVED 16384 10.0.0.2:6381", None),
            ("MOVED 1 10.0.0.2:0", None),
            ("MOVED 1 node.internal:6381", None),
            ("MOVED 1", None),
            ("ERR 1 10.0.0.2:1", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(redirect(text.as_bytes(), from), want, "{text}");
        }
        let six = "[::1]:7".parse().unwrap();
        assert_eq!(redirect(b"ASK 1 ::1:7", from), Some(Redirect::Ask(six)));
    }

    /// Goal: a map is read, moves, and stays bounded (M1).
    #[test]
    fn a_map_follows_its_cluster() {
        let text = b"*2\r\n*3\r\n:0\r\n:100\r\n*2\r\n$8\r\n10.0.0.2\r\n:7001\r\n\
                     *4\r\n:101\r\n:16383\r\n*2\r\n$0\r\n\r\n:7002\r\n*2\r\n$1\r\nx\r\n:1\r\n";
        let mut map = Map::read(&read(text).unwrap(), at(1, 7000)).unwrap();
        assert_eq!(map.owner(100), Some(at(2, 7001)));
        assert_eq!(map.owner(16_383), Some(at(1, 7002)));
        assert!(map.moved(5, at(9, 1)));
        assert_eq!((map.owner(5), map.nodes().len()), (Some(at(9, 1)), 3));
        for last in 0..100 {
            let fits = map.moved(6, at(100 + last, 2));
            assert_eq!(fits, usize::from(last) < NODES_MAX - 3);
        }
        assert_eq!(map.nodes().len(), NODES_MAX);
        for wrong in [
            b"*0\r\n".as_slice(),
            b"+OK\r\n",
            b"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$0\r\n\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$0\r\n\r\n:1\r\n",
            b"*1\r\n*3\r\n:-1\r\n:4\r\n*2\r\n$0\r\n\r\n:1\r\n",
            b"*1\r\n*2\r\n:0\r\n:4\r\n",
            b"*1\r\n*3\r\n:0\r\n:4\r\n*1\r\n$0\r\n\r\n",
        ] {
            assert_eq!(Map::read(&read(wrong).unwrap(), at(1, 1)), None);
        }
        assert_eq!(Map::default().owner(1), None);
    }
}
