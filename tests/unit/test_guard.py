"""Which addresses are open, what the operator may open, and how an address is read."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError, UrlRefused
from sightline.net import guard as guards
from sightline.net.connect import _require_peer
from sightline.net.guard import Guard, is_own, is_public, parse_allowed
from sightline.net.url import parse

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255",
    "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2606:2800:220:1:248:1893:25c8:1946", "2001:4860:4860::8888",
    "2001:200::1", "2a00::1", "64:ff9b::8.8.8.8", "3ffd::1", "3fff:1000::1",
]  # fmt: skip
INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8", "100::1", "100:0:0:1::1", "1fff::1", "2001::1", "2001:0:53aa:64c::1",
    "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "3ffe::1", "3fff::1", "3fff:fff:ffff::1", "4000::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%eth0",
    "2606:2800:220:1::1%eth0", "fec0::1", "ff02::1", "ffff::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_ordinary_addresses_are_open(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_all_others_are_not(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert not Guard().permits("x.test", address, 80)


@given(st.ip_addresses())
def test_nothing_is_open_that_python_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        nat64 = address in ipaddress.ip_network("64:ff9b::/96")
        assert nat64 or not is_public(address)


def test_only_the_webs_ports_are_open() -> None:
    address = ipaddress.ip_address("93.184.216.34")
    assert [port for port in range(1, 65536) if Guard().permits("x", address, port)] == [80, 443]


def test_this_machines_own_addresses_are_known() -> None:
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert is_own(ipaddress.ip_address("::1"))
    assert not is_own(ipaddress.ip_address("93.184.216.34"))
    assert not is_own(ipaddress.ip_address("2606:2800:220:1::1"))


def test_an_own_address_is_refused_though_it_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ipaddress.ip_address("93.184.216.34")
    monkeypatch.setattr(guards, "is_own", lambda address: address == own)
    assert not Guard().permits("x", own, 80)
    assert not Guard().permits("x", ipaddress.ip_address("64:ff9b::93.184.216.34"), 80)
    assert Guard().permits("x", ipaddress.ip_address("93.184.216.35"), 80)


@pytest.mark.parametrize(
    ("listed", "host", "address", "port", "open_"),
    [
        ("camera.lan", "camera.lan", "10.1.2.3", 8080, True),
        ("Camera.LAN.", "camera.lan", "10.1.2.3", 80, True),
        ("bücher.test", "xn--bcher-kva.test", "10.1.2.3", 80, True),
        ("camera.lan", "a.camera.lan", "10.1.2.3", 80, False),
        ("camera.lan", "camera.la", "10.1.2.3", 80, False),
        ("camera.lan:8080", "camera.lan", "10.1.2.3", 8080, True),
        ("camera.lan:8080", "camera.lan", "10.1.2.3", 80, False),
        ("camera.lan:8080", "camera.lan", "93.184.216.34", 80, True),
        ("10.1.2.3", "x", "10.1.2.3", 9, True),
        ("10.1.2.3", "x", "10.1.2.4", 80, False),
        ("10.1.2.3:81", "x", "10.1.2.3", 81, True),
        ("10.1.2.3:81", "x", "10.1.2.3", 80, False),
        ("10.1.0.0/16", "x", "10.1.99.1", 80, True),
        ("10.1.0.0/16", "x", "10.2.0.1", 80, False),
        ("10.1.0.0/16:81", "x", "10.1.2.3", 81, True),
        ("10.1.0.0/16", "x", "::ffff:10.1.2.3", 80, False),
        ("fd00::1", "x", "fd00::1", 99, True),
        ("fd00::/8", "x", "fd12::1", 99, True),
        ("[fd00::/8]:99", "x", "fd12::1", 99, True),
        ("[fd00::/8]:99", "x", "fd12::1", 98, False),
        ("[::1]", "x", "::1", 98, True),
        (" , a.test , 10.0.0.1,", "x", "10.0.0.1", 98, True),
        ("", "x", "10.0.0.1", 80, False),
    ],
)
def test_the_operator_opens_hosts_and_networks(
    listed: str, host: str, address: str, port: int, open_: bool
) -> None:
    guard = Guard(parse_allowed(listed))
    assert guard.permits(host, ipaddress.ip_address(address), port) is open_


@pytest.mark.parametrize(
    "entry",
    [
        "10.1.2.3/8", "10.0.0.0/33", "camera.lan:0", "camera.lan:65536", "camera.lan:http", "a b",
        "http://camera.lan", "*.lan", "[fd00::1", "fd00::1]:80", "[10.0.0.1]:80", "fe80::1%eth0",
        "256.1.1.1", "127.1", "0x7f.0.0.1", ":80", "/8", "a/8", "user@host", "[::1]:", "a:80:80",
    ],
)  # fmt: skip
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_allowed(f"good.test,{entry}")
    assert f"'{entry}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "authority", "target"),
    [
        ("http://a.test", "a.test", "/"),
        ("HTTPS://A.Test./x", "a.test", "/x"),
        ("http://a.test:80/", "a.test", "/"),
        ("https://a.test:80/", "a.test:80", "/"),
        ("http://a.test:/?q#fragment", "a.test", "/?q"),
        ("http://a_b.test/%2e%2E/ü b?ü=|", "a_b.test", "/%2e%2E/%C3%BC%20b?%C3%BC=|"),
        ("http://bücher.test/", "xn--bcher-kva.test", "/"),
        ("http://93.184.216.34/", "93.184.216.34", "/"),
        ("http://[2606:2800:0::1]:8080/@x", "[2606:2800::1]:8080", "/@x"),
        ("http://a.test?x", "a.test", "/?x"),
    ],
)
def test_addresses_are_read_once(text: str, authority: str, target: str) -> None:
    url = parse(text)
    assert (url.authority, url.path + url.query) == (authority, target)


@given(st.text(max_size=60))
def test_whatever_is_read_is_plain(tail: str) -> None:
    try:
        url = parse(f"http://{tail}")
    except UrlRefused:
        return
    assert url.authority.isascii()
    assert (url.path + url.query).isascii()
    assert not set(url.host) & set("@%\\/?# ")
    assert 1 <= url.port <= 65535


def test_a_connection_to_another_peer_is_not_used() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
    ):
        _require_peer(connection, ipaddress.IPv4Address("127.0.0.1"))
        with pytest.raises(ConnectionError):
            _require_peer(connection, ipaddress.IPv4Address("93.184.216.34"))
