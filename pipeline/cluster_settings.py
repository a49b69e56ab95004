"""Settings: whom the server works with over Redis, and as what."""

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from pipeline.limit_config import Seconds
from pipeline.redis_url import check_url


class ClusterSettings(BaseSettings):
    """Gateways and workers (docs/cluster.md)."""

    redis: SecretStr | None = Field(
        None,
        description="Redis or Valkey: redis://, rediss:// or unix://; with a password: WATERSPOUT_REDIS or --config",
    )
    redis_prefix: str = Field(
        "ws", pattern=r"^[A-Za-z0-9_.\-]{1,64}$", description="what the names of all keys in Redis begin with"
    )
    role: Literal["all", "gateway", "worker"] = Field(
        "all", description="with redis: sockets and models, sockets whose rows workers run, or models alone"
    )
    shards: int = Field(
        1, ge=1, le=256, description="queues per version, for a Redis Cluster; the same at all gateways and workers"
    )
    max_lag: int = Field(1000, ge=1, description="gateway: entries that may wait in a queue; then events are refused")
    worker_wait_seconds: Seconds = Field(30.0, description="gateway: an event that no worker answers for so long fails")
    claim_seconds: Seconds = Field(5.0, description="worker: others take over what it has after this silence")

    @field_validator("redis")
    @classmethod
    def _check_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.role != "all" and self.redis is None:
            raise ValueError(f"role: a {self.role} needs redis")
        return self
