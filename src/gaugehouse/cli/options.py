"""Options that many commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer


def _keep_compiled_code(data: Path) -> Path:
    """Give numba a place for compiled code beside the data, where the installation itself is read-only."""
    if not os.access(Path(__file__).parent, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(data.absolute() / "run" / "compiled"))
    return data


Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="GAUGEHOUSE_DATA_DIR",
        help="Folder of the installation",
        show_default=True,
        callback=_keep_compiled_code,
    ),
]
Project = Annotated[str, typer.Option("--project", help="Project slug")]
DEFAULT_DATA = Path("data")
EXIT_DAMAGED = 3
AsJson = Annotated[bool, typer.Option("--json", help="For programs")]


def split_names(names: str | None) -> tuple[str, ...] | None:
    """Return what stands between commas."""
    return tuple(name.strip() for name in names.split(",")) if names else None
