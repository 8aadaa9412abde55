//! Judges the addresses that requests may go to: the guard against request forgery. Whoever may insert a task chooses its URL,
//! so public addresses are allowed and everything else only by `ALLOW_PRIVATE`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::special::{Class, SpecialRange, embedded_ipv4, range_of};

/// The networks of `ALLOW_PRIVATE`. The default allows public addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// An address that the policy forbids, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ForbiddenAddress {
    pub address: IpAddr,
    pub range: &'static SpecialRange,
}

/// Entries of `ALLOW_PRIVATE` that are no networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ALLOW_PRIVATE: {0}")]
pub struct BadNetworks(String);

impl AddressPolicy {
    /// Returns `true` if no network is allowed beyond the public internet.
    pub fn is_public_only(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Returns the allowed networks, for the line that start-up logs.
    pub fn allowed(&self) -> &[IpNet] {
        &self.allowed
    }

    /// Returns `Ok` if a connection to the address is allowed. An address that is translated into an IPv4 address needs both
    /// to be.
    pub fn judge(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        let address = address.to_canonical();
        if let Some(range) = range_of(address)
            && !self.opens(range, address)
        {
            return Err(ForbiddenAddress { address, range });
        }
        match embedded_ipv4(address) {
            Some(inner) => self.judge(IpAddr::V4(inner)),
            None => Ok(()),
        }
    }

    /// Returns the addresses if all of them are allowed. One forbidden address condemns the others: the answer is the
    /// attacker's.
    pub fn judge_all(&self, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, ForbiddenAddress> {
        addresses.iter().try_for_each(|address| self.judge(*address))?;
        Ok(addresses)
    }

    fn opens(&self, range: &SpecialRange, address: IpAddr) -> bool {
        let covering = |net: &&IpNet| net.contains(&address);
        let exact = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        match range.class {
            Class::Private | Class::Reserved => self.allowed.iter().any(|net| covering(&net)),
            Class::Sensitive => self.allowed.iter().filter(covering).any(exact),
        }
    }
}

impl FromStr for AddressPolicy {
    type Err = BadNetworks;

    /// Reads networks and single addresses, separated by commas or blanks.
    fn from_str(text: &str) -> Result<Self, BadNetworks> {
        let words = text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
        let (allowed, faults): (Vec<_>, Vec<_>) = words.map(network).partition(Result::is_ok);
        let faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
        if !faults.is_empty() {
            return Err(BadNetworks(faults.join(" ")));
        }
        Ok(Self { allowed: allowed.into_iter().filter_map(Result::ok).collect() })
    }
}

/// Reads one network; a network of IPv4 addresses mapped into IPv6 is the IPv4 network.
fn network(word: &str) -> Result<IpNet, String> {
    let parsed = word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
    let net = parsed.map_err(|_| format!("{word:?} is no network: write 10.0.0.0/8, or one address."))?;
    if net.trunc() != net {
        return Err(format!("{word} has bits beyond its prefix: did you mean {}?", net.trunc()));
    }
    Ok(match (net.addr().to_canonical(), net) {
        (IpAddr::V4(address), IpNet::V6(mapped)) if mapped.prefix_len() >= 96 => {
            Ipv4Net::new(address, mapped.prefix_len() - 96).map_or(net, IpNet::V4)
        }
        _ => net,
    })
}

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the address {} is not public ({}, {})", self.address, self.range.name, self.range.net)
    }
}

impl ForbiddenAddress {
    /// Returns the entry of `ALLOW_PRIVATE` that would allow the address, where suggesting it is safe.
    pub fn suggestion(&self) -> Option<IpNet> {
        (self.range.class == Class::Private).then_some(self.range.net)
    }
}

