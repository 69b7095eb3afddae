"""An environment of its own for each peer, from a lock file with hashes: `.venvs/PEER`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements")
ENVIRONMENTS = ROOT / ".venvs"
MAKE_SECONDS = 1_800


class NotMade(Exception):
    """A peer's environment could not be made; the text says why, in one line."""


def make(name: str) -> Path:
    """The folder of an environment, made where it isn't there or its lock has changed. Raises `NotMade`."""
    lock = REQUIREMENTS / f"{name}.txt"
    folder, stamp = ENVIRONMENTS / name, ENVIRONMENTS / name / ".set-up"
    wanted = f"{sys.version_info[:2]} {hashlib.sha256(lock.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return folder
    print(f"Setting up {folder.relative_to(ROOT)} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "--require-hashes", "-r", str(lock)]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotMade(type(error).__name__) from error
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise NotMade((said or ["no reason was given"])[-1].removeprefix("ERROR: ")[:200])
    stamp.write_text(wanted, encoding="utf-8")
    return folder


def version_of(folder: Path, package: str) -> str:
    """The version of a package in an environment."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    command = [str(folder / "bin" / "python"), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def lock() -> None:
    """Lock the newest versions of every peer into `requirements/PEER.txt`. Needs uv."""
    if shutil.which("uv") is None:
        raise SystemExit("This needs uv: python3 -m pip install uv")
    options = "--quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-header"
    addresses = "--no-emit-index-url --no-emit-find-links"
    for asked in sorted(REQUIREMENTS.glob("*.in")):
        made = asked.with_suffix(".txt").name
        command = ["uv", "pip", "compile", *options.split(), *addresses.split(), asked.name, "--output-file", made]
        subprocess.run(command, cwd=REQUIREMENTS, check=True)
