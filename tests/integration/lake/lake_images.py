"""Small lakes that hold everything a lake can hold, to be copied for each test, and ways to look at and damage them."""

import subprocess
import time

from factories import event_batch, measurement_batch
from gaugehouse.config import Layout, Settings
from gaugehouse.lake import KeyedAnswer, Lake
from gaugehouse.lake.answers import ANSWERS, Answers
from gaugehouse.lake.verify import verify_lake

JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
DAY_US = 86_400_000_000


def quiet(_doing, _done, _total):
    return None


def verify(layout, live=None, keep_s=86_400.0):
    return verify_lake(layout, ask_live=live, keep_s=keep_s, on_progress=quiet)


def codes(verdict):
    return {finding.code for finding in verdict.findings}


def measured(start, rows=60, components=3, base_us=JANUARY_US):
    return measurement_batch(
        [
            (f"pump-{component}", metric, base_us + t * 1_000_000, t * 0.1)
            for t in range(start, start + rows)
            for component in range(components)
            for metric in ("flow", "temperature")
        ]
    )


def happened(start, rows=10):
    return event_batch(
        [
            ("pump-1", "alarm", JANUARY_US + t * 1_000_000, {"text": body})
            for t in range(start, start + rows)
            for body in "ab"
        ]
    )


def fill(lake):
    """Everything that a lake can have: projects, months, events, merged and replaced files, checkpoints, a saved index."""
    for k in range(6):
        lake.append_measurements("plant", measured(60 * k))
        lake.append_events("plant", happened(10 * k))
        lake.flush()
    lake.append_measurements("north", measured(0, base_us=JANUARY_US + 40 * DAY_US))
    lake.flush()
    lake.compact("plant")
    lake.append_measurements("plant", measured(1000))
    lake.flush()
    lake._maintenance.checkpoint_when_due()
    lake._save_indexes()


def copy(source, target):
    """Copy a folder with its hard links."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return Layout(target)


def make_images(folder):
    """Return (a closed lake, the same lake as a power cut leaves it: with sealed and open log segments)."""
    settings = Settings(
        data_dir=folder / "data",
        segment_age_s=3600,
        free_space_bytes=0,
        checkpoint_every_commits=4,
        index_every_commits=3,
    )
    lake = Lake.open(Layout(settings.data_dir), settings)
    fill(lake)
    lake.append_measurements("plant", measured(2000))
    lake.append_events("plant", happened(2000))
    lake._sequencer.seal()
    lake.append_measurements("plant", measured(3000, rows=20))
    time.sleep(0.4)  # an idle log writes down how far it is durable
    cut = copy(settings.data_dir, folder / "cut")
    lake.close()
    return Layout(settings.data_dir), cut


def data_files(layout, table="measurements", pattern="project=plant/month=*/*.parquet"):
    """Return the current files of a table."""
    shown = layout.lake_dir / "plain" / table
    return sorted(layout.lake_dir / table / path.relative_to(shown) for path in shown.glob(pattern))


def flip(path, bit):
    """Change one bit in place, so that hard links see it too."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def keep_answers(layout, count=50):
    answers = Answers(layout.log_dir / ANSWERS)
    answers.open()
    now_us = time.time_ns() // 1_000
    kept = [
        KeyedAnswer(key=b"%024d" % i, fingerprint=b"f" * 32, status=201, body=b"{}" * 50, answered_at_us=now_us)
        for i in range(count)
    ]
    answers.keep(kept, now_us=now_us)
    answers.close()
    return layout.log_dir / ANSWERS
