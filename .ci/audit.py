"""Look up what the server runs with in a list of known vulnerabilities: `python .ci/audit.py requirements.txt ...`.

Exits with 1 where some are known, and with 2 where nothing could be looked up: that is no good news.
"""

import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def installed(files: list[str]) -> dict[str, str]:
    """Return name and version of what the files ask for, and of all that those need."""
    lines = [line.partition("#")[0].strip() for file in files for line in Path(file).read_text().splitlines()]
    wanted = [Requirement(line) for line in lines if line and not line.startswith("-")]
    found: dict[str, str] = {}
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # nothing that is not there can be attacked
        found[name] = package.version
        extras = {"", *requirement.extras}
        for needed in map(Requirement, package.requires or []):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                needed.marker = None
                wanted.append(needed)
    return found


def main() -> int:
    """Print what is known; return the exit code."""
    packages = installed(sys.argv[1:])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())))
        pins.flush()
        command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
        command += ["--no-deps", "--disable-pip", "--requirement", pins.name]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        looked_up = [entry for entry in json.loads(ended.stdout)["dependencies"] if "vulns" in entry]
    except ValueError:
        looked_up = []
    for entry in looked_up:
        for vulnerability in entry["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(f"{entry['name']} {entry['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(f"{len(looked_up)} of {len(packages)} packages were looked up", file=sys.stderr)
    if any(entry["vulns"] for entry in looked_up):
        return 1
    return 0 if len(looked_up) == len(packages) else 2


if __name__ == "__main__":
    sys.exit(main())
