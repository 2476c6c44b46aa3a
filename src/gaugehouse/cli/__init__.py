"""Commands: serve, worker, demo, import, report, user, key, project, lake. Nothing heavy is imported before need.

Exit codes: 0 done, 1 refused (the reason in one line on stderr), 2 wrong usage, 3 `lake verify` found damage.
"""

import sys

from gaugehouse.cli.commands import app
from gaugehouse.errors import GaugehouseError

EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; a refusal is one line, never a stack trace."""
    try:
        app()
    except GaugehouseError as refusal:
        sys.stderr.write(f"gaugehouse: {refusal.message}\n")
        sys.exit(EXIT_REFUSED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
