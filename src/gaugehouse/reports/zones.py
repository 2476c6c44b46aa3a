"""Which time zone rules this process computes with."""

import importlib.metadata
import zoneinfo
from pathlib import Path


def find_tzdata_version() -> str:
    """Return the version of the zone rules that `zoneinfo` reads: the system's if it has them, else the package's."""
    for folder in zoneinfo.TZPATH:
        for name, prefix in (("tzdata.zi", "# version "), ("+VERSION", "")):
            try:
                first_line = (Path(folder) / name).read_text(encoding="ascii").splitlines()[0]
            except (OSError, UnicodeDecodeError, IndexError):
                continue
            if first_line.startswith(prefix):
                return first_line.removeprefix(prefix).strip()
    return f"tzdata {importlib.metadata.version('tzdata')}"
