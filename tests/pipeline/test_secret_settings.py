"""Settings that hold secrets: where they may come from, and that nothing repeats them."""

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import read_settings

SECRET = "whsec_" + "QUJD" * 10


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("WATERSPOUT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "waterspout.toml"


@pytest.mark.parametrize("source", ["environment", "file"])
def test_the_secret_of_webhooks_comes_from_the_environment_or_the_file(
    monkeypatch: pytest.MonkeyPatch, toml: Path, source: str
) -> None:
    toml.write_text(f"webhook_secret = '{SECRET}'\n" if source == "file" else "")
    if source == "environment":
        monkeypatch.setenv("WATERSPOUT_WEBHOOK_SECRET", SECRET)
    settings = read_settings(["--config", str(toml)])
    assert settings.webhook_secret is not None
    assert settings.webhook_secret.get_secret_value() == SECRET
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize("arguments", [[f"--webhook-secret={SECRET}"], ["--webhook-secret", SECRET]])
def test_the_secret_of_webhooks_is_no_flag(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^webhook_secret: other processes see flags") as caught:
        read_settings(arguments)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secret", ["geheim", "whsec_geheim", "", "geheim geheim geheim geheim geheim geheim"])
def test_a_wrong_secret_of_webhooks_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("WATERSPOUT_WEBHOOK_SECRET", secret)
    with pytest.raises(ConfigError, match=r"^webhook_secret: .*expected") as caught:
        read_settings([])
    assert "geheim" not in str(caught.value)


def test_help_tells_nothing_of_the_secret_of_webhooks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WATERSPOUT_WEBHOOK_SECRET", SECRET)
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize("source", ["environment", "file"])
def test_a_password_for_redis_comes_from_the_environment_or_the_file(
    monkeypatch: pytest.MonkeyPatch, toml: Path, source: str
) -> None:
    url = "redis://user:geheim@host:7000/1"
    toml.write_text(f"redis = '{url}'\n" if source == "file" else "")
    if source == "environment":
        monkeypatch.setenv("WATERSPOUT_REDIS", url)
    settings = read_settings(["--config", str(toml)])
    assert settings.redis is not None
    assert settings.redis.get_secret_value() == url
    assert "geheim" not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize("arguments", [["--redis=redis://:geheim@host"], ["--redis", "redis://u:geheim@host:x"]])
def test_a_password_for_redis_is_no_flag(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^redis: other processes see flags") as caught:
        read_settings(arguments)
    assert "geheim" not in str(caught.value)


def test_a_redis_without_a_password_may_be_a_flag() -> None:
    settings = read_settings(["--redis", "unix:///run/redis.sock", "--redis-prefix", "staging"])
    assert settings.redis is not None
    assert (settings.redis.get_secret_value(), settings.redis_prefix) == ("unix:///run/redis.sock", "staging")


def test_a_wrong_url_of_redis_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSPOUT_REDIS", "redis://:geheim@host:port")
    with pytest.raises(ConfigError, match=r"^redis: .*port") as caught:
        read_settings([])
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_a_role_needs_redis(role: str) -> None:
    with pytest.raises(ConfigError, match=f"role: a {role} needs redis"):
        read_settings(["--role", role])
    assert read_settings(["--role", role, "--redis", "redis://127.0.0.1"]).role == role
