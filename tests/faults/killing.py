"""Servers that are killed in the middle of every step, and an operator who never stops asking them for upkeep."""

import glob
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

from faults.ledgers import SCHEMAS, Gate, Ledger, LedgerSender, judge, start_of
from functional.senders import sending
from gaugehouse.access import create_api_key
from gaugehouse.config import Layout, Settings
from gaugehouse.errors import NotFound, Throttled, Unavailable
from gaugehouse.installation import open_database
from gaugehouse.inventory import create_project, get_project, get_project_settings, put_project_settings
from gaugehouse.lake.control import ask_owner

# Every step of the lake comes round several times a second.
SETTINGS = {
    "GAUGEHOUSE_SEGMENT_AGE_S": "0.2",
    "GAUGEHOUSE_CHECKPOINT_EVERY_COMMITS": "3",
    "GAUGEHOUSE_INDEX_EVERY_COMMITS": "3",
    "GAUGEHOUSE_SUPERSEDED_KEEP_S": "10",
    "GAUGEHOUSE_WORKERS": "0",
}
# Step -> what the operator is to ask for, and which new files say that it is under way.
DATA_FILES = "data-*/lake/*/project=*/month=*/"
LOG_FILES = "data-*/lake/*/_delta_log/"
STEPS = {
    "sealing": (None, "data-*/log/*.seg"),
    "flush": (None, f"{DATA_FILES}part-*"),
    "commit": (None, f"{LOG_FILES}*.json*"),
    "checkpoint": (None, f"{LOG_FILES}*checkpoint*"),
    "saving the index": (None, "data-*/log/index/*.tmp"),
    "compaction": ("compact", f"{DATA_FILES}merged-*"),
    "retention": ("retain", "archive/**"),
    "deletion of a project": ("delete_project", "data-*/log/deletions/*"),
    "backup": ("back_up", "backups/**"),
}
OWN_STEPS = {"compaction": ("lake", "compact"), "backup": ("backup",)}  # by a command that owns the lake itself
WAYS = (
    "while it starts",
    "at any moment",
    *STEPS,
    "backup beside a command",
    *(f"{step} by a command" for step in OWN_STEPS),
)
STEP_S, LIFE_S, STARTING_S, BLOW_S = 15.0, 1.5, 2.5, 0.03
KEPT_BACKUPS = 3


def ask(installation, do, **given):
    """Ask the running owner for something, as its commands do, over the same socket."""
    return ask_owner(Layout(installation.data_dir).run_dir, do, given, lambda *_progress: None)


