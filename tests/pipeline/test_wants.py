"""What a process wants of others is as little as its watchers need, and is asked for once."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.audience import Choice
from pipeline.fanout_messages import MAX_WANTED
from pipeline.topics import Pattern
from pipeline.wants import SLOWEST_HZ, Wanted, Wants, unite

NAMES = ["m/a", "m/b", "n/a", "nm/a", "$stats", "$alerts"]
PATTERNS = ["*/*", "m/*", "n/*", "*/a", "m/a", "m/b", "*m/a", "n*/*", "$stats", "$alerts"]


def choice(*patterns: str, hz: float = 1.0, inputs: bool = False) -> Choice:
    return Choice(patterns, hz, inputs)


@given(st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1).map(tuple), max_size=5))
def test_what_is_wanted_is_what_fits_any_pattern(texts: list[tuple[str, ...]]) -> None:
    patterns, _, _ = unite(choice(*some) for some in texts)
    wanted = Wanted(patterns)
    for name in NAMES:
        assert wanted.fits(name) == any(
            Pattern(text).fits(name) for some in texts for text in some if text[0] != "$" and name[0] != "$"
        )
    assert bool(wanted) == any(text[0] != "$" for some in texts for text in some)


def test_the_greatest_rate_and_the_inputs_of_predictions_are_wanted() -> None:
    assert unite([]) == (set(), SLOWEST_HZ, False)
    assert unite([choice("$stats", hz=60.0, inputs=True)]) == (set(), SLOWEST_HZ, False)
    assert unite([choice("m/a", hz=5), choice("m/b", hz=2, inputs=True)]) == ({"m/a", "m/b"}, 5, True)


def test_what_another_pattern_includes_is_left_out() -> None:
    assert unite([choice("m/a", "m/*", "n/a")])[0] == {"m/*", "n/a"}
    assert unite([choice("m/a"), choice("*/*")])[0] == {"*/*"}
    assert unite([choice("m*/*", "m/a")])[0] == {"m*/*", "m/a"}


def test_more_patterns_than_fit_a_card_become_one() -> None:
    many = [choice(f"m/{n}") for n in range(MAX_WANTED)]
    assert len(unite(many)[0]) == MAX_WANTED
    assert unite([*many, choice("m/x")])[0] == {"*/*"}


def test_only_what_is_new_is_asked_for() -> None:
    wants = Wants()
    assert not wants.update([])
    assert wants.update([choice("m/a")])
    assert wants.patterns == {"m/a": 1}
    assert not wants.update([choice("m/a"), choice("$alerts")])
    assert wants.update([choice("m/a"), choice("m/b", "m/c")])
    assert wants.patterns == {"m/a": 1, "m/b": 2, "m/c": 2}
    assert wants.update([choice("m/b", hz=5.0)])
    assert (wants.patterns, wants.number, wants.hz) == ({"m/b": 2}, 2, 5.0)
    assert wants.update([choice("m/b", hz=5.0, inputs=True)])
    assert wants.patterns == {"m/b": 3}
    assert wants.update([choice("m/b", hz=5.0)])
    assert (wants.patterns, wants.inputs) == ({"m/b": 3}, False)


def test_one_sender_can_be_asked_again() -> None:
    wants = Wants()
    wants.update([choice("m/a")])
    assert wants.ask_again("s") == 2
    assert (wants.again, wants.number, wants.patterns) == ({"s": 2}, 2, {"m/a": 1})
    wants.forget("s")
    wants.forget("t")
    assert wants.again == {}
