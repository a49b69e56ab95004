"""Settings: what one socket, one identity, one address and all together may have, and where use is written down."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from pipeline.limit_config import Limits, Seconds

LONGEST_MONTH: Final = 31  # days


class LimitSettings(BaseSettings):
    """Bounds, limits and usage (docs/operations.md)."""

    max_in_flight: int = Field(256, ge=1, le=1_000_000, description="unanswered events of one socket")
    max_queue_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        le=1 << 50,
        description="bytes of rows that wait; past it the largest senders lose some",
    )
    max_keys_per_socket: int = Field(1024, ge=1, description="keys (windows) of one socket")
    max_keys: int = Field(100_000, ge=1, description="keys (windows) of all sockets")
    key_idle_seconds: Seconds = Field(300.0, description="forget a key's window after this silence")
    identity_limits: Limits = Field(Limits(), description="what each identity (key or token) may")
    address_limits: Limits = Field(Limits(), description="what each address may: an IPv4 address, or an IPv6 /64")
    limits_of: dict[str, Limits] = Field(
        {}, description="limits of identities by name, in the place of identity_limits; what is left out stays"
    )
    usage_db: Path = Field(Path("usage.db"), description="SQLite file of what identities have used, by hour")
    usage_in_redis: bool = Field(False, description="with redis: what identities have used is kept there instead")
    usage_days: int = Field(400, ge=1, le=3660, description="how long that is kept")

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.usage_days < LONGEST_MONTH and any(
            limits.events_per_month is not None for limits in (self.identity_limits, *self.limits_of.values())
        ):
            raise ValueError(f"usage_days: events_per_month needs at least {LONGEST_MONTH}")
        if self.address_limits.events_per_month is not None:
            raise ValueError("address_limits.events_per_month: only identities have a month")
        return self
