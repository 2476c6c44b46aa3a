"""How late rows may come, and how old they may be: bounds of a project, applied to every format alike."""

from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.errors import RowsRefused
from gaugehouse.ingest import Limits, decode_events, decode_measurements
from payloads import ARROW, CSV, JSON, NDJSON, PARQUET, write

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FORMATS = [JSON, NDJSON, CSV, ARROW, PARQUET]


def rows_of_ages(*ages):
    return [row_of(NOW - age) for age in ages]


def row_of(moment):
    return {"component": "pump-1", "metric": "temperature", "measured_at": moment, "value": 1.0, "quality": 0}


def decode(rows, media_type=JSON, *, partial=False, **bounds):
    return decode_measurements(
        write(rows, media_type), media_type, limits=Limits(**bounds), now=NOW, partial=partial, time_unit=None
    )


@pytest.mark.parametrize("media_type", FORMATS)
def test_a_row_that_comes_too_late_is_refused_and_named(media_type):
    rows = rows_of_ages(timedelta(minutes=1), timedelta(hours=3), timedelta(minutes=2))
    with pytest.raises(RowsRefused, match="comes too late") as refused:
        decode(rows, media_type, lateness_limit_s=3600.0)
    assert refused.value.code == "too_late"
    assert [(problem.row, problem.field) for problem in refused.value.problems] == [(1, "measured_at")]


@pytest.mark.parametrize("media_type", FORMATS)
def test_a_row_older_than_the_project_keeps_is_refused_and_named(media_type):
    rows = rows_of_ages(timedelta(days=40), timedelta(days=1))
    with pytest.raises(RowsRefused, match="older than this project keeps") as refused:
        decode(rows, media_type, kept_from={"measured_at": NOW - timedelta(days=30)})
    assert refused.value.code == "older_than_retention"
    assert [problem.row for problem in refused.value.problems] == [0]


def test_the_instant_of_a_bound_is_still_accepted():
    assert len(decode(rows_of_ages(timedelta(hours=1)), lateness_limit_s=3600.0).batch) == 1
    assert len(decode(rows_of_ages(timedelta(days=1)), kept_from={"measured_at": NOW - timedelta(days=1)}).batch) == 1


def test_a_partial_delivery_stores_what_is_not_too_late():
    decoded = decode(rows_of_ages(timedelta(hours=3), timedelta(0)), partial=True, lateness_limit_s=3600.0)
    assert (len(decoded.batch), decoded.bad_rows) == (1, 1)


def test_a_delivery_with_other_flaws_keeps_the_general_code():
    rows = [*rows_of_ages(timedelta(hours=3)), row_of(NOW + timedelta(days=9))]
    with pytest.raises(RowsRefused) as refused:
        decode(rows, lateness_limit_s=3600.0)
    assert refused.value.code == "rows_refused"


def test_without_bounds_any_age_since_1970_is_accepted():
    assert len(decode(rows_of_ages(timedelta(days=50 * 365))).batch) == 1


def test_bounds_of_one_table_do_not_touch_the_other():
    body = b'[{"component": "p", "kind": "alarm", "occurred_at": "2020-01-01T00:00:00Z", "body": null}]'
    options = {"now": NOW, "partial": False, "time_unit": None}
    kept = decode_events(body, JSON, limits=Limits(kept_from={"measured_at": NOW}), **options)
    assert len(kept.batch) == 1
    with pytest.raises(RowsRefused, match="row 0: occurred_at"):
        decode_events(body, JSON, limits=Limits(kept_from={"occurred_at": NOW}), **options)
