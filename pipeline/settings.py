"""Settings of the server: flags, then `WATERSPOUT_*` environment variables, then a TOML file, then defaults."""

import argparse
import difflib
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.access_settings import AccessSettings
from pipeline.auth_rules import is_loopback
from pipeline.cluster_settings import ClusterSettings
from pipeline.errors import ConfigError
from pipeline.limit_settings import LimitSettings
from pipeline.model_settings import ModelSettings
from pipeline.network_settings import NetworkSettings
from pipeline.redis_url import has_password
from pipeline.trace_context import check_endpoint
from pipeline.webhook_rules import signing_key


class Settings(ClusterSettings, LimitSettings, AccessSettings, NetworkSettings, ModelSettings):
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

    config: Path | None = Field(None, description="TOML file with any of these settings")
    processes: int = Field(1, ge=1, le=256, description="server processes that share the port")
    threads: int | None = Field(
        None, ge=1, le=1024, description="inference threads of a process; default: its share of the cores"
    )
    webhook_secret: SecretStr | None = Field(
        None, description="key that signs webhooks (base64); not as a flag: WATERSPOUT_WEBHOOK_SECRET or --config"
    )
    otlp_endpoint: str | None = Field(
        None, description="where traces go: http://host:4318 (OpenTelemetry, OTLP over HTTP; requirements-otel.txt)"
    )
    trace_ratio: float = Field(0.01, ge=0, le=1, description="share of the batches that are traced without being asked")
    log_format: Literal["console", "json"] = Field("console", description="lines for people, or a JSON object each")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning, error")

    @field_validator("webhook_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            signing_key(secret.get_secret_value())
        return secret

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url is not None:
            check_endpoint(url)
        return url

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.max_queue_bytes < 8 * self.max_message_bytes:
            raise ValueError("max_queue_bytes: expected at least eight times max_message_bytes")
        for name in ("api_keys_in_redis", "usage_in_redis"):
            if getattr(self, name) and self.redis is None:
                raise ValueError(f"{name}: needs redis")
        if not (self.has_credentials or self.insecure or is_loopback(self.address)):
            raise ValueError(
                f"address: {self.address or 'any'} can be reached from other machines, and no credentials are "
                "configured: make API keys with `python server.py keys create --name NAME --scopes 'predict:* watch:*' "
                "--file keys.toml` and give --api-keys keys.toml, or give --insecure to serve everybody"
            )
        return self

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
