"""docs/scale.md counts right: its tables follow from the figures that it names."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[3] / "docs" / "scale.md").read_text("utf-8")
UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
ROWS_PER_STATUS, BYTES_PER_SERIES, BYTES_PER_ROW = 3, 95, 2.73
REQUESTS_PER_NODE, DAY_S = 1_740, 86_400


def number(text):
    figure, unit = re.fullmatch(r"([\d.,]+) ?([kMGT]?)B?", text).groups()
    return float(figure.replace(",", "")) * UNITS[unit]


def table(head):
    """Return the rows of the table whose first line begins so, as cells."""
    lines = TEXT[TEXT.index(head) :].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]


@pytest.mark.parametrize("row", table("| devices | statuses/s"), ids=lambda row: row[0])
def test_sizes_follow_from_the_number_of_devices(row):
    devices, *found = (number(cell) for cell in row)
    rows_per_s = devices / 60 * ROWS_PER_STATUS
    series, rows_per_day = devices * ROWS_PER_STATUS, rows_per_s * DAY_S
    day_bytes = rows_per_day * BYTES_PER_ROW
    index_bytes = series * BYTES_PER_SERIES
    expected = [devices / 60, rows_per_s, rows_per_day, series, index_bytes, day_bytes, day_bytes * 365]
    assert found == [pytest.approx(value, rel=0.06) for value in expected]


@pytest.mark.parametrize("row", table("| devices | nodes"), ids=lambda row: row[0])
def test_nodes_and_costs_follow_from_the_assumptions(row):
    devices = number(row[0])
    each, cost_each, gathered, cost_gathered = (
        float(re.match(r"[\d,]+", cell)[0].replace(",", "")) for cell in row[1:]
    )
    assert each == -(-devices / 60 // REQUESTS_PER_NODE)
    kept_gb = devices / 60 * ROWS_PER_STATUS * DAY_S * BYTES_PER_ROW * 365 * 13 / 12 / 1e9
    node = 40 if devices < 1e5 else 120
    if devices < 1e6:
        rest = kept_gb * (0.10 + 0.023)
    else:
        month_gb = kept_gb / 13 * 30 / 30.4
        rest = 2 * kept_gb * 0.023 + 2 * month_gb * 0.10 + (85 if devices < 1e7 else 700)
    assert cost_each == pytest.approx(each * node + rest, rel=0.03)
    assert cost_gathered == pytest.approx(gathered * node + rest, rel=0.03)
