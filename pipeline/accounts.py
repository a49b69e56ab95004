"""Who pays: what a socket or a request may still do, and where it is counted what it did."""

from pipeline.allowances import Allowances
from pipeline.inference_account import InferenceAccount
from pipeline.limits import Meter
from pipeline.usage import Tally, Usage


class Account:
    """One socket's, or one request's. An event costs it some tens of ns."""

    __slots__ = ("_accounts", "_name", "_tallies", "meter")

    def __init__(self, accounts: "Accounts", name: str | None, meter: Meter) -> None:
        """`name`: of the identity; None for a guest, who has yet to say it."""
        self._accounts = accounts
        self._name = name
        self._tallies: dict[str, Tally] = {}
        self.meter = meter

    def __repr__(self) -> str:
        return f"<Account of {self._name!r} {self.meter!r}>"

    def take_event(self, size: int, now: float) -> None:
        """Take an event of `size` bytes. Raises `RateLimited`."""
        if self.meter.take_event(size, now):
            raise self.meter.refused

    def take_events(self, count: int, size: int, now: float) -> None:
        """Take so many events of `size` bytes in all. Raises `RateLimited`; none is taken then."""
        if self.meter.take_events(count, size, now):
            raise self.meter.refused

    def take_control(self, now: float) -> None:
        """Take an operation that is no event. Raises `RateLimited`."""
        if self.meter.take_control(now):
            raise self.meter.refused

    def tally(self, model: str) -> Tally:
        """Return where to count what is done for a model."""
        tally = self._tallies.get(model)
        if tally is None:
            tally = self._tallies[model] = self._accounts.usage.open(self._name or "", model)
        return tally

    def identify(self, name: str, now: float) -> None:
        """Count for another identity from now on. Raises `RateLimited`; nothing has changed then."""
        if name != self._name:
            self._accounts.allowances.identify(self.meter, name, now)
            self._end_tallies()
            self._name = name

    def close(self) -> None:
        """Give everything back: the socket or the request is gone."""
        self.meter.close()
        self._end_tallies()

    def _end_tallies(self) -> None:
        for tally in self._tallies.values():
            self._accounts.usage.close(tally)
        self._tallies = {}


class Accounts:
    """Opens the accounts of a process."""

    def __init__(self, allowances: Allowances, usage: Usage) -> None:
        self.allowances = allowances
        self.usage = usage

    def open_socket(self, identity: str | None, address: str, now: float) -> Account:
        """Return the account of a new socket. Raises `RateLimited`."""
        return Account(self, identity, self.allowances.open_socket(identity, address, now))

    def open_request(self, identity: str | None, address: str, now: float) -> Account:
        """Return the account of a request that is no socket."""
        return Account(self, identity, self.allowances.open_request(identity, address, now))

    def open_inference(self, identity: str | None, address: str, now: float) -> InferenceAccount:
        """Return the account of a request for inference, which pays for its bytes first."""
        return InferenceAccount(self.allowances.of(identity, address, now), self.usage, identity)
