"""The allowances of all identities and addresses that a process knows; the number of them is bounded."""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Final

from pipeline.limit_config import Limits, by_name
from pipeline.limits import Allowance, Meter
from pipeline.settings import Settings

REMEMBERED: Final = 20_000  # of each kind, beside those that have open sockets
LOOKED_AT: Final = 8  # allowances that are looked at to forget one


class AllowanceTable:
    """The allowances of one kind by name; the one that was asked for longest ago makes room for a new one.

    Those with open sockets are never forgotten, nor those that have used up something, as long as others are there.
    """

    __slots__ = ("_default", "_most", "_of", "_own", "_table", "on_new", "refusals", "share")

    def __init__(self, of: str, default: Limits, own: Mapping[str, Limits], most: int, share: float = 1.0) -> None:
        """`own`: limits of those that have others than the default; `most` are remembered; `share` a new one has."""
        self._of = of
        self._default = default
        self._own = own
        self._most = most
        self._table: dict[str, Allowance] = {}
        self.share = share
        self.on_new: list[Callable[[Allowance], object]] = []
        self.refusals: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"<AllowanceTable of {self._of} {len(self)}/{self._most} refusals={self.refusals}>"

    def of(self, name: str, now: float) -> Allowance:
        """Return the allowance of a name, which is full if it is new."""
        allowance = self._table.pop(name, None)
        if allowance is None:
            if len(self._table) >= self._most:
                self._make_room(now)
            limits = self._own.get(name, self._default)
            allowance = Allowance(self._of, name, limits, self.refusals, now, self.share)
            for tell in self.on_new:
                tell(allowance)
        self._table[name] = allowance  # behind all others
        return allowance

    def all(self) -> list[Allowance]:
        """Return all that are remembered, the one asked for last at the end."""
        return list(self._table.values())

    def _make_room(self, now: float) -> None:
        """Forget those of the oldest that are idle; where all have used up something, one that has no socket."""
        oldest = list(islice(self._table.values(), LOOKED_AT))
        for allowance in oldest:
            if len(self._table) >= self._most and allowance.is_idle(now):
                del self._table[allowance.name]
        if len(self._table) < self._most:
            return
        unused = next((allowance for allowance in oldest if not allowance.sockets.used), None)
        if unused is not None:
            self._table.pop(unused.name, None)
        for busy in oldest:  # next time others are looked at
            if busy.sockets.used:
                self._table[busy.name] = self._table.pop(busy.name)


class Allowances:
    """All allowances of a process; makes the meters of its sockets."""

    __slots__ = ("addresses", "identities")

    def __init__(self, identities: AllowanceTable, addresses: AllowanceTable) -> None:
        self.identities = identities
        self.addresses = addresses

    def open_socket(self, identity: str | None, address: str, now: float) -> Meter:
        """Return the meter of a new socket. Raises `RateLimited`; nothing has been counted then."""
        allowances = self.of(identity, address, now)
        for allowance in allowances:
            allowance.check_opening(now)
        for allowance in allowances:
            allowance.open()
        return Meter(allowances)

    def identify(self, meter: Meter, identity: str, now: float) -> None:
        """Count a socket under an identity that has just become known. Raises `RateLimited`, nothing changed."""
        meter.identify(self.identities.of(identity, now), now)

    def open_request(self, identity: str | None, address: str, now: float) -> Meter:
        """Return the meter of a request, which is no socket."""
        return Meter(self.of(identity, address, now), 0)

    def take_request(self, identity: str | None, address: str, count: int, size: int, now: float) -> None:
        """Take the events of a request at once. Raises `RateLimited`."""
        meter = self.open_request(identity, address, now)
        if meter.take_events(count, size, now):
            raise meter.refused
        meter.close()

    def of(self, identity: str | None, address: str, now: float) -> list[Allowance]:
        """Return those that somebody is bounded by."""
        found = [self.addresses.of(address_group(address), now)]
        if identity is not None:
            found.append(self.identities.of(identity, now))
        return found


def make_allowances(settings: Settings) -> Allowances:
    """Return the allowances of a process. Those of one `--processes` that cannot ask each other have equal parts."""
    share = 1.0 if settings.redis is not None else 1 / settings.processes
    own = by_name(settings.identity_limits, settings.limits_of)
    return Allowances(
        AllowanceTable("identity", settings.identity_limits, own, REMEMBERED, share),
        AllowanceTable("address", settings.address_limits, {}, REMEMBERED, share),
    )


def address_group(address: str) -> str:
    """Return whom an address belongs to: a single IPv4 address, or the /64 of an IPv6 address, which one host can have.

    What is no IP address, as that of a Unix socket, is left as it is.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:128]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
