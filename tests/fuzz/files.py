"""Files for targets that read some: each process has a folder of its own."""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path


@functools.cache
def _folder(process: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"waterspout-fuzz-{process}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def written(name: str, data: bytes) -> Path:
    """Return a file with these octets."""
    path = _folder(os.getpid()) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path
