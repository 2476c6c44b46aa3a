"""Two results of one report compared to the last bit; every row that differs names itself."""

from gaugehouse.reports import RESULT

KEY = ("component", "metric", "kpi", "bucket_start")
NUMBERS = ("value", "coverage")  # compared bit by bit: to Arrow both zeros are one number
WORDS = [name for name in RESULT.names if name not in NUMBERS]


def assert_same_result(found, expected, where):
    """Fail with one line per row that differs.

    Args:
        found: Columns of RESULT.
        expected: The same.
        where: What the first of them came from, for the message.
    """
    if not are_same(found, expected):
        lines = find_differences(found, expected) or ["the rows are the same, their order is not"]
        raise AssertionError(f"{where}: {len(lines)} rows differ\n" + "\n".join(lines))


def are_same(found, expected):
    return found.select(WORDS).equals(expected.select(WORDS)) and all(
        _bits(found, name) == _bits(expected, name) for name in NUMBERS
    )


def _bits(table, name):
    column = table[name].combine_chunks()
    return column.is_null().to_pylist(), column.fill_null(0.0).to_numpy().tobytes()


def find_differences(found, expected):
    """Return one line per row that is not the same, or is in one of the two only."""
    left, right = _by_key(found), _by_key(expected)
    return [
        f"{component}/{metric} {kpi} {bucket_start:%Y-%m-%d %H:%M}: "
        f"{left.get(key, 'no row')} instead of {right.get(key, 'no row')}"
        for key in sorted(left.keys() | right.keys(), key=str)
        if left.get(key) != right.get(key)
        for component, metric, kpi, bucket_start in [key]
    ]


def _by_key(table):
    return {
        tuple(row[name] for name in KEY): " ".join(
            _spell(name, cell) for name, cell in row.items() if name not in KEY and cell is not None
        )
        for row in table.to_pylist()
    }


def _spell(name, cell):
    return f"{name}={cell!r} ({cell.hex()})" if name in NUMBERS else f"{name}={cell}"
