"""Commands about people, keys and projects start quickly: none of them waits for the lake to be imported."""

import json
import subprocess
import sys

QUICK = ["accounts", "account_commands", "auditing", "calendars", "commands", "projects"]
HEAVY = {"numba", "duckdb", "deltalake", "polars", "fastapi", "gaugehouse.lake", "gaugehouse.runtime"}


def test_no_quick_command_imports_the_lake_or_the_server():
    imports = "\n".join(f"import gaugehouse.cli.{name}" for name in QUICK)
    told = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{imports}\n{told}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(json.loads(done.stdout)) == set()
