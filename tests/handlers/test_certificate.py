"""When the files of a certificate are read, and what is told of those that cannot be used."""

import logging
import shutil
import ssl
from pathlib import Path

import pytest

from handlers.certificate import Certificate
from pipeline.errors import ConfigError
from tests.certificates import make_certificate


class Case:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = make_certificate(folder / "shown")
        self.shown: list[ssl.SSLContext] = []
        self.certificate = Certificate(self.files.certificate, self.files.key, self.shown.append)

    def renew(self) -> None:
        fresh = make_certificate(self.folder / "fresh")
        for path, place in zip(fresh, self.files, strict=True):
            shutil.move(path, place)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_what_has_not_changed_is_not_read(case: Case) -> None:
    for _ in range(3):
        case.certificate.look()
    assert case.shown == []


def test_files_are_read_when_two_looks_found_them_the_same(case: Case) -> None:
    case.renew()
    case.certificate.look()
    assert case.shown == []
    case.certificate.look()
    assert case.shown == [case.certificate.context]
    case.certificate.look()
    assert len(case.shown) == 1


def test_files_that_go_on_changing_are_left_alone(case: Case) -> None:
    for _ in range(3):
        case.renew()
        case.certificate.look()
    assert case.shown == []


def test_whoever_asks_for_it_gets_what_is_there(case: Case) -> None:
    case.renew()
    case.certificate.look(at_once=True)
    assert len(case.shown) == 1


def test_what_cannot_be_used_is_told_once_and_keeps_what_was_before(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    before = case.certificate.context
    case.files.key.write_text("no key")
    for _ in range(5):
        case.certificate.look()
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "tls_cert, tls_key: " in told.getMessage()
    assert (case.shown, case.certificate.context) == ([], before)
    case.certificate.look(at_once=True)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2, "it was asked for"
    case.renew()
    for _ in range(2):
        case.certificate.look()
    assert len(case.shown) == 1


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    files.encrypt_key("secret")
    with pytest.raises(ConfigError, match="has a passphrase"):
        Certificate(files.certificate, files.key, lambda context: None)
