//! Lists the address ranges that are not the public internet, from IANA's special-purpose registries and what clouds add to
//! them. The standard library's `is_global` is unstable, and the guard must not change with a compiler.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// A range whose addresses the guard refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    pub net: IpNet,
    pub name: &'static str,
    pub class: Class,
}

/// How a range can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Networks that people run services in: `ALLOW_PRIVATE` opens any part of them, and start-up suggests it.
    Private,
    /// Link-local and metadata addresses: only an entry that names the one address opens it.
    Sensitive,
    /// Everything else that is not public. `ALLOW_PRIVATE` opens it, but nothing suggests that.
    Reserved,
}

/// The first range that contains an address decides.
const RANGES: &[(&str, &str, Class)] = &[
    // metadata services, which give credentials to whoever asks
    ("169.254.169.254/32", "metadata service", Class::Sensitive),
    ("169.254.170.2/32", "metadata service", Class::Sensitive),
    ("100.100.100.200/32", "metadata service", Class::Sensitive),
    ("168.63.129.16/32", "metadata service", Class::Sensitive),
    ("fd00:ec2::254/128", "metadata service", Class::Sensitive),
    ("fd20:ce::254/128", "metadata service", Class::Sensitive),
    ("169.254.0.0/16", "link-local", Class::Sensitive),
    ("fe80::/10", "link-local", Class::Sensitive),
    // IPv4
    ("0.0.0.0/8", "this network", Class::Reserved),
    ("10.0.0.0/8", "private use", Class::Private),
    ("100.64.0.0/10", "shared address space", Class::Private),
    ("127.0.0.0/8", "loopback", Class::Private),
    ("172.16.0.0/12", "private use", Class::Private),
    ("192.0.0.9/32", "", Class::Reserved),
    ("192.0.0.10/32", "", Class::Reserved),
    ("192.0.0.0/24", "protocol assignments", Class::Reserved),
    ("192.0.2.0/24", "documentation", Class::Reserved),
    ("192.88.99.0/24", "6to4 relay", Class::Reserved),
    ("192.168.0.0/16", "private use", Class::Private),
    ("198.18.0.0/15", "benchmarking", Class::Reserved),
    ("198.51.100.0/24", "documentation", Class::Reserved),
    ("203.0.113.0/24", "documentation", Class::Reserved),
    ("224.0.0.0/4", "multicast", Class::Reserved),
    ("255.255.255.255/32", "broadcast", Class::Reserved),
    ("240.0.0.0/4", "reserved", Class::Reserved),
    // IPv6
    ("::/128", "unspecified", Class::Reserved),
    ("::1/128", "loopback", Class::Private),
    ("64:ff9b::/96", "NAT64", Class::Reserved),
    ("64:ff9b:1::/48", "local NAT64", Class::Reserved),
    ("100::/64", "discard", Class::Reserved),
    ("2001::/32", "Teredo", Class::Reserved),
    ("2001::/23", "protocol assignments", Class::Reserved),
    ("2001:db8::/32", "documentation", Class::Reserved),
    ("2002::/16", "6to4", Class::Reserved),
    ("3fff::/20", "documentation", Class::Reserved),
    ("5f00::/16", "segment routing", Class::Reserved),
    ("fc00::/7", "unique local", Class::Private),
    ("fec0::/10", "site-local", Class::Reserved),
    ("ff00::/8", "multicast", Class::Reserved),
    // public unicast is 2000::/3; what else there may be is not known
    ("::/3", "reserved", Class::Reserved),
    ("4000::/2", "reserved", Class::Reserved),
    ("8000::/1", "reserved", Class::Reserved),
];

static TABLE: LazyLock<Vec<SpecialRange>> = LazyLock::new(|| {
    let parsed = |net: &str| net.parse().expect("the ranges are written as networks");
    RANGES.iter().map(|&(net, name, class)| SpecialRange { net: parsed(net), name, class }).collect()
});

/// Returns the range that makes the address special, or `None` for a public one. An IPv4 address mapped into IPv6 is judged as
/// the IPv4 address.
pub fn range_of(address: IpAddr) -> Option<&'static SpecialRange> {
    let address = address.to_canonical();
    // a range without a name is a public exception
    TABLE.iter().find(|range| range.net.contains(&address)).filter(|range| !range.name.is_empty())
}

/// Returns the IPv4 address that a NAT64 or 6to4 address leads to.
pub fn embedded_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, .., y, z] = address.segments();
    match (a, b) {
        (0x2002, high) => Some(join(high, address.segments()[2])),
        (0x64, 0xff9b) => Some(join(y, z)),
        _ => None,
    }
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// Returns the addresses that `localhost` stands for.
pub fn localhost() -> [IpAddr; 2] {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(address: &str) -> bool {
        range_of(address.parse().unwrap_or_else(|_| panic!("{address}"))).is_some()
    }

    /// First and last address of every IPv4 range that must be refused, and its public neighbours.
    #[test]
    fn ipv4_ranges_are_special_from_their_first_to_their_last_address() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.8"),
            ("192.0.0.11", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "239.255.255.255"),
            ("240.0.0.0", "255.255.255.255"),
        ] {
            let [first, last] = [first, last].map(|text| text.parse::<Ipv4Addr>().expect(text));
            for inside in [first, last, Ipv4Addr::from_bits(first.to_bits().midpoint(last.to_bits()))] {
                assert!(special(&inside.to_string()), "{inside}");
            }
        }
        for public in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.0.9",
            "192.0.0.10",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
        ] {
            assert!(!special(public), "{public}");
        }
    }

    #[test]
    fn ipv6_ranges_are_special_and_only_global_unicast_is_public() {
        for inside in [
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "3fff:fff:ffff::1",
            "4000::1",
            "5f00::1",
            "8000::1",
            "a000::1",
            "fc00::1",
            "fdff::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
        ] {
            assert!(special(inside), "{inside}");
        }
        for public in ["2000::1", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "3ffe::1", "::ffff:8.8.8.8"]
        {
            assert!(!special(public), "{public}");
        }
    }

    #[test]
    fn metadata_and_link_local_addresses_are_sensitive() {
        for address in ["169.254.169.254", "169.254.170.2", "169.254.1.1", "fe80::1", "fd00:ec2::254", "168.63.129.16"]
        {
            let range = range_of(address.parse().expect(address)).expect(address);
            assert_eq!(range.class, Class::Sensitive, "{address}");
        }
    }

    #[test]
    fn the_ipv4_address_behind_a_translated_one_is_found() {
        let inner = |address: &str| embedded_ipv4(address.parse().expect(address)).map(|inner| inner.to_string());
        assert_eq!(inner("64:ff9b::10.1.2.3").as_deref(), Some("10.1.2.3"));
        assert_eq!(inner("2002:a01:203::1").as_deref(), Some("10.1.2.3"));
        assert_eq!(inner("2606:4700::1111"), None);
    }
}
