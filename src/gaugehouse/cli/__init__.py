"""Commands: serve, worker, demo, import, report, user, key, fleet, firmware, project, calendar, exclusion, lake.

Nothing heavy is imported before need.

Exit codes: 0 done, 1 refused (the reason in one line on stderr), 2 wrong usage, 3 `lake verify` found damage
or `lake repair` could not mend it all, 3 or 4 `doctor` found a warning or something critical, 78 `serve` or `worker`
must not start as things are.
"""

import os
import sys
from typing import NoReturn

from gaugehouse.cli.commands import app
from gaugehouse.errors import GaugehouseError

EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; a refusal, of ours or of the system, is one line and never a stack trace."""
    try:
        app()
    except GaugehouseError as refusal:
        _refuse(refusal.message)
    except OSError as exc:
        _refuse(_described(exc))
    except MemoryError:
        _refuse("there is not enough memory")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"gaugehouse: {why}\n")
    sys.exit(EXIT_REFUSED)


def _described(exc: OSError) -> str:
    """Return what the system refused, and for which file."""
    why = exc.strerror or (str(exc).splitlines() or [type(exc).__name__])[0]
    return why if exc.filename is None else f"{os.fsdecode(exc.filename)}: {why}"