def appears(folder, pattern, *, begin=lambda: None, is_over=lambda: False):
    """Call `begin`, and say whether a new file of a pattern appeared before it was over or took too long."""

    def find():
        return set(glob.iglob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207 - a folder may go meanwhile

    known = find()
    begin()
    deadline_s = time.monotonic() + STEP_S
    while time.monotonic() < deadline_s and not is_over():
        if find() - known:
            return True
        time.sleep(0.0005)
    return False


def note_longest(tally, what, took_s):
    """Keep the longest of several times among the figures of a run, in milliseconds."""
    tally[what] = max(tally[what], round(took_s * 1000))


class Operator:
    """Asks the owner for upkeep all the time: merges, retention, deletions of projects, backups, flushes.

    The project `brief` is kept for ever fewer months; of the projects `doomed-N` one after the other is deleted.
    """

    ACTIONS = ("compact", "retain", "delete_project", "back_up", "flush")
    PAUSE_S = 0.05

    def __init__(self, installation, seed, gate):
        self._installation = installation
        self._settings = Settings(data_dir=installation.data_dir)
        self._gate = gate
        self._rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._wishes = SimpleQueue()
        self.archive = installation.data_dir.parent / "archive"
        self.backups = installation.data_dir.parent / "backups"
        self.default = Ledger("default", installation.key)
        self.brief = self._create("brief")
        self.doomed = [self._create("doomed-0")]
        self.done = Counter()

    @property
    def ledgers(self):
        return [self.default, self.brief, *self.doomed]

    def _create(self, slug):
        database = open_database(self._settings)
        with database.transaction() as session:
            create_project(session, slug)
            key = create_api_key(session, name="sender", project=slug)
        database.dispose()
        return Ledger(slug, key)

    def wish(self, action):
        """Let the next action be this one."""
        self._wishes.put(action)

    def run(self, stop):
        """Ask until told to stop; an owner that is gone, or starts, is asked again."""
        while not stop.is_set():
            with self._gate.passing():
                action = self._next_action()
                try:
                    getattr(self, action)()
                    self.done[action] += 1
                except (Unavailable, Throttled):
                    self.done["unanswered"] += 1
            stop.wait(self.PAUSE_S)

    def _next_action(self):
        try:
            return self._wishes.get_nowait()
        except Empty:
            return self._rng.choice(self.ACTIONS)

    def compact(self):
        ask(self._installation, "compact")

    def flush(self):
        ask(self._installation, "flush")

    def back_up(self):
        ask(self._installation, "backup", target=str(self.backups), keep=KEPT_BACKUPS)

    def retain(self):
        """Drop the months of `brief` that nobody writes to any more, once all their rows are in files."""
        ask(self._installation, "status")  # while nobody is there the months stay as they are: there are not so many
        before = self.brief.months.move_on()
        ask(self._installation, "flush")
        self.brief.asked_before = before  # from now on: the server also drops by itself what the settings say
        self._keep(datetime.now(UTC) - start_of(before))
        ask(self._installation, "retain")
        self.brief.dropped_before = dict.fromkeys(SCHEMAS, before)

    def _keep(self, age):
        database = open_database(self._settings)
        with database.transaction() as session:
            project = get_project(session, "brief")
            settings = replace(
                get_project_settings(session, project.id),
                measurements_keep_days=age.days,
                events_keep_days=age.days,
                archive_dir=self.archive,
            )
            put_project_settings(session, project.id, settings)
        database.dispose()

    def delete_project(self):
        """Delete the newest doomed project, or find that a start has finished it, and create the next."""
        doomed = self.doomed[-1]
        doomed.fate = "deleting"
        try:
            ask(self._installation, "delete_project", project=doomed.project)
        except NotFound:
            self.done["deletions finished by a start"] += 1
        doomed.fate = "deleted"
        self.doomed.append(self._create(f"doomed-{len(self.doomed)}"))


class Killer:
    """One installation that is killed again and again while senders send and an operator asks for upkeep.

    Args:
        installation: Not running yet.
        seed: Decides how and when.
        ready_limit_s: Every start must be ready within this. [s]
    """

    def __init__(self, installation, seed, ready_limit_s):
        self.installation = installation
        self.folder = installation.data_dir.parent
        self.gate = Gate()
        self.operator = Operator(installation, seed, self.gate)
        self.kills = Counter()
        self.longest_start_s = 0.0
        self._ready_limit_s = ready_limit_s
        self._rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._ways = []

    def senders(self):
        """Return who sends to the projects."""
        operator = self.operator
        aims = {
            "steady": lambda: operator.default,
            "brief": lambda: operator.brief,
            "doomed": lambda: operator.doomed[-1],
        }
        names = ["steady-0", "steady-1", "steady-2", "brief-0", "brief-1", "doomed-0"]
        return [LedgerSender(self.installation, name, aims[name.partition("-")[0]], self.gate) for name in names]

    def working(self):
        """Return the context in which senders send and the operator asks."""
        return sending([*self.senders(), self.operator])

    def start(self):
        """Let a server run that has said in time that it is ready."""
        if self._is_running():
            return
        is_first = self.installation.process is None
        took_s = self.installation.start_until_ready()
        if is_first:  # nothing was killed yet, and on a new machine it compiles what later ones find compiled
            return
        self.longest_start_s = max(self.longest_start_s, took_s)
        assert took_s <= self._ready_limit_s, f"ready after {took_s:.2f} s"

    def _is_running(self):
        return self.installation.process is not None and self.installation.process.poll() is None

    def look(self):
        """Compare what plain readers find beside the running server with what was told, all of it being in files."""
        self.start()
        with self.gate.closed():
            ask(self.installation, "flush")
            return self.judge()

    def judge(self):
        """Compare what plain readers find with what was told; return how many rows that is."""
        return judge(self.installation.data_dir / "lake", self.operator.ledgers)

    def kill_once(self):
        """Let a server, or a command that owns the lake, live until it is killed; nobody runs afterwards."""
        while True:
            if not self._ways:
                self._ways = self._rng.sample(WAYS, len(WAYS))
            way = self._ways.pop()
            if self._live(way):
                self.kills[way] += 1
                return

    def _live(self, way):
        """Return whether it was killed; a command may come to its end before."""
        if way == "while it starts":
            return self._kill_start()
        if way.endswith("by a command"):
            return self._kill_command(way.removesuffix(" by a command"))
        self.start()
        with ExitStack() as stack:
            is_met = self._wait(way, stack)
            self.installation.kill()
        if not is_met:
            self.kills["too late for what was wanted"] += 1
        return True

    def _wait(self, way, stack):
        """Return once the moment for the kill has come; say whether it is the one that was wanted."""
        if way == "at any moment":
            time.sleep(self._rng.uniform(0.0, LIFE_S))
            return True
        if way == "backup beside a command":

            def begin():
                stack.callback(self._end_command, self.installation.begin(*self._command("backup")))

            is_met = appears(self.folder, STEPS["backup"][1], begin=begin)
        else:
            wish, pattern = STEPS[way]
            is_met = appears(self.folder, pattern, begin=lambda: wish and self.operator.wish(wish))
        self._hesitate()
        return is_met

    def _hesitate(self):
        """Let half of the blows fall a little later, so that they hit the rest of the step."""
        time.sleep(self._rng.choice([0.0, self._rng.uniform(0.0, BLOW_S)]))

    def _kill_start(self):
        self._leave_nobody_running()
        self.installation.launch()
        time.sleep(self._rng.uniform(0.0, STARTING_S))
        assert self._is_running(), self.installation.output()[-3000:]
        self.installation.kill()
        return True

    def _leave_nobody_running(self):
        if self._is_running():
            self.installation.kill()

    def _command(self, step):
        return (*OWN_STEPS[step], *([self.operator.backups, "--keep", KEPT_BACKUPS] if step == "backup" else []))

    def _end_command(self, command):
        """End a command whose server was killed: by another kill, or by itself with a reason. It may own the lake now."""
        if self._rng.random() < 0.5:
            command.kill()
        code = command.wait(60)
        assert code in {0, 1, -signal.SIGKILL}, self.installation.output()[-3000:]
        assert "Traceback" not in self.installation.output()[-3000:]

    def _kill_command(self, step):
        self._leave_nobody_running()
        command = self.installation.begin(*self._command(step))
        appears(self.folder, STEPS[step][1], is_over=lambda: command.poll() is not None)
        self._hesitate()
        command.kill()
        code = command.wait(60)
        assert code in {0, -signal.SIGKILL}, self.installation.output()[-3000:]
        return code != 0
