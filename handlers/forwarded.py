"""What proxies say of the clients behind them, and whom of them to believe."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Scheme = Literal["http", "https"]

MAX_HOPS: Final = 32  # that are looked at; more of them are nobody's network

_KNOWN: Final = 1024  # addresses of which it is remembered whether they are trusted


class Proxies:
    """The networks of the proxies that are trusted.

    Each proxy adds the address that it was asked from to the end of `X-Forwarded-For`. So what was added by those that
    are trusted is true, and what stands before that is what a stranger claims.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        """Take addresses or networks (CIDR). Raises `ValueError` for anything else."""
        self._networks = [read_network(network) for network in networks]
        self.trusts = lru_cache(_KNOWN)(self._trusts)

    def __repr__(self) -> str:
        return f"<Proxies {' '.join(map(str, self._networks))}>"

    def client(self, peer: str, forwarded_for: str) -> str:
        """Return the address nearest to us that is no trusted proxy's.

        `peer` is who the connection is from, `forwarded_for` the header, empty where there is none. What is no address
        ends the search at the proxy that passed it on.
        """
        if not self._networks or not forwarded_for or not self.trusts(peer):
            return peer
        client = peer
        for hop in reversed(forwarded_for.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            address = read_address(hop)
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def scheme(self, peer: str, own: Scheme, forwarded_proto: str) -> Scheme:
        """Return what the client speaks: `own` is what the peer does, unless that is trusted to know better."""
        if not self._networks or not forwarded_proto or not self.trusts(peer):
            return own
        match forwarded_proto.rpartition(",")[2].strip().lower():
            case "http":
                return "http"
            case "https":
                return "https"
        return own

    def _trusts(self, text: str) -> bool:
        address = read_address(text)
        return address is not None and any(address in network for network in self._networks)


def read_network(text: str) -> Network:
    """Return a network; one of IPv4 addresses that are written as IPv6 addresses as what it is. Raises `ValueError`."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and (first := network[0].ipv4_mapped) is not None:
        return IPv4Network((first, network.prefixlen - 96))
    return network


def read_address(text: str) -> Address | None:
    """Return an address as proxies write it, with or without port and brackets; None for anything else.

    An IPv4 address that is written as an IPv6 address is the same client as without.
    """
    text = text.strip()
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdecimal() and len(text) <= 6
