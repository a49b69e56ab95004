"""Settings: which credentials there are."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from pipeline.auth_rules import check_algorithm, check_jwks, token_algorithms


class AccessSettings(BaseSettings):
    """API keys and tokens (docs/security.md)."""

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
    query_tokens: bool = Field(False, description="take credentials from ?access_token= too, which proxies may log")
    insecure: bool = Field(False, description="serve everybody, on any address, without credentials")

    @field_validator("jwt_jwks")
    @classmethod
    def _check_jwks(cls, place: str | None) -> str | None:
        if place is not None:
            check_jwks(place)
        return place

    @field_validator("jwt_algorithms")
    @classmethod
    def _check_algorithms(cls, names: list[str]) -> list[str]:
        for name in names:
            check_algorithm(name)
        return names

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
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
