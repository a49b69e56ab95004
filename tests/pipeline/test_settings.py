"""Settings: which source wins, and what is said of a wrong one."""

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.limit_config import Limits
from pipeline.settings import Settings, read_settings, unknown_variables


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("WATERSPOUT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "waterspout.toml"


NO_LIMITS = {**dict.fromkeys(Limits.model_fields), "burst_seconds": 2.0}


def values(settings: Settings) -> dict[str, object]:
    return settings.model_dump()


def test_without_any_source_everything_has_its_default() -> None:
    settings = read_settings([])
    assert values(settings) == {
        "model": None,
        "models": Path("models"),
        "model_control": "none",
        "load_models": [],
        "config": None,
        "address": "127.0.0.1",
        "port": 8888,
        "tls_cert": None,
        "tls_key": None,
        "allowed_origins": [],
        "hsts_seconds": 31_536_000,
        "allowed_hosts": [],
        "trusted_proxies": [],
        "api_keys": None,
        "api_keys_in_redis": False,
        "jwt_secret": None,
        "jwt_public_key": None,
        "jwt_jwks": None,
        "jwt_algorithms": [],
        "jwt_issuer": None,
        "jwt_audience": None,
        "insecure": False,
        "query_tokens": False,
        "processes": 1,
        "threads": None,
        "max_message_bytes": 1 << 20,
        "max_write_bytes": 4 << 20,
        "max_in_flight": 256,
        "max_queue_bytes": 256 << 20,
        "max_keys_per_socket": 1024,
        "max_keys": 100_000,
        "identity_limits": NO_LIMITS,
        "address_limits": NO_LIMITS,
        "limits_of": {},
        "usage_db": Path("usage.db"),
        "usage_in_redis": False,
        "usage_days": 400,
        "key_idle_seconds": 300.0,
        "ping_after_seconds": 25.0,
        "pong_wait_seconds": 8.0,
        "slow_consumer_seconds": 10.0,
        "header_seconds": 10.0,
        "body_seconds": 60.0,
        "drain_seconds": 10.0,
        "webhook_secret": None,
        "redis": None,
        "redis_prefix": "ws",
        "role": "all",
        "shards": 1,
        "max_lag": 1000,
        "worker_wait_seconds": 30.0,
        "claim_seconds": 5.0,
        "log_format": "console",
        "log_level": "info",
    }


def test_models_to_load_may_be_named_one_by_one() -> None:
    settings = read_settings(["--model-control", "explicit", "--load-model", "a", "--load-model", "b"])
    assert settings.load_models == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--load-model", "a"], "load_models: needs model_control explicit"),
        (["--model-control", "poll", "--load-model", "a"], "load_models: needs model_control explicit"),
        (["--model-control", "explicit", "m.onnx"], "model_control: a single model"),
        (["--model-control", "always"], "model_control: "),
    ],
)
def test_what_does_not_go_together_in_the_control_of_models_is_refused(arguments: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_settings(arguments)


def test_flags_win_over_environment_over_toml_over_defaults(monkeypatch: pytest.MonkeyPatch, toml: Path) -> None:
    toml.write_text("port = 1\nmax_keys = 1\nthreads = 1\naddress = '::1'\n")
    monkeypatch.setenv("WATERSPOUT_PORT", "2")
    monkeypatch.setenv("WATERSPOUT_MAX_KEYS", "2")
    settings = read_settings(["--config", str(toml), "--port", "3", "--drain-seconds", "0.5"])
    assert (settings.port, settings.max_keys, settings.threads, settings.max_in_flight) == (3, 2, 1, 256)
    assert (settings.address, settings.config, settings.drain_seconds) == ("::1", toml, 0.5)


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_a_flag_names_the_file(toml: Path, form: str) -> None:
    toml.write_text("port = 7")
    assert read_settings(form.format(toml).split(" ")).port == 7


def test_the_environment_may_name_the_file_but_a_flag_wins(monkeypatch: pytest.MonkeyPatch, toml: Path) -> None:
    toml.write_text("port = 7")
    other = toml.with_name("other.toml")
    other.write_text("threads = 2")
    monkeypatch.setenv("WATERSPOUT_CONFIG", str(toml))
    assert (read_settings([]).port, read_settings([]).threads) == (7, None)
    settings = read_settings(["--config", str(other)])
    assert (settings.port, settings.threads) == (8888, 2)


def test_files_of_one_call_do_not_leak_into_the_next(toml: Path) -> None:
    toml.write_text("port = 7")
    assert read_settings(["--config", str(toml)]).port == 7
    assert read_settings([]).port == 8888


def test_one_model_is_an_argument_without_a_flag() -> None:
    settings = read_settings(["mlp.onnx", "--port", "0"])
    assert (settings.model, settings.port) == (Path("mlp.onnx"), 0)


def test_lists_may_be_given_in_every_source(monkeypatch: pytest.MonkeyPatch, toml: Path) -> None:
    origins = ["https://a.example", "https://b.example"]
    toml.write_text(f"allowed_origins = {origins}")
    assert read_settings(["--config", str(toml)]).allowed_origins == origins
    assert read_settings(["--allowed-origins", origins[0], "--allowed-origins", origins[1]]).allowed_origins == origins
    monkeypatch.setenv("WATERSPOUT_ALLOWED_ORIGINS", '["https://c.example"]')
    assert read_settings([]).allowed_origins == ["https://c.example"]


WRONG = {
    "port": ["-1", "65536", "eighty", "80.5", ""],
    "processes": ["0", "257", "two"],
    "threads": ["0", "1025"],
    "max_message_bytes": ["127", str((1 << 30) + 1), "1k"],
    "max_write_bytes": ["1023"],
    "max_in_flight": ["0", "1000001"],
    "max_queue_bytes": ["0", "1048575", "1G"],
    "max_keys_per_socket": ["0"],
    "max_keys": ["0"],
    "usage_days": ["0", "3661"],
    "key_idle_seconds": ["0", "86401"],
    "ping_after_seconds": ["-1", "nan", "soon"],
    "pong_wait_seconds": ["0"],
    "slow_consumer_seconds": ["inf"],
    "header_seconds": ["0"],
    "drain_seconds": ["0"],
    "redis": ["localhost:6379", "http://host", "redis://host:port", "redis://host?protocol=3", ""],
    "redis_prefix": ["", "a:b", "{a}", "a b", "x" * 65],
    "log_level": ["loud", "INFO", ""],
}
CASES = [(name, value) for name, wrong in WRONG.items() for value in wrong]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_wrong_value_names_the_setting_whatever_its_source(
    monkeypatch: pytest.MonkeyPatch, toml: Path, name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        read_settings([f"--{name.replace('_', '-')}={value}"])
    toml.write_text(f"{name} = '{value}'")
    with pytest.raises(ConfigError, match=f"^{name}: "):
        read_settings(["--config", str(toml)])
    monkeypatch.setenv(f"WATERSPOUT_{name.upper()}", value)
    with pytest.raises(ConfigError, match=f"^{name}: "):
        read_settings([])


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(["--port", "x", "--threads", "0"])
    assert {part.partition(":")[0] for part in str(caught.value).split("; ")} == {"port", "threads"}


def test_an_unknown_key_of_the_file_is_named(toml: Path) -> None:
    toml.write_text("prot = 80")
    with pytest.raises(ConfigError, match=r"^prot: "):
        read_settings(["--config", str(toml)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-cert", "a.pem"], "tls_cert and tls_key: give both or none"),
        (["--tls-key", "a.pem"], "tls_cert and tls_key: give both or none"),
        (["--max-queue-bytes", "8000000"], "max_queue_bytes: expected at least eight times max_message_bytes"),
        (["--usage-in-redis"], "usage_in_redis: needs redis"),
        (
            ["--usage-days", "30", "--identity-limits.events-per-month", "1"],
            "usage_days: events_per_month needs at least 31",
        ),
        (["--max-message-bytes", "3000000"], "max_write_bytes: expected at least twice max_message_bytes"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(arguments)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            read_settings(["--config", str(path)])
        assert str(caught.value) == f"config: {path} is not a file"


@pytest.mark.parametrize("content", [b"port = ", b"port = 1\nport = 2", b"port = 1 # \xff"])
def test_a_file_that_is_no_toml_is_named(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(["--config", str(toml)])
    assert str(caught.value).startswith(f"{toml}: ")


def test_an_environment_variable_that_is_no_list_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSPOUT_ALLOWED_ORIGINS", "https://a.example")
    with pytest.raises(ConfigError, match="allowed_origins"):
        read_settings([])


@pytest.mark.parametrize("flag", ["--prot=1", "--por=1", "--conf=x.toml"])
def test_an_unknown_or_shortened_flag_ends_with_usage(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings([flag])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: server.py ")
    assert flag.partition("=")[0] in error


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert name.replace("_", "-") in text.lower()
        assert field.description
        assert field.description in text


def test_variables_that_are_no_settings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSPOUT_MAX_KEY", "2")
    monkeypatch.setenv("WATERSPOUT_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("WATERSPOUT_PORT", "2")
    assert unknown_variables() == [
        "WATERSPOUT_MAX_KEY: no such setting, did you mean WATERSPOUT_MAX_KEYS?",
        "WATERSPOUT_SERVICE_HOST: no such setting",
    ]
    assert read_settings([]).port == 2
