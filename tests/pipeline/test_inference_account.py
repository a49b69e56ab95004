"""What a request for inference pays: its bytes first, then its rows."""

import pytest

from pipeline.accounts import Accounts
from pipeline.allowances import Allowances, AllowanceTable
from pipeline.errors import RateLimited
from pipeline.inference_account import InferenceAccount
from pipeline.limit_config import Limits
from pipeline.usage import Usage

NONE = Limits()


def accounts(identity: Limits = NONE, address: Limits = NONE) -> Accounts:
    tables = [AllowanceTable(of, limits, {}, 10) for of, limits in (("identity", identity), ("address", address))]
    return Accounts(Allowances(*tables), Usage())


def request(everyone: Accounts, now: float = 0.0) -> InferenceAccount:
    return everyone.open_inference("acme", "10.0.0.1", now)


def test_without_limits_everything_goes() -> None:
    account = request(accounts())
    account.take_bytes(1 << 40, 0.0)
    account.take_rows(1 << 40, 0.0)


def test_bytes_are_spent_though_the_rows_are_refused() -> None:
    everyone = accounts(Limits(bytes_per_second=1000, events_per_second=10, burst_seconds=1))
    first, second = request(everyone), request(everyone)
    first.take_bytes(600, 0.0)
    first.take_rows(8, 0.0)
    second.take_bytes(300, 0.0)
    with pytest.raises(RateLimited, match=r"^events_per_second: this identity may have 10$") as caught:
        second.take_rows(3, 0.0)
    assert caught.value.retry_after_ms == 101
    with pytest.raises(RateLimited, match=r"^bytes_per_second: this identity may have 1000$") as caught:
        request(everyone).take_bytes(200, 0.0)
    assert caught.value.retry_after_ms == 101
    request(everyone).take_rows(2, 0.0)
    assert everyone.allowances.identities.refusals == {"events_per_second": 1, "bytes_per_second": 1}


def test_what_is_larger_than_can_be_saved_is_taken_by_full_buckets_one_after_the_other() -> None:
    everyone = accounts(Limits(bytes_per_second=1000, events_per_second=10, burst_seconds=1))
    account = request(everyone)
    account.take_bytes(5000, 0.0)
    account.take_rows(50, 0.0)
    with pytest.raises(RateLimited) as caught:
        request(everyone).take_bytes(0, 0.0)
    assert caught.value.retry_after_ms == pytest.approx(4002, abs=1)
    request(everyone, 4.1).take_bytes(1, 4.1)


def test_the_limit_that_takes_longest_is_told_and_nothing_is_taken_of_the_other() -> None:
    everyone = accounts(Limits(events_per_second=1, burst_seconds=4), Limits(events_per_second=2, burst_seconds=1))
    request(everyone).take_rows(2, 0.0)
    with pytest.raises(RateLimited, match=r"^events_per_second: this address may have 2$"):
        request(everyone).take_rows(1, 0.0)
    with pytest.raises(RateLimited, match=r"^events_per_second: this identity may have 1$"):
        request(everyone).take_rows(4, 0.0)
    request(everyone).take_rows(2, 1.0)


def test_a_month_has_its_rows() -> None:
    everyone = accounts(Limits(events_per_month=5))
    request(everyone).take_rows(4, 0.0)
    with pytest.raises(RateLimited, match=r"^events_per_month: this identity may have 5$"):
        request(everyone).take_rows(2, 0.0)
    request(everyone).take_rows(1, 0.0)


def test_what_is_counted_is_let_go_with_the_request() -> None:
    everyone = accounts()
    account = request(everyone)
    account.close()
    tally = account.tally("double")
    assert (tally.identity, tally.model, tally.users) == ("acme", "double", 1)
    account.close()
    account.close()
    assert tally.users == 0
    nobody = everyone.open_inference(None, "10.0.0.1", 0.0)
    assert nobody.tally("double").identity == ""
