"""Any order of deliveries, repeats, flushes, merges, retention, stops and crashes is what a dictionary says it is."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from factories import event_batch, measurement_batch
from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake
from gaugehouse.measurements.selection import Selection, from_epoch_us

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 6)]
INSTANTS_US = [int(month.timestamp()) * 1_000_000 + second * 1_000_000 for month in MONTHS[:4] for second in range(6)]
ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("mn"), st.sampled_from(INSTANTS_US), st.sampled_from([1.0, 2.0])),
    min_size=1,
    max_size=12,
)
PROJECTS = st.sampled_from(["north", "south"])


def month_of(t_us):
    moment = from_epoch_us(t_us)
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


class LakeMachine(RuleBasedStateMachine):
    """A lake in a folder beside a model of it: {project: {(component, metric, instant): value}}."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gaugehouse-model-"))
        self.model = {"north": {}, "south": {}}
        self.newest = {}  # (project, component, metric) -> newest instant ever accepted
        self.shrunk = set()  # projects that lost rows on purpose: what was newest may be forgotten
        self.kept_from = {"north": MONTHS[0], "south": MONTHS[0]}
        self.alarms = {"north": set(), "south": set()}
        self.lake = None

    @initialize()
    def start(self):
        self.open()

    def open(self):
        values = {"segment_age_s": 3600.0, "free_space_bytes": 0, "checkpoint_every_commits": 3}
        self.lake = Lake.open(Layout(self.folder), Settings(data_dir=self.folder, **values))

    def teardown(self):
        if self.lake is not None:
            self.lake.close()
        shutil.rmtree(self.folder)

    # -- what can happen

    @rule(project=PROJECTS, rows=ROWS)
    def deliver(self, project, rows):
        rows = [row for row in rows if month_of(row[2]) >= self.kept_from[project]]
        if not rows:
            return
        expected = self.expect(project, rows)
        receipt = self.lake.append_measurements(project, measurement_batch(rows))
        found = {"accepted": receipt.accepted, "duplicates": receipt.duplicates, "conflicts": len(receipt.conflicts)}
        assert found == {name: expected[name] for name in found}
        if project not in self.shrunk:
            assert receipt.late == expected["late"]

    def expect(self, project, rows):
        """Take rows into the model; return what their receipt must say."""
        stored, counts = self.model[project], dict.fromkeys(("accepted", "duplicates", "conflicts", "late"), 0)
        for component, metric, t, value in rows:
            key, series = (component, metric, t), (project, component, metric)
            if key in stored:
                counts["duplicates" if stored[key] == value else "conflicts"] += 1
                continue
            stored[key] = value
            counts["accepted"] += 1
            counts["late"] += t <= self.newest.get(series, -1)
            self.newest[series] = max(t, self.newest.get(series, -1))
        return counts

    @rule(project=PROJECTS, t=st.sampled_from(INSTANTS_US), body=st.integers(0, 2))
    def alarm(self, project, t, body):
        if month_of(t) < self.kept_from[project]:
            return
        receipt = self.lake.append_events(project, event_batch([("a", "alarm", t, body)]))
        assert receipt.accepted == ((t, body) not in self.alarms[project])
        self.alarms[project].add((t, body))

    @rule()
    def flush(self):
        self.lake.flush()
        self.compare_files()

    @rule()
    def compact(self):
        self.lake.flush()
        self.lake.compact()
        self.compare_files()

    @rule()
    def sweep(self):
        self.lake._maintenance.superseded_keep_s = 0.0
        self.lake._maintenance.sweep()

    @rule(project=PROJECTS, month=st.sampled_from(MONTHS[:4]))
    def retain(self, project, month):
        self.lake.flush()
        dropped = self.lake.retain(project, "measurements", month)
        old = [key for key in self.model[project] if month_of(key[2]) < month]
        assert dropped.rows == len(old)
        for key in old:
            del self.model[project][key]
        if old:
            self.kept_from[project] = max(self.kept_from[project], month)
            self.shrunk.add(project)
        self.compare_files()

    @rule()
    def restart(self):
        self.lake.close()
        self.open()

    @rule()
    def crash(self):
        lake, self.lake = self.lake, None
        lake._stopping.set()
        lake._flush_wanted.set()
        for thread in lake._threads:
            thread.join()
        lake._gather.close()
        lake._sequencer.log.close()
        lake.answers.close()
        lake._lock.release()
        self.open()

    # -- what must be so

    @rule(project=PROJECTS, month=st.sampled_from(MONTHS[:4]), component=st.none() | st.sampled_from("abc"))
    def read(self, project, month, component):
        selection = Selection(
            project=project,
            components=None if component is None else (component,),
            start=month,
            end=MONTHS[MONTHS.index(month) + 1],
        )
        found = self.lake.pin().read(selection, "SELECT component, metric, measured_at, value FROM rows").read_all()
        rows = {(row["component"], row["metric"], to_us(row["measured_at"])): row["value"] for row in found.to_pylist()}
        assert len(rows) == found.num_rows
        assert rows == {
            key: value
            for key, value in self.model[project].items()
            if month_of(key[2]) == month and component in {None, key[0]}
        }

    @rule(project=PROJECTS)
    def read_newest(self, project):
        expected = {}
        for (component, metric, t), value in sorted(self.model[project].items(), key=lambda item: item[0][2]):
            expected[component, metric] = (t, value)
        found = {
            (row["component"], row["metric"]): (to_us(row["measured_at"]), row["value"])
            for row in self.lake.newest(project).to_pylist()
        }
        assert found == expected

    @rule(project=PROJECTS)
    def read_events(self, project):
        found = self.lake.pin().read(Selection(project=project), "SELECT * FROM rows", table="events").read_all()
        alarms = {(to_us(row["occurred_at"]), int(row["body"])) for row in found.to_pylist() if row["kind"] == "alarm"}
        assert alarms == self.alarms[project]

    def compare_files(self):
        """Compare what plain readers find, Delta and a glob, with the model; all is flushed."""
        expected = {(project, *key): value for project, rows in self.model.items() for key, value in rows.items()}
        table = self.folder / "lake" / "measurements"
        frame = pl.scan_delta(str(table)).collect()
        columns = ("project", "component", "metric", pl.col("measured_at").dt.epoch("us"), "value")
        assert frame.height == len(expected)
        assert {row[:4]: row[4] for row in frame.select(*columns).rows()} == expected
        self.lake._wait_for_signs()
        files = list((self.folder / "lake" / "plain" / "measurements").rglob("*.parquet"))
        if files:
            glob = str(self.folder / "lake" / "plain" / "measurements" / "**" / "*.parquet")
            count = duckdb.sql("SELECT count(*) FROM read_parquet($files)", params={"files": glob}).fetchall()[0][0]
            assert count == len(expected)
        else:
            assert not expected


def to_us(moment):
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(15, 30), pytest.param(2000, 50, marks=[pytest.mark.torture, pytest.mark.timeout(36_000)])],
    ids=["few", "many"],
)
def test_any_order_of_operations_is_what_a_dictionary_says(examples, steps, tally, monkeypatch):
    monkeypatch.setattr("gaugehouse.lake.plain.SIGN_S", 0.0)  # nobody else reads here, and a thousand waits are long
    run_state_machine_as_test(
        LakeMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    tally[f"runs of {steps} operations against a dictionary"] += examples
