"""Settings: where the server listens, for whom it takes a peer, and how long it waits for one."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from pipeline.auth_rules import check_host, check_network
from pipeline.limit_config import Seconds


class NetworkSettings(BaseSettings):
    """Listening, TLS, origins and proxies, messages and time limits."""

    address: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8888, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    tls_cert: Path | None = Field(None, description="certificate chain (PEM); with --tls-key serves https and wss")
    tls_key: Path | None = Field(None, description="private key (PEM) of --tls-cert")
    hsts_seconds: int = Field(
        31_536_000, ge=0, description="with TLS: browsers come with TLS only for so long (HSTS); 0 lets them be"
    )
    allowed_origins: list[str] = Field(
        [], description="origins of other web pages that may connect; a page's own origin always may"
    )
    allowed_hosts: list[str] = Field(
        [], description="names in the Host header that are served beside localhost while no credentials are needed"
    )
    trusted_proxies: list[str] = Field(
        [], description="addresses or networks (CIDR) of proxies whose X-Forwarded-For is believed"
    )
    max_message_bytes: int = Field(1 << 20, ge=128, le=1 << 30, description="largest WebSocket message or HTTP body")
    max_write_bytes: int = Field(4 << 20, ge=1024, le=1 << 31, description="unsent bytes a socket may pile up")
    ping_after_seconds: Seconds = Field(25.0, description="ping a socket after this silence")
    pong_wait_seconds: Seconds = Field(8.0, description="close it (4012) after this much more")
    slow_consumer_seconds: Seconds = Field(10.0, description="close what stopped reading (sockets: 4008) after this")
    header_seconds: Seconds = Field(10.0, description="a request's header (and TLS handshake) must come within this")
    body_seconds: Seconds = Field(60.0, description="a request's body must come within this")
    drain_seconds: Seconds = Field(10.0, description="time to answer what is in flight after SIGTERM")

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, names: list[str]) -> list[str]:
        for name in names:
            check_host(name)
        return names

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, networks: list[str]) -> list[str]:
        for network in networks:
            check_network(network)
        return networks

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key: give both or none")
        if self.max_write_bytes < 2 * self.max_message_bytes:
            raise ValueError("max_write_bytes: expected at least twice max_message_bytes")
        return self
