"""Values of reports from outside: done reports are rows of a table that plain readers open, whatever befalls the server."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from functional.installation import REPOSITORY, ask_report, wait_until
from functional.rows import deliver_well

START = datetime(2026, 4, 1, tzinfo=UTC)
QUESTION = {"period": "2026-04-01/2026-04-03", "bucket": "day", "kpis": ["mean", "count"]}
DOCUMENT = (REPOSITORY / "docs" / "data-science.md").read_text("utf-8")


def read_values(installation):
    """Return the rows of the table, none before there is one."""
    root = installation.data_dir / "lake" / "kpi_values"
    return pl.scan_delta(str(root)).collect() if DeltaTable.is_deltatable(str(root)) else pl.DataFrame()


def wait_for_rows(installation, count):
    wait_until(lambda: read_values(installation).height >= count, what=f"{count} rows of kpi_values")
    return read_values(installation)


@pytest.fixture(scope="module")
def reporting(found):
    """A server with one report of eight values."""
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.5"}, workers=1).start()
    minutes = [
        (component, "force", START + timedelta(minutes=i), float(i % 60), 0)
        for component in ("press 7", "press 8")
        for i in range(2 * 24 * 60)
    ]
    deliver_well(installation.device(), minutes)
    ask_report(installation.sign_in("max"), **QUESTION)
    yield installation
    installation.stop()


def test_the_documented_examples_run(reporting):
    wait_for_rows(reporting, 8)
    section = DOCUMENT.split("\n## `kpi_values`\n")[1].split("\n## ")[0]
    examples = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        script = example.replace('"data/lake', f'"{reporting.data_dir}/lake')
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "press 7" in done.stdout


def test_the_values_of_a_done_report_appear_for_plain_readers_and_stay_through_kills_and_losses(reporting):
    rows = wait_for_rows(reporting, 8)
    counts = rows.filter(kpi="count").sort("component", "bucket_start")
    assert counts.select("component", "value").rows() == [
        (press, 1440.0) for press in ("press 7", "press 8") for _day in range(2)
    ]
    assert "kpi_values" in reporting.run_well("lake", "status")
    assert "verdict: SOUND" in reporting.run_well("lake", "verify")

    reporting.kill()
    reporting.start()
    ask_report(reporting.sign_in("max"), **QUESTION)
    twice = wait_for_rows(reporting, 16)
    assert twice.height == 16
    assert twice["report_id"].n_unique() == 2

    reporting.stop()
    shutil.rmtree(reporting.data_dir / "lake" / "kpi_values")
    reporting.start()
    again = wait_for_rows(reporting, 16)
    order = ["report_id", "component", "kpi", "bucket_start"]
    assert again.sort(order).equals(twice.sort(order))
    assert "verdict: SOUND" in reporting.run_well("lake", "verify")
