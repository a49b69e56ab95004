"""What an identity or an address may ask for, as settings have it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=1 << 40)]
Rate = Annotated[float, Field(gt=0, le=1e12)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Limits(BaseModel):
    """Bounds on all that goes on under one name at the same time; None: there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sockets: Annotated[Count | None, Field(description="open at the same time")] = None
    new_sockets_per_second: Annotated[Rate | None, Field(description="WebSockets opened per second")] = None
    events_per_second: Annotated[Rate | None, Field(description="events (rows of a request) per second")] = None
    bytes_per_second: Annotated[Rate | None, Field(description="bytes of events per second")] = None
    events_per_month: Annotated[Count | None, Field(description="events per calendar month (UTC)")] = None
    keys: Annotated[Count | None, Field(description="keys of all sockets")] = None
    subscriptions: Annotated[Count | None, Field(description="patterns that are watched")] = None
    control_frames_per_second: Annotated[Rate | None, Field(description="pings and pongs per second")] = None
    burst_seconds: Annotated[
        float, Field(gt=0, le=3600, description="so much of each rate may be saved and used at once")
    ] = 2.0

    @property
    def are_none(self) -> bool:
        """Whether nothing is bounded."""
        return all(value is None for name, value in self if name != "burst_seconds")

    def but(self, other: "Limits") -> "Limits":
        """Return these with what `other` names in the place of their own."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


def by_name(default: Limits, overrides: Mapping[str, Limits]) -> dict[str, Limits]:
    """Return the limits of the names that have their own; what these leave out is as for all."""
    return {name: default.but(limits) for name, limits in overrides.items()}
