"""A process of its own that opens a lake: which compiled loops it has ready."""

from pathlib import Path

from factories import event_batch, measurement_batch
from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake, keyhash, names


def write_with_warm_loops(folder: str) -> None:
    """Write rows of every kind to a lake that was just opened; print which compiled loops were not ready by then."""
    lake = Lake.open(
        Layout(Path(folder)),
        Settings(data_dir=Path(folder), segment_age_s=3600.0, free_space_bytes=0),
        on_failure=lambda *_: None,
    )
    ready = _find_compiled()
    hour_us = 3_600_000_000
    rows = [(f"c{n % 7}", f"m{n % 3}", n * hour_us, float(n)) for n in range(500)]
    for batch in (rows, rows[::-1], sorted(rows, key=lambda row: row[2] % 11), [(*row[:3], 7.0) for row in rows]):
        lake.append_measurements("p", measurement_batch(batch))
    lake.flush()
    lake.append_measurements("p", measurement_batch([(c, m, t - 900 * hour_us, v) for c, m, t, v in rows]))
    lake.append_events("p", event_batch([("c1", "note", n * hour_us, {"n": n}) for n in range(20)]))
    lake.flush()
    lake.newest("p")
    lake.close()
    print(sorted(_find_compiled() - ready))


def _find_compiled() -> set[tuple[str, str]]:
    return {
        (name, str(signature))
        for module in (keyhash, names)
        for name, loop in vars(module).items()
        for signature in getattr(loop, "signatures", ())
    }
