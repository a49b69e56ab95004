"""What Waterspout must reach beside the other servers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.results import Figure, Results, Verdict, cpu_us, p50_ms, p99_ms

IDLE_BYTES = 4096


@dataclass(frozen=True)
class Target:
    """A bound on a figure; `seen` returns None where the run did not measure it."""

    what: str
    seen: Callable[[Results], float | None]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    def judge(self, results: Results) -> Verdict:
        """Compare what was seen with the bound."""
        sign, bound = ("<=", self.at_most) if self.at_least is None else (">=", self.at_least)
        seen = self.seen(results)
        reached = None
        if seen is not None and bound is not None:
            reached = seen <= bound if self.at_least is None else seen >= bound
        target = "for comparison" if bound is None else f"{sign} {bound:g} {self.unit}"
        return Verdict(self.what, target, "not measured" if seen is None else self._show(seen), reached)

    def _show(self, value: float) -> str:
        return f"{value:.2f} {self.unit}" if value < 100 else f"{value:,.0f} {self.unit}"


def _ratio(figure: Figure, of: tuple[str, str], to: tuple[str, str]) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(figure, of, to)


def _idle_bytes(results: Results) -> float | None:
    idle = results.idle.get(PRODUCT)
    return idle.bytes_per_socket if idle else None


PRODUCT, PRODUCT_JSON = "waterspout-msgpack", "waterspout-json"


def must_reach(equal_load: str) -> Sequence[Target]:
    """Return the targets; `equal_load` is the name of the open loop's shape."""
    usual, many = "100x1", "5000x1"
    product, json = (PRODUCT, usual), (PRODUCT_JSON, usual)
    cpu = "CPU per prediction, 100x1"
    return (
        Target(f"{cpu}: MessagePack / echo", _ratio(cpu_us, product, ("echo", usual)), at_most=1.6),
        Target(f"{cpu}: stock Tornado / MessagePack", _ratio(cpu_us, ("tornado", usual), product), at_least=9),
        Target(f"{cpu}: JSON / echo", _ratio(cpu_us, json, ("echo", usual)), at_most=2.2),
        Target(f"{cpu}: JSON / echo of the same bytes", _ratio(cpu_us, json, ("echo-json", usual)), at_most=2.2),
        Target(f"{cpu}: MessagePack / minimal server", _ratio(cpu_us, product, ("spike", usual))),
        Target("p50, 1x1: MessagePack / echo", _ratio(p50_ms, (PRODUCT, "1x1"), ("echo", "1x1")), at_most=1.7),
        Target(
            f"p99, {equal_load}: MessagePack / minimal server",
            _ratio(p99_ms, (PRODUCT, equal_load), ("spike", equal_load)),
            at_most=1.5,
        ),
        Target("CPU per prediction: 5000x1 / 100x1", _ratio(cpu_us, (PRODUCT, many), product), at_most=1.3),
        Target("CPU per message of the echo: 5000x1 / 100x1", _ratio(cpu_us, ("echo", many), ("echo", usual))),
        Target("RSS per idle socket", _idle_bytes, at_most=IDLE_BYTES, unit="bytes"),
    )