/// Opens everything that a test on this machine needs: loopback.
#[cfg(test)]
pub(super) fn loopback() -> AddressPolicy {
    "127.0.0.0/8,::1".parse().expect("networks")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> AddressPolicy {
        text.parse().expect(text)
    }

    fn allows(policy: &AddressPolicy, address: &str) -> bool {
        policy.judge(address.parse().expect(address)).is_ok()
    }

    #[test]
    fn only_public_addresses_are_allowed_by_default() {
        let policy = AddressPolicy::default();
        assert!(allows(&policy, "93.184.215.14") && allows(&policy, "2606:4700::1111"));
        for address in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "::ffff:192.168.0.1", "0.0.0.0", "169.254.169.254"] {
            assert!(!allows(&policy, address), "{address}");
        }
    }

    #[test]
    fn a_named_network_is_allowed_and_its_neighbour_is_not() {
        let policy = policy("172.18.0.0/16, fd00:1::/32 ::1");
        for address in ["172.18.0.0", "172.18.255.255", "::ffff:172.18.0.1", "fd00:1::7", "::1"] {
            assert!(allows(&policy, address), "{address}");
        }
        for address in ["172.17.255.255", "172.19.0.0", "fd00:2::7", "127.0.0.1"] {
            assert!(!allows(&policy, address), "{address}");
        }
    }

    #[test]
    fn metadata_and_link_local_need_to_be_named_exactly() {
        for wide in ["0.0.0.0/0,::/0", "169.254.0.0/16,fe80::/10,fd00::/8", "169.254.169.252/30,fd00:ec2::/64"] {
            for address in ["169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254"] {
                assert!(!allows(&policy(wide), address), "{wide} must not open {address}");
            }
        }
        assert!(allows(&policy("169.254.169.254"), "169.254.169.254"));
        assert!(allows(&policy("fe80::1/128"), "fe80::1"));
    }

    #[test]
    fn a_translated_address_needs_the_translator_and_what_is_behind_it() {
        let nat64 = policy("64:ff9b::/96");
        assert!(allows(&nat64, "64:ff9b::8.8.8.8"));
        assert!(!allows(&nat64, "64:ff9b::10.0.0.1"));
        assert!(!allows(&nat64, "64:ff9b::169.254.169.254"));
        assert!(!allows(&policy("10.0.0.0/8"), "64:ff9b::10.0.0.1"));
        assert!(allows(&policy("10.0.0.0/8,64:ff9b::/96"), "64:ff9b::10.0.0.1"));
    }

    #[test]
    fn one_forbidden_address_condemns_the_answer() {
        let answer = ["93.184.215.14", "10.0.0.1"].map(|text| text.parse().expect(text)).to_vec();
        let forbidden = AddressPolicy::default().judge_all(answer.clone()).expect_err("mixed");
        assert_eq!(forbidden.address, answer[1]);
        assert_eq!(policy("10.0.0.0/8").judge_all(answer.clone()), Ok(answer));
    }

    #[test]
    fn words_that_are_no_networks_are_all_named() {
        let error =
            "10.0.0.0/8,10.0.0.1/8,nonsense,300.1.1.1".parse::<AddressPolicy>().expect_err("faults").to_string();
        for part in ["10.0.0.1/8", "10.0.0.0/8?", "\"nonsense\"", "\"300.1.1.1\""] {
            assert!(error.contains(part), "{error}");
        }
        assert!(policy(" , ").is_public_only());
    }

    #[test]
    fn a_refusal_says_address_and_range_and_suggests_only_what_is_safe() {
        let refusal = |text: &str| AddressPolicy::default().judge(text.parse().expect(text)).expect_err(text);
        let loopback = refusal("127.0.0.1");
        assert_eq!(loopback.to_string(), "the address 127.0.0.1 is not public (loopback, 127.0.0.0/8)");
        assert_eq!(loopback.suggestion().map(|net| net.to_string()).as_deref(), Some("127.0.0.0/8"));
        assert_eq!(refusal("169.254.169.254").suggestion(), None);
        assert_eq!(refusal("fe80::1").suggestion(), None);
    }
}
