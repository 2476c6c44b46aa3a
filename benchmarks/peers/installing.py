"""Gets peers without installing them: Debian packages are unpacked, PyPI packages go into an environment of their own.

All of it stays in .tools/peers of the checkout (`make clean` removes it).
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import PeerMissing

FOLDER = Path(__file__).parents[2] / ".tools" / "peers"
TIMEOUT_S = 600


def find_program(package: str, program: str) -> Path:
    """Return a program of a Debian package: the installed one, or one unpacked beside the checkout's tools.

    Raises:
        PeerMissing: No apt on this machine, or it does not know or cannot reach the package.
    """
    installed = shutil.which(program)
    if installed:
        return Path(installed)
    unpacked = FOLDER / package
    found = unpacked / "usr" / "bin" / program
    if not found.exists():
        if not shutil.which("apt-get"):
            raise PeerMissing(f"{package} is not installed, and there is no apt-get to fetch it with")
        packages = FOLDER / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package], packages)
        newest = max(packages.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
        _run(["dpkg-deb", "-x", str(newest), str(unpacked)], packages)
    return found


def find_python(requirement: str) -> Path:
    """Return the Python of an environment that holds a PyPI package beside our pyarrow.

    Raises:
        PeerMissing: It cannot be made.
    """
    environment = FOLDER / requirement.partition("==")[0]
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(environment, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(environment)], FOLDER)
        wanted = [requirement, f"pyarrow=={version('pyarrow')}"]
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted], FOLDER)
        (environment / "complete").touch()
    return python


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{command[0]} failed: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise PeerMissing(f"{Path(command[0]).name} said: {said[-1]}")
