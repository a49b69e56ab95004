"""Settings of identity: what goes together, what is refused, and that no secret is repeated."""

import os
import re
from pathlib import Path

import pytest

from pipeline.access_settings import AccessSettings
from pipeline.errors import ConfigError
from pipeline.settings import Settings, read_settings

SECRET = "geheim-" * 6


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("WATERSPOUT_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_no_credentials_are_needed(address: str) -> None:
    assert not read_settings(["--address", address]).has_credentials


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "", "example.com"])
def test_any_other_address_needs_credentials_or_to_be_told_insecure(address: str) -> None:
    with pytest.raises(ConfigError, match=r"address: .*keys create.*--insecure") as caught:
        read_settings([f"--address={address}"])
    assert address in str(caught.value)
    assert read_settings([f"--address={address}", "--insecure"]).insecure
    assert read_settings([f"--address={address}", "--api-keys", "keys.toml"]).has_credentials


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--api-keys-in-redis"], "api_keys_in_redis: needs redis"),
        (["--api-keys-in-redis", "--redis", "redis://h", "--api-keys", "k"], "give one of them"),
        (["--jwt-public-key", "k.pem", "--jwt-jwks", "k.json"], "jwt_jwks: give one of them"),
        (["--jwt-issuer", "i"], "jwt_issuer: needs"),
        (["--jwt-audience", "a"], "jwt_audience: needs"),
        (["--jwt-algorithms", "RS256"], "jwt_algorithms: needs"),
        (["--jwt-algorithms", "none"], "jwt_algorithms: .*'none' is none of"),
        (["--jwt-algorithms", "rs256"], "jwt_algorithms: .*'rs256' is none of"),
        (["--jwt-public-key", "k.pem", "--jwt-algorithms", "HS256"], "jwt_algorithms: HS256 does not go with public"),
        (["--jwt-jwks", "k", "--jwt-algorithms", "RS256", "--jwt-algorithms", "HS512"], "jwt_algorithms: HS512"),
        (["--jwt-jwks", "http://idp.example/keys"], "jwt_jwks: .*https"),
        (["--jwt-jwks", "http://127.0.0.1.example/keys"], "jwt_jwks: .*https"),
        (["--jwt-jwks", "ftp://127.0.0.1/keys"], "jwt_jwks: .*https"),
        (["--jwt-jwks", "file:///etc/passwd"], "jwt_jwks: .*host"),
        (["--jwt-jwks", "https:///keys"], "jwt_jwks: .*host"),
        (["--jwt-jwks", "https://a b/keys"], "jwt_jwks: "),
        (["--jwt-jwks", "https://a:b:c/keys"], "jwt_jwks: .*port"),
        (["--jwt-jwks", "https://u:geheim@idp.example/keys"], "jwt_jwks: .*user and password"),
        (["--jwt-jwks="], "jwt_jwks: .*file or an https"),
        (["--insecure", "--api-keys", "k"], "insecure: credentials are configured"),
        (["--allowed-hosts", "https://a.example"], "allowed_hosts: .*without scheme"),
        (["--allowed-hosts", "a.example:80"], "allowed_hosts: .*without scheme"),
        (["--allowed-hosts", "*"], "allowed_hosts: .*without scheme"),
        (["--trusted-proxies", "10.0.0.1/8"], "trusted_proxies: .*host bits"),
        (["--trusted-proxies", "proxy.example"], "trusted_proxies: .*network"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(arguments)
    assert "geheim" not in str(caught.value)


def test_the_settings_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for jwks in ("keys.json", "https://idp.example/keys?v=1", "http://127.0.0.1:8080/k", "http://[::1]:1/k"):
        settings = read_settings(["--jwt-jwks", jwks, "--jwt-issuer", "i", "--jwt-audience", "a"])
        assert settings.has_credentials
        assert settings.token_algorithms == ["RS256", "PS256", "ES256", "EdDSA"]
    monkeypatch.setenv("WATERSPOUT_JWT_SECRET", SECRET)
    assert read_settings([]).token_algorithms == ["HS256"]


def test_hosts_and_networks() -> None:
    hosts = ["a.example", "waterspout", "192.0.2.1", "2001:db8::1"]
    networks = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]
    arguments = [f"--allowed-hosts={host}" for host in hosts] + [f"--trusted-proxies={n}" for n in networks]
    settings = read_settings(arguments)
    assert (settings.allowed_hosts, settings.trusted_proxies) == (hosts, networks)


@pytest.mark.parametrize("source", ["environment", "file"])
def test_the_secret_of_tokens_comes_from_the_environment_or_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    toml = tmp_path / "waterspout.toml"
    toml.write_text(f"jwt_secret = '{SECRET}'\n" if source == "file" else "")
    if source == "environment":
        monkeypatch.setenv("WATERSPOUT_JWT_SECRET", SECRET)
    settings = read_settings(["--config", str(toml)])
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == SECRET
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize("arguments", [[f"--jwt-secret={SECRET}"], ["--jwt-secret", SECRET], [f"--jwt-secre={SECRET}"]])
def test_the_secret_of_tokens_is_no_flag(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^jwt_secret: other processes see flags") as caught:
        read_settings(arguments)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("secret", "algorithm"), [("geheim", "HS256"), (SECRET, "HS384"), (SECRET, "HS512")])
def test_a_short_secret_of_tokens_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, secret: str, algorithm: str
) -> None:
    monkeypatch.setenv("WATERSPOUT_JWT_SECRET", secret)
    with pytest.raises(ConfigError, match=rf"jwt_secret: expected at least \d+ bytes for {algorithm}") as caught:
        read_settings(["--jwt-algorithms", algorithm])
    assert "geheim" not in str(caught.value)


def test_a_public_key_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSPOUT_JWT_SECRET", "-----BEGIN PUBLIC KEY-----\n" + "A" * 400)
    with pytest.raises(ConfigError, match="jwt_secret: this is a key in PEM"):
        read_settings([])


def test_a_secret_does_not_go_with_public_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSPOUT_JWT_SECRET", SECRET)
    with pytest.raises(ConfigError, match="jwt_algorithms: RS256 does not go with jwt_secret"):
        read_settings(["--jwt-algorithms", "RS256"])


def test_the_table_of_the_documentation_has_each_setting_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| (`[\w`, ]+`) \| (.+?) \|", text.partition("\n## API keys")[0], re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    fields = Settings.model_fields
    assert told.keys() == {*AccessSettings.model_fields, "allowed_hosts", "trusted_proxies"}
    defaults = {name: str(fields[name].default or "none" if name != "insecure" else "false").lower() for name in told}
    del defaults["jwt_algorithms"]
    assert all(told[name] in (default, "false") for name, default in defaults.items())
