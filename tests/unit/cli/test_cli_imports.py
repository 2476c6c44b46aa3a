"""Commands about people, keys and projects start quickly: none of them waits for the lake to be imported."""

import json
import subprocess
import sys

import pytest

from gaugehouse.config import Layout, Settings
from gaugehouse.installation import open_database

QUICK = ["accounts", "account_commands", "auditing", "calendars", "commands", "projects"]
HEAVY = {"numba", "duckdb", "deltalake", "polars", "fastapi", "gaugehouse.lake", "gaugehouse.runtime"}


def test_no_quick_command_imports_the_lake_or_the_server():
    imports = "\n".join(f"import gaugehouse.cli.{name}" for name in QUICK)
    told = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{imports}\n{told}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(json.loads(done.stdout)) == set()


RUN = """
import json, sys
from gaugehouse.cli import main
sys.argv = ["gaugehouse", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert end.code in {None, 0, 3, 4}, end.code
sys.stderr.write(json.dumps(sorted(sys.modules)))
"""
UNNEEDED = HEAVY | {"pyarrow", "alembic", "httpx"}
LIGHT = {
    "user list": UNNEEDED,
    "user create ann --role viewer --password-stdin": UNNEEDED,
    "key list": UNNEEDED,
    "key create press": UNNEEDED,
    "project list": UNNEEDED,
    "project set default --lateness 36h": UNNEEDED,
    "audit list": UNNEEDED,
    "audit verify": UNNEEDED,
    "exclusion list": UNNEEDED,
    "doctor": UNNEEDED | {"numpy"},
}


@pytest.mark.parametrize("command", LIGHT)
def test_a_light_command_runs_without_what_it_does_not_need(tmp_path, command):
    open_database(Settings(data_dir=tmp_path)).dispose()
    Layout(tmp_path).log_dir.mkdir()
    words = [sys.executable, "-c", RUN, *command.split(), "--data", str(tmp_path)]
    done = subprocess.run(words, input="a long password of somebody", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert LIGHT[command] & set(json.loads(done.stderr)) == set()
