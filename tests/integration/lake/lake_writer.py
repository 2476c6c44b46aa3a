"""A child process that appends until it ends, and says what was acknowledged, one line per delivery.

Arguments: data folder, seed, and, where the power is to fail, during which step and on which mounted disk.
"""

import json
import random
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog

from factories import measurement_batch
from faults.cutting import cut_during
from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake, compaction, manifest, owner

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
# Merge, clean up and rewrite all the time, so that kills hit every step of it.
compaction.FAN_IN, owner.MAINTENANCE_PERIOD_S, manifest.REWRITE_LINES = 2, 0.01, 8
data_dir, seed = Path(sys.argv[1]), int(sys.argv[2])
settings = Settings(
    data_dir=data_dir,
    segment_age_s=0.1,
    checkpoint_every_commits=3,
    index_every_commits=2,
    superseded_keep_s=0.3,
    free_space_bytes=0,
)
saying = threading.Lock()
if len(sys.argv) > 3:
    cut_during(sys.argv[3], seed, sys.argv[4], saying)
lake = Lake.open(Layout(data_dir), settings)


def say(text):
    with saying:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(number):
    rng = random.Random(seed + number)  # noqa: S311 - reproducible, not secret
    while True:
        rows = [(f"c{rng.randrange(4)}", rng.randrange(3000), 0.0) for _ in range(rng.randrange(1, 40))]
        # The value follows from the key, so a repeated key is a duplicate and never a conflict.
        rows = [(component, t, float(t % 97)) for component, t, _value in rows]
        lake.append_measurements("p", measurement_batch([(c, "m", t, value) for c, t, value in rows]))
        say(json.dumps(rows))


say("open")
for sender in range(4):
    threading.Thread(target=send, args=(sender,)).start()
