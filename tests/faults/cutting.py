"""Cut the power while a chosen step of the lake is under way; imported by the process that loses it."""

import json
import os
import random
import threading

from faults.power import cut_power
from gaugehouse.lake import maintenance, owner
from gaugehouse.lake.delta import DeltaStore
from gaugehouse.lake.flush import Flusher
from gaugehouse.lake.log import Log
from gaugehouse.lake.manifest import Manifest
from gaugehouse.lake.plain import PlainMirror

# Step -> where it is, and about how often it has happened after a second.
STEPS = {
    "log": (Log, "append", 300),
    "seal": (Log, "seal", 8),
    "flush": (Flusher, "_write_and_commit", 8),
    "commit": (DeltaStore, "commit", 12),
    "commit sync": (DeltaStore, "sync_version", 12),
    "manifest": (Manifest, "record", 20),
    "compaction": (maintenance, "write_merged", 6),
    "checkpoint": (DeltaStore, "checkpoint", 4),
    "clean-up": (DeltaStore, "clean_log", 4),
    "sweep": (maintenance.Maintenance, "_remove_superseded", 4),
    "plain": (PlainMirror, "replace", 6),
    "index": (owner, "save_index", 6),
}


CALLS = ("write", "fdatasync", "fsync", "open", "replace", "rename", "link", "unlink", "ftruncate", "mkdir", "rmdir")


def cut_during(step, seed, root, saying):
    """Let the power of `root` fail within one of the next calls of a step; nothing is said from then on.

    It fails before or after one of the step's own system calls, drawn by lot, or just before the step returns.
    """
    holder, name, count = STEPS[step]
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    steps_left, calls_left, is_after = rng.randint(1, count), rng.randint(0, 4), rng.random() < 0.5
    here = threading.local()

    def cut(where):
        # Said first: once the power is gone any other thread may end this process by a refused sync.
        os.write(1, json.dumps({"cut": step, "where": where}).encode() + b"\n")
        cut_power(root)
        os._exit(1)

    def watch_call(call):
        real = getattr(os, call)

        def watched(*args, **kwargs):
            nonlocal calls_left
            if not getattr(here, "is_chosen", False):
                return real(*args, **kwargs)
            calls_left -= 1
            if calls_left >= 0:
                return real(*args, **kwargs)
            here.is_chosen = False
            answer = real(*args, **kwargs) if is_after else None
            cut(call)
            return answer

        setattr(os, call, watched)

    real_step = getattr(holder, name)

    def watched_step(*args, **kwargs):
        nonlocal steps_left
        steps_left -= 1
        if steps_left:
            return real_step(*args, **kwargs)
        saying.acquire()  # never released: what was said was acknowledged before
        here.is_chosen = True
        answer = real_step(*args, **kwargs)
        here.is_chosen = False
        cut("end")
        return answer

    for call in CALLS:
        watch_call(call)
    setattr(holder, name, watched_step)
