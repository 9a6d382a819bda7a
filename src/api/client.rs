//! Who asks: a client's network address, and the keyed hash of it that may enter the log.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use hmac::{Hmac, Mac as _};
use infernet_state::config::ClientId;
use sha2::Sha256;

/// The key of clients' hashes: without it nobody can tell from a log who asked. Never printed.
#[derive(Clone)]
pub struct ClientKey([u8; 32]);

impl ClientKey {
    /// A key from 32 random bytes that outlive restarts: with another key every client is new.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA-256 of the address, cut to 16 bytes. An IPv4 address is the same client however
    /// it is mapped; an IPv6 network of 64 bits, which one subscriber has to himself, is one.
    #[must_use]
    pub fn id(&self, address: IpAddr) -> ClientId {
        let mut id = [0; 16];
        // A key of any length is a key of HMAC.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) {
            match address.to_canonical() {
                IpAddr::V4(address) => mac.update(&address.octets()),
                IpAddr::V6(address) => mac.update(&address.octets()[..8]),
            }
            let digest = mac.finalize().into_bytes();
            id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        }
        ClientId(id)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(***)")
    }
}

/// Whether an address is one of this machine or of a private network, as Docker's are: who may
/// report the status of jobs.
pub(super) fn is_private(peer: SocketAddr) -> bool {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_address_under_the_key() {
        let key = ClientKey::new([1; 32]);
        let id = |address: &str| key.id(address.parse().unwrap());
        assert_eq!(id("10.0.0.1"), id("::ffff:10.0.0.1"));
        assert_ne!(id("10.0.0.1"), id("10.0.0.2"));
        assert_eq!(id("2001:db8:1:2::1"), id("2001:db8:1:2:ffff::2"));
        assert_ne!(id("2001:db8:1:2::1"), id("2001:db8:1:3::1"));
        assert_ne!(
            id("10.0.0.1"),
            ClientKey::new([2; 32]).id("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn private_is_what_no_stranger_can_have() {
        let private = |address: &str| is_private(SocketAddr::new(address.parse().unwrap(), 1));
        for address in [
            "127.0.0.1",
            "172.17.0.2",
            "192.168.1.1",
            "::1",
            "fd00::1",
            "::ffff:10.1.2.3",
        ] {
            assert!(private(address), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!private(address), "{address}");
        }
    }
}
