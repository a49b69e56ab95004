"""The hot path is compiled wherever that is possible, and what runs is what the sources say."""

import importlib
import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from handlers.speedups import outdated_modules
from setup import HOT_PATH

ROOT = Path(__file__).parents[1]
CAN_COMPILE = shutil.which("cc") is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.skipif(not CAN_COMPILE, reason="no C compiler, or no headers of Python")
@pytest.mark.parametrize("source", HOT_PATH)
def test_the_hot_path_is_compiled(source: str) -> None:
    module = importlib.import_module(source.removesuffix(".py").replace("/", "."))
    assert module.__file__ is not None
    assert module.__file__.endswith(".so"), "`make test` compiles it; see build/compile.log"
    assert Path(module.__file__).parent == (ROOT / source).parent


def test_nothing_compiled_is_older_than_its_source() -> None:
    for source in HOT_PATH:
        importlib.import_module(source.removesuffix(".py").replace("/", "."))
    assert outdated_modules() == []


@pytest.mark.skipif(not CAN_COMPILE, reason="no C compiler, or no headers of Python")
def test_a_source_newer_than_what_was_compiled_from_it_is_told() -> None:
    name = "pipeline.session"
    importlib.import_module(name)
    source, compiled = ROOT / "pipeline/session.py", next(ROOT.glob("pipeline/session.*.so"))
    before = compiled.stat()
    try:
        os.utime(compiled, (0, source.stat().st_mtime - 1))
        assert outdated_modules() == [name]
    finally:
        os.utime(compiled, ns=(before.st_atime_ns, before.st_mtime_ns))
