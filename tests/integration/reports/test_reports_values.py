"""The values of done reports are rows of one Delta table, each once, whatever happens between two steps."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from sqlalchemy import update

from gaugehouse.config import Settings
from gaugehouse.database.tables import ReportRevision
from gaugehouse.errors import StorageFull, Unavailable
from gaugehouse.inventory import create_project, delete_project
from gaugehouse.lake import Lake, values
from gaugehouse.lake.repair import repair_lake
from gaugehouse.lake.status import read_status
from gaugehouse.lake.valuecheck import check_values
from gaugehouse.lake.verify import verify_lake
from gaugehouse.measurements.schema import VALUE_ROWS
from gaugehouse.reports import ValuePublisher, reissue_report
from gaugehouse.reports import values as revisions_of
from gaugehouse.reports.result import result_path
from planting import store_done_report

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEY = ["report_id", "revision", "component", "metric", "kpi", "bucket_start"]
KPIS = ("mean", "count")


def hourly(hours=48, component="pump-1"):
    return [(component, "flow", T0 + i * HOUR, float(i)) for i in range(hours)]


def publisher_of(plant, lake=None):
    return ValuePublisher(database=plant.database, layout=plant.layout, table=(lake or plant.lake).values)


def publish(plant, lake=None):
    """Publish all that is done; return of how many revisions each batch was."""
    publisher, batches = publisher_of(plant, lake), []
    while count := publisher.publish_next():
        batches.append(count)
    return batches


def root_of(plant):
    return plant.layout.lake_dir / "kpi_values"


def read_table(plant):
    """Return all rows as somebody reads them who knows nothing of Gaugehouse, by key."""
    return pl.scan_delta(str(root_of(plant))).collect().sort(KEY, nulls_last=True)


def read_results(plant):
    """Return the rows of all result files, by key."""
    parts = []
    for path in sorted(plant.layout.reports_dir.glob("*/r*.parquet")):
        rows = pl.read_parquet(path).with_columns(
            report_id=pl.lit(path.parent.name), revision=pl.lit(int(path.stem[1:]), pl.Int32)
        )
        parts.append(rows.select([name for name in VALUE_ROWS.names if name != "computed_at"]))
    return pl.concat(parts).sort(KEY, nulls_last=True)


def assert_each_once(plant):
    """Compare the table with the result files, row by row, for every reader; and prove it."""
    rows, wanted = read_table(plant), read_results(plant)
    assert rows.select(wanted.columns).equals(wanted)
    plain = pl.read_parquet(plant.layout.lake_dir / "plain" / "kpi_values" / "**" / "*.parquet")
    assert plain.sort(KEY, nulls_last=True).select(wanted.columns).equals(wanted)
    check = check_values(plant.layout, is_online=True)
    assert (check.findings, check.rows) == ([], rows.height)
    return rows


def store_done(plant, number, **more):
    return store_done_report(plant.layout, plant.database, number, **more)


def commits_of(plant):
    """Return what the commits of the table say of themselves, oldest first."""
    return [
        {key: text for key, text in commit.items() if key.startswith("gaugehouse.")}
        for commit in reversed(DeltaTable(root_of(plant)).history())
    ]


# --- publishing


def test_bucketed_and_unbucketed_reports_become_rows_of_one_table(plant):
    plant.deliver(hourly() + hourly(component="pump-2"))
    bucketed, _ = plant.answer("2026-03-01/2026-03-03", kpis=KPIS, bucket="day")
    whole, _ = plant.answer("2026-03-01/2026-03-03", kpis=KPIS)
    assert publish(plant) == [2]
    rows = assert_each_once(plant)
    assert dict(rows["report_id"].value_counts().iter_rows()) == {bucketed.id: 8, whole.id: 4}
    assert set(rows["project"]) == {"default"}
    assert set(rows["month"]) == {"2026-03"}
    finished = {view.id: view.finished_at for view in (bucketed, whole)}
    assert all(finished[report] == at for report, at in rows.select("report_id", "computed_at").iter_rows())
    mean = rows.filter(report_id=whole.id, component="pump-1", kpi="mean").row(0, named=True)
    assert (mean["value"], mean["status"], mean["bucket_start"]) == (23.5, "ok", T0)


def test_the_table_has_the_types_and_the_order_that_are_promised(plant):
    for number in (2, 1):
        store_done(plant, number)
    publish(plant)
    table = DeltaTable(root_of(plant))
    stored = pa.schema(table.schema().to_arrow())
    assert stored.names == ["project", "month", *VALUE_ROWS.names]
    assert [str(stored.field(name).type) for name in ("revision", "value", "coverage")] == ["int32", "double", "double"]
    (path,) = root_of(plant).glob("project=default/month=2026-03/*.parquet")
    rows = pl.read_parquet(path, hive_partitioning=False)
    assert rows.select(KEY).equals(rows.select(KEY).sort(KEY, nulls_last=True))
    assert pq.ParquetFile(path).schema_arrow.field("bucket_start").type == pa.timestamp("us", "UTC")
    columns = pq.ParquetFile(path).metadata.row_group(0)
    assert {columns.column(i).compression for i in range(columns.num_columns)} == {"ZSTD"}
    (stats,) = pa.table(DeltaTable(root_of(plant)).get_add_actions(flatten=True)).to_pylist()
    assert (stats["min.bucket_start"], stats["max.component"]) == (T0, "pump-1")


def test_a_component_that_never_sent_anything_has_its_row_too(plant):
    plant.deliver(hourly())
    plant.registry.register("default", ["silent"], [])
    plant.answer("2026-03-01/2026-03-03", kpis=KPIS)
    publish(plant)
    rows = assert_each_once(plant)
    assert rows.filter(component="silent").select("metric", "kpi", "value", "status").rows() == [
        (None, "count", 0.0, "no_data")
    ]


def test_publishing_twice_changes_nothing(plant):
    store_done(plant, 1)
    assert publish(plant) == [1]
    version = DeltaTable(root_of(plant)).version()
    assert publish(plant) == []
    assert DeltaTable(root_of(plant)).version() == version
    assert_each_once(plant)


def test_before_the_first_report_is_done_there_is_no_table(plant):
    plant.deliver(hourly())
    plant.ask("2026-03-01/2026-03-03")  # which nobody computes
    assert publish(plant) == []
    assert plant.lake.values.mend() == []
    plant.lake.values.tidy()
    assert not root_of(plant).exists()


def test_every_revision_keeps_its_rows(plant):
    plant.deliver(hourly())
    report, _ = plant.answer("2026-03-01/2026-03-03", kpis=KPIS)
    assert publish(plant) == [1]
    plant.deliver([("pump-1", "flow", T0 + HOUR / 2, 1000.0)])
    again = reissue_report(plant.database, plant.lake, plant.manager, report.id, because="late", cells_limit=1000)
    plant.lake.flush()
    with plant.working():
        plant.follow(again)
    assert publish(plant) == [1]
    rows = assert_each_once(plant).filter(kpi="count")
    assert rows.select("revision", "value").rows() == [(1, 48.0), (2, 49.0)]


def test_no_file_holds_rows_of_two_projects_or_months(plant):
    with plant.database.transaction() as session:
        create_project(session, "other")
    for number in range(4):
        store_done(plant, number, project=("default", "other")[number % 2], start=T0 + number // 2 * 31 * DAY)
    assert publish(plant) == [4]
    assert_each_once(plant)
    partitions = [path.parent.relative_to(root_of(plant)).as_posix() for path in root_of(plant).glob("p*/m*/*.parquet")]
    assert sorted(partitions) == [
        f"project={project}/month={month}" for project in ("default", "other") for month in ("2026-03", "2026-04")
    ]


def test_many_reports_share_one_commit(plant, monkeypatch):
    monkeypatch.setattr(revisions_of, "REVISIONS_AT_ONCE", 20)
    for number in range(50):
        store_done(plant, number)
    assert publish(plant) == [20, 20, 10]
    assert [commit["gaugehouse.batch"] for commit in commits_of(plant) if commit] == ["0", "1", "2"]
    assert_each_once(plant)


def test_a_batch_is_bounded_by_its_rows(plant, monkeypatch):
    monkeypatch.setattr(revisions_of, "ROWS_AT_ONCE", 10)
    for number in range(3):
        store_done(plant, number)  # four rows each
    store_done(plant, 3, values=range(10))  # alone too many
    assert publish(plant) == [2, 1, 1]
    assert_each_once(plant)


def test_a_report_without_rows_is_done_with_too(plant):
    store_done(plant, 1, values=())
    assert publish(plant) == [1]
    assert publish(plant) == []
    store_done(plant, 2)
    publish(plant)
    assert_each_once(plant)


# --- what can go wrong between two steps


@pytest.mark.parametrize("step", ["claim", "write", "commit", "manifest"])
def test_a_crash_at_any_step_leaves_each_row_once(plant, monkeypatch, step):
    """`manifest`: the Delta commit has gone through, and nobody was told."""
    store_done(plant, 1)
    publish(plant)
    store_done(plant, 2)
    table = plant.lake.values

    def crash(*_args, **_more):
        raise KeyboardInterrupt

    target, name = {
        "claim": (ValuePublisher, "_publish"),
        "write": (values.ValueTable, "commit"),
        "commit": (values, "commit_durably"),
        "manifest": (table._manifest, "record"),
    }[step]
    with monkeypatch.context() as patched:
        patched.setattr(type(target) if step == "manifest" else target, name, crash)
        with pytest.raises(KeyboardInterrupt):
            publish(plant)
    store_done(plant, 3)  # done meanwhile: another batch
    plant.lake.close()
    lake = Lake.open(plant.layout, Settings(data_dir=plant.layout.data_dir))
    try:
        assert sum(publish(plant, lake)) == (1 if step == "manifest" else 2)
        assert_each_once(plant)
        assert lake.values.mend() == []
        assert len(list(root_of(plant).glob("p*/m*/*"))) == 3  # no file of the first attempt is left
    finally:
        lake.close()


def test_the_same_process_goes_on_after_a_failed_commit(plant, monkeypatch):
    store_done(plant, 1)
    with monkeypatch.context() as patched:
        patched.setattr(values, "commit_durably", lambda *_args: (_ for _ in ()).throw(Unavailable("no")))
        with pytest.raises(Unavailable):
            publish(plant)
    assert publish(plant) == [1]
    assert_each_once(plant)
    assert len(list(root_of(plant).glob("p*/m*/*"))) == 1


def test_a_result_that_cannot_be_read_holds_up_no_other(plant):
    bad = store_done(plant, 1)
    store_done(plant, 2)
    path = result_path(plant.layout, bad, 1)
    whole = path.read_bytes()
    path.write_bytes(b"")
    publisher = publisher_of(plant)
    assert publisher.publish_next() == 2
    assert publisher.publish_next() == 0  # not again and again
    assert set(read_table(plant)["report_id"]) == {"rep_default000002"}
    path.write_bytes(whole)
    assert publish(plant) == [1]  # a new publisher: the next start
    assert_each_once(plant)


def test_a_full_disk_publishes_nothing_and_later_everything(plant, monkeypatch):
    store_done(plant, 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 0))
        with pytest.raises(StorageFull):
            publish(plant)
    assert publish(plant) == [1]
    assert_each_once(plant)


def test_a_closed_lake_changes_nothing_more(plant):
    store_done(plant, 1)
    plant.lake.close()
    with pytest.raises(Unavailable):
        publish(plant)
    assert not root_of(plant).exists()


# --- built anew


def lose_folder(plant):
    shutil.rmtree(root_of(plant))


def lose_manifest(plant):
    (plant.layout.log_dir / "manifest-kpi_values").unlink()


def damage_manifest(plant):
    path = plant.layout.log_dir / "manifest-kpi_values"
    path.write_bytes(b"!" + path.read_bytes()[1:])


def lose_log_entry(plant):
    (root_of(plant) / "_delta_log" / f"{1:020d}.json").unlink()


def tear_log_entry(plant):
    path = max((root_of(plant) / "_delta_log").glob("*.json"))
    path.write_bytes(path.read_bytes()[:50])


def lose_file(plant):
    next(root_of(plant).glob("p*/m*/*")).unlink()


def flip_bit(plant):
    path = next(root_of(plant).glob("p*/m*/*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = [lose_folder, lose_manifest, damage_manifest, lose_log_entry, tear_log_entry, lose_file, flip_bit]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_missing_or_damaged_table_is_built_anew_by_the_next_start(plant, damage):
    for number in range(3):
        store_done(plant, number)
        publish(plant)
    before = read_table(plant)
    plant.lake.close()
    damage(plant)
    lake = Lake.open(plant.layout, Settings(data_dir=plant.layout.data_dir))
    try:
        lake.values.mend()
        assert publish(plant, lake) == [1, 1, 1]  # the same batches once more
        assert_each_once(plant)
        assert read_table(plant).equals(before)
        store_done(plant, 3)
        assert publish(plant, lake) == [1]
        assert_each_once(plant)
    finally:
        lake.close()


@pytest.mark.parametrize("damage", DAMAGE[1:])
def test_verify_names_the_damage_and_repair_clears_the_way(plant, damage):
    for number in range(3):
        store_done(plant, number)
        publish(plant)
    plant.lake.close()
    assert verify(plant).findings == []
    damage(plant)
    verdict = verify(plant)
    assert {finding.table for finding in verdict.findings} == {"kpi_values"}
    assert verdict.is_damaged == (damage is not lose_manifest)
    mended = repair_lake(plant.layout, None, lambda *_args: None)
    assert [one.name for one in mended.mended] == ["kpi_values"]
    assert mended.is_whole
    assert verify(plant).findings == []
    lake = Lake.open(plant.layout, Settings(data_dir=plant.layout.data_dir))
    publish(plant, lake)
    lake.close()
    assert_each_once(plant)


def verify(plant):
    return verify_lake(plant.layout, ask_live=None, keep_s=86_400.0, on_progress=lambda *_args: None)


def test_a_running_owner_repairs_too(plant):
    store_done(plant, 1)
    publish(plant)
    flip_bit(plant)
    (mended,) = plant.lake.repair_files(None)
    assert (mended.name, mended.is_whole) == ("kpi_values", True)
    assert publish(plant) == [1]
    assert_each_once(plant)
    assert plant.lake.repair_files(None) == []


def test_a_key_that_is_there_twice_is_found(plant):
    """By no means of ours: the database is made to forget what it wrote down."""
    store_done(plant, 1)
    publish(plant)
    with plant.database.transaction() as session:
        session.execute(update(ReportRevision).values(values_batch=None))
    assert publish(plant) == [1]
    (finding,) = check_values(plant.layout, is_online=False).findings
    assert finding.code == "values_repeated"
    plant.lake.values.mend()
    publish(plant)
    assert_each_once(plant)


# --- upkeep


def test_small_files_are_merged_and_every_row_stays_once(plant):
    with plant.database.transaction() as session:
        create_project(session, "other")
    for number in range(20):
        store_done(plant, 19 - number, project=("default", "other")[number == 7])
        publish(plant)
    before = assert_each_once(plant)
    plant.lake.values.tidy()
    assert assert_each_once(plant).equals(before)
    files = DeltaTable(root_of(plant)).file_uris()
    assert len([path for path in files if "project=default" in path]) < 5
    assert len([path for path in files if "project=other" in path]) == 1
    (merged,) = [path for path in files if "/merged-1-" in path]
    rows = pl.read_parquet(merged, hive_partitioning=False).select(KEY)
    assert rows.equals(rows.sort(KEY, nulls_last=True))
    assert len(list(root_of(plant).glob("p*/m*/*"))) > len(files)  # for readers that have begun
    assert publish(plant) == []
    status = read_status(plant.layout, None).tables[-1]
    assert (status.table, status.rows, status.files) == ("kpi_values", before.height, len(files))
    assert status.superseded_files > 0


def test_replaced_files_go_after_their_time_and_the_log_is_cleaned(plant):
    plant.lake.close()
    settings = Settings(data_dir=plant.layout.data_dir, superseded_keep_s=0, checkpoint_every_commits=2)
    lake = Lake.open(plant.layout, settings)
    try:
        for number in range(24):
            store_done(plant, number)
            publish(plant, lake)
            lake.values.tidy()
        lake.values.tidy()
        assert_each_once(plant)
        assert len(list(root_of(plant).glob("p*/m*/*"))) == len(DeltaTable(root_of(plant)).file_uris())
        assert len(list((root_of(plant) / "_delta_log").glob("*.json"))) < 10
        assert lake.values.mend() == []
    finally:
        lake.close()


def test_a_merge_that_finds_damage_has_the_table_built_anew(plant):
    for number in range(20):
        store_done(plant, number)
        publish(plant)
    flip_bit(plant)
    plant.lake.values.tidy()
    assert sum(publish(plant)) == 20
    assert_each_once(plant)


def test_a_merge_stays_within_its_memory(plant, monkeypatch):
    monkeypatch.setattr(values, "MERGED_ROWS", 40)
    for number in range(20):
        store_done(plant, number)
        publish(plant)
    plant.lake.values.tidy()
    assert_each_once(plant)
    assert max(pq.read_metadata(path).num_rows for path in DeltaTable(root_of(plant)).file_uris()) <= 40


# --- projects


def test_a_deleted_project_leaves_neither_rows_nor_files(plant):
    with plant.database.transaction() as session:
        create_project(session, "other")
    for number in range(20):
        store_done(plant, number, project="other")
        publish(plant)
    store_done(plant, 1)
    publish(plant)
    plant.lake.values.tidy()
    assert plant.lake.holds("other")
    with plant.database.transaction() as session:
        delete_project(session, "other")
    dropped = {one.table: one.rows for one in plant.lake.delete_project("other")}
    assert dropped["kpi_values"] == 80
    assert set(read_table(plant)["project"]) == {"default"}
    assert not plant.lake.holds("other")
    assert list(plant.layout.lake_dir.glob("**/project=other")) == []
    assert plant.lake.values.mend() == []


def test_rows_of_a_project_that_nobody_knows_any_more_are_dropped_by_the_next_start(plant):
    with plant.database.transaction() as session:
        create_project(session, "other")
    store_done(plant, 1, project="other")
    store_done(plant, 2)
    publish(plant)
    with plant.database.transaction() as session:
        delete_project(session, "other")
    assert publisher_of(plant).drop_unknown_projects() == ["other"]
    assert set(read_table(plant)["project"]) == {"default"}
    assert publish(plant) == []


def test_a_project_that_is_deleted_while_its_batch_is_written_leaves_nothing(plant, monkeypatch):
    with plant.database.transaction() as session:
        create_project(session, "other")
    store_done(plant, 1, project="other")
    begun, going_on = threading.Event(), threading.Event()
    load = revisions_of.load_coded

    def load_slowly(*arguments):
        begun.set()
        assert going_on.wait(30)
        return load(*arguments)

    monkeypatch.setattr(revisions_of, "load_coded", load_slowly)
    with ThreadPoolExecutor(2) as pool:
        published = pool.submit(publish, plant)
        assert begun.wait(30)
        with plant.database.transaction() as session:
            delete_project(session, "other")
        deleted = pool.submit(plant.lake.delete_project, "other")
        going_on.set()
        assert published.result() == [1]
        assert [one.rows for one in deleted.result() if one.table == "kpi_values"] == [4]
    assert read_table(plant).is_empty()
    assert not plant.lake.holds("other")
    assert publish(plant) == []
