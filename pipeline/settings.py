"""Settings of the server: flags, then `WATERSPOUT_*` environment variables, then a TOML file, then defaults."""

import argparse
import difflib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.auth_rules import (
    check_algorithm,
    check_host,
    check_jwks,
    check_network,
    is_loopback,
    token_algorithms,
)
from pipeline.errors import ConfigError
from pipeline.limit_config import Limits
from pipeline.redis_url import check_url, has_password
from pipeline.webhook_rules import signing_key

_CHECKS = {"jwt_algorithms": check_algorithm, "allowed_hosts": check_host, "trusted_proxies": check_network}
LONGEST_MONTH = 31  # days

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseSettings):
    """Serve live predictions to live streams over WebSockets."""

    model_config = SettingsConfigDict(
        env_prefix="WATERSPOUT_",
        cli_prog_name="server.py",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_shortcuts={"load-models": "load-model"},
        extra="forbid",
        protected_namespaces=(),
    )

    model: CliPositionalArg[Path | None] = Field(None, description="serve one .onnx file under its stem")
    models: Path = Field(Path("models"), description="model repository: DIR/<name>/<version>/model.onnx")
    model_control: Literal["none", "poll", "explicit"] = Field(
        "none", description="what is loaded: what is there at the start, what comes and goes, or only load_models"
    )
    load_models: list[str] = Field([], description="with explicit control: models to load at the start (repeatable)")
    config: Path | None = Field(None, description="TOML file with any of these settings")
    address: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8888, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    tls_cert: Path | None = Field(None, description="certificate chain (PEM); with --tls-key serves https and wss")
    tls_key: Path | None = Field(None, description="private key (PEM) of --tls-cert")
    allowed_origins: list[str] = Field(
        [], description="origins of other web pages that may connect; a page's own origin always may"
    )
    hsts_seconds: int = Field(
        31_536_000, ge=0, description="with TLS: browsers come with TLS only for so long (HSTS); 0 lets them be"
    )
    allowed_hosts: list[str] = Field(
        [], description="names in the Host header that are served beside localhost while no credentials are needed"
    )
    trusted_proxies: list[str] = Field(
        [], description="addresses or networks (CIDR) of proxies whose X-Forwarded-For is believed"
    )
    api_keys: Path | None = Field(None, description="TOML file of API keys: `server.py keys create --file FILE`")
    api_keys_in_redis: bool = Field(False, description="with redis: API keys of `server.py keys create --redis URL`")
    jwt_secret: SecretStr | None = Field(
        None, description="secret that signs tokens (HS256); not as a flag: WATERSPOUT_JWT_SECRET or --config"
    )
    jwt_public_key: Path | None = Field(None, description="public key (PEM) that tokens are verified with")
    jwt_jwks: str | None = Field(None, description="file or https URL of the public keys (JWKS) that tokens name")
    jwt_algorithms: list[str] = Field(
        [], description="what tokens may be signed with; default: HS256, or RS256, PS256, ES256 and EdDSA"
    )
    jwt_issuer: str | None = Field(None, min_length=1, description="what tokens must have as iss")
    jwt_audience: str | None = Field(None, min_length=1, description="what tokens must have in aud")
    insecure: bool = Field(False, description="serve everybody, on any address, without credentials")
    query_tokens: bool = Field(False, description="take credentials from ?access_token= too, which proxies may log")
    processes: int = Field(1, ge=1, le=256, description="server processes that share the port")
    threads: int | None = Field(
        None, ge=1, le=1024, description="inference threads of a process; default: its share of the cores"
    )
    max_message_bytes: int = Field(1 << 20, ge=128, le=1 << 30, description="largest WebSocket message or HTTP body")
    max_write_bytes: int = Field(4 << 20, ge=1024, le=1 << 31, description="unsent bytes a socket may pile up")
    max_in_flight: int = Field(256, ge=1, le=1_000_000, description="unanswered events of one socket")
    max_queue_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        le=1 << 50,
        description="bytes of rows that wait; past it the largest senders lose some",
    )
    max_keys_per_socket: int = Field(1024, ge=1, description="keys (windows) of one socket")
    max_keys: int = Field(100_000, ge=1, description="keys (windows) of all sockets")
    identity_limits: Limits = Field(Limits(), description="what each identity (key or token) may")
    address_limits: Limits = Field(Limits(), description="what each address may: an IPv4 address, or an IPv6 /64")
    limits_of: dict[str, Limits] = Field(
        {}, description="limits of identities by name, in the place of identity_limits; what is left out stays"
    )
    usage_db: Path = Field(Path("usage.db"), description="SQLite file of what identities have used, by hour")
    usage_in_redis: bool = Field(False, description="with redis: what identities have used is kept there instead")
    usage_days: int = Field(400, ge=1, le=3660, description="how long that is kept")
    key_idle_seconds: Seconds = Field(300.0, description="forget a key's window after this silence")
    ping_after_seconds: Seconds = Field(25.0, description="ping a socket after this silence")
    pong_wait_seconds: Seconds = Field(8.0, description="close it (4012) after this much more")
    slow_consumer_seconds: Seconds = Field(10.0, description="close what stopped reading (sockets: 4008) after this")
    header_seconds: Seconds = Field(10.0, description="a request's header (and TLS handshake) must come within this")
    body_seconds: Seconds = Field(60.0, description="a request's body must come within this")
    drain_seconds: Seconds = Field(10.0, description="time to answer what is in flight after SIGTERM")
    webhook_secret: SecretStr | None = Field(
        None, description="key that signs webhooks (base64); not as a flag: WATERSPOUT_WEBHOOK_SECRET or --config"
    )
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
    log_format: Literal["console", "json"] = Field("console", description="lines for people, or a JSON object each")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning, error")

    @field_validator("webhook_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            signing_key(secret.get_secret_value())
        return secret

    @field_validator("redis")
    @classmethod
    def _check_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_url(url.get_secret_value())
        return url

    @field_validator("jwt_jwks")
    @classmethod
    def _check_jwks(cls, place: str | None) -> str | None:
        if place is not None:
            check_jwks(place)
        return place

    @field_validator("jwt_algorithms", "allowed_hosts", "trusted_proxies")
    @classmethod
    def _check_each(cls, names: list[str], info: ValidationInfo) -> list[str]:
        for name in names:
            _CHECKS[info.field_name or ""](name)
        return names

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key: give both or none")
        if self.role != "all" and self.redis is None:
            raise ValueError(f"role: a {self.role} needs redis")
        if self.load_models and self.model_control != "explicit":
            raise ValueError("load_models: needs model_control explicit")
        if self.model is not None and self.model_control == "explicit":
            raise ValueError("model_control: a single model is loaded in any case")
        if self.max_write_bytes < 2 * self.max_message_bytes:
            raise ValueError("max_write_bytes: expected at least twice max_message_bytes")
        if self.max_queue_bytes < 8 * self.max_message_bytes:
            raise ValueError("max_queue_bytes: expected at least eight times max_message_bytes")
        self._check_credentials()
        if self.usage_in_redis and self.redis is None:
            raise ValueError("usage_in_redis: needs redis")
        if self.usage_days < LONGEST_MONTH and any(
            limits.events_per_month is not None for limits in (self.identity_limits, *self.limits_of.values())
        ):
            raise ValueError(f"usage_days: events_per_month needs at least {LONGEST_MONTH}")
        if self.address_limits.events_per_month is not None:
            raise ValueError("address_limits.events_per_month: only identities have a month")
        return self

    @property
    def has_tokens(self) -> bool:
        """Whether tokens (JWT) are credentials."""
        return any(source is not None for source in (self.jwt_secret, self.jwt_public_key, self.jwt_jwks))

    @property
    def has_credentials(self) -> bool:
        """Whether any credentials are configured, so that they are needed."""
        return self.api_keys is not None or self.api_keys_in_redis or self.has_tokens

    @property
    def token_algorithms(self) -> list[str]:
        """What tokens may be signed with."""
        secret = None if self.jwt_secret is None else self.jwt_secret.get_secret_value()
        return token_algorithms(self.jwt_algorithms, secret)

    def _check_credentials(self) -> None:
        if self.api_keys_in_redis and self.redis is None:
            raise ValueError("api_keys_in_redis: needs redis")
        if self.api_keys_in_redis and self.api_keys is not None:
            raise ValueError("api_keys, api_keys_in_redis: give one of them")
        if sum(source is not None for source in (self.jwt_secret, self.jwt_public_key, self.jwt_jwks)) > 1:
            raise ValueError("jwt_secret, jwt_public_key, jwt_jwks: give one of them")
        if self.has_tokens:
            _ = self.token_algorithms
        for name in ("jwt_algorithms", "jwt_issuer", "jwt_audience"):
            if getattr(self, name) and not self.has_tokens:
                raise ValueError(f"{name}: needs jwt_secret, jwt_public_key or jwt_jwks")
        if self.insecure and self.has_credentials:
            raise ValueError("insecure: credentials are configured; leave out one or the other")
        if not (self.has_credentials or self.insecure or is_loopback(self.address)):
            raise ValueError(
                f"address: {self.address or 'any'} can be reached from other machines, and no credentials are "
                "configured: make API keys with `python server.py keys create --name NAME --scopes 'predict:* watch:*' "
                "--file keys.toml` and give --api-keys keys.toml, or give --insecure to serve everybody"
            )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the TOML file behind the environment; pydantic puts the flags in front of all."""
        del dotenv_settings, file_secret_settings
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def read_settings(arguments: list[str]) -> Settings:
    """Return the settings of a command line. Raises `ConfigError` that names the setting; exits for `--help`."""
    config, redis = _flags(arguments, "--config", "--redis")
    config = config or os.environ.get("WATERSPOUT_CONFIG")
    path = Path(config) if config else None
    if path is not None and not path.is_file():
        raise ConfigError(f"config: {path} is not a file")
    if any(argument.startswith("--webhook") for argument in arguments):
        raise ConfigError("webhook_secret: other processes see flags, use WATERSPOUT_WEBHOOK_SECRET or --config")
    if any(argument.startswith("--jwt-s") for argument in arguments):
        raise ConfigError("jwt_secret: other processes see flags, use WATERSPOUT_JWT_SECRET or --config")
    if redis and has_password(redis):
        raise ConfigError(
            "redis: other processes see flags, a URL with a password goes to WATERSPOUT_REDIS or --config"
        )

    class Configured(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    Configured.__doc__ = Settings.__doc__
    try:
        return Configured(_cli_parse_args=arguments)  # type: ignore[call-arg]
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()]
        raise ConfigError("; ".join(lines)) from error
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    except (ValueError, OSError, RecursionError) as error:  # of TOML, of UTF-8, or nested too deep
        raise ConfigError(f"{path or 'settings'}: {error}") from error


def unknown_variables() -> list[str]:
    """Return a line for each `WATERSPOUT_*` variable that is no setting.

    They are told and not refused: orchestrators set some of their own after the name of a service.
    """
    lines = []
    for name in sorted(os.environ):
        setting = name.lower().removeprefix("waterspout_")
        if name.lower() != setting and setting not in Settings.model_fields:
            close = difflib.get_close_matches(setting, Settings.model_fields, 1)
            lines.append(
                f"{name}: no such setting" + (f", did you mean WATERSPOUT_{close[0].upper()}?" if close else "")
            )
    return lines


def _flags(arguments: list[str], *names: str) -> list[str | None]:
    """Return the values of flags that are needed before all are parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(name)
    known, _ = parser.parse_known_args(arguments)
    return list(vars(known).values())
