"""What tests run in processes of their own; in a module because a spawned process must be able to import it.

Nothing of the lake is imported here: that takes each process three seconds more.
"""

import threading
import time
from pathlib import Path

from sqlalchemy import select

from gaugehouse.access import Access
from gaugehouse.audit import Heads, Trail
from gaugehouse.database import Database
from gaugehouse.database.tables import Setting
from gaugehouse.errors import Unauthenticated
from gaugehouse.jobs import Control, Job, JobLost, finish, run_worker


def count_up(url: str, times: int) -> None:
    """Add one to the setting `count`, each time in a transaction."""
    database = Database.open(url)
    for _ in range(times):
        with database.transaction() as session:
            row = session.scalars(select(Setting).where(Setting.name == "count").with_for_update()).one()
            row.value = {"n": row.value["n"] + 1}
    database.dispose()


def migrate_at_once(url: str, barrier) -> None:
    """Wait for the others, then migrate."""
    database = Database.open(url)
    barrier.wait()
    database.migrate()
    database.dispose()


def run_counting_worker(url: str, worker: str, stop, runs_file: str) -> None:
    """Run jobs on 4 threads until told to stop; each run and each cancelled or lost one is written down."""
    database = Database.open(url)
    runs = []

    def handle(job: Job, control: Control) -> None:
        runs.append(job.id)
        if len(runs) % 10 == 0:  # each one is a durable write
            control.progress(50, "half way")
        with database.transaction() as session:
            session.add(Setting(name=job.id, value={"worker": worker}))
            finish(session, job, {"worker": worker})
        if control.cancelled:
            runs.append(f"{job.id} {control.cause}")

    run_worker(database, {"count": handle}, worker=worker, lease_s=2.0, stop=stop, poll_s=0.02, threads=4)
    database.dispose()
    Path(runs_file).write_text("\n".join(runs), "utf-8")


def run_slow_worker(url: str, folder: str, lease_s: float) -> None:
    """Start the job `slow`, wait for the file `go`, then try to finish it; the outcome is written down."""
    database = Database.open(url)
    stop = threading.Event()

    def handle(job: Job, _control: Control) -> None:
        Path(folder, "started").touch()
        while not Path(folder, "go").exists():
            time.sleep(0.01)
        stop.set()
        outcome = "finished"
        try:
            with database.transaction() as session:
                session.add(Setting(name="from the slow worker", value={}))
                finish(session, job, {"by": "slow"})
        except JobLost:
            outcome = "lost"
        Path(folder, "outcome.draft").write_text(outcome, "utf-8")
        Path(folder, "outcome.draft").rename(Path(folder, "outcome"))

    run_worker(database, {"slow": handle}, worker="slow worker", lease_s=lease_s, stop=stop, poll_s=0.02)
    database.dispose()


def tell_many(url, secrets_dir, project_id, count, barrier):
    """Write entries into one chain of the audit log, at the same time as others."""
    database = Database.open(url)
    trail = Trail(heads=Heads(secrets_dir), actor_kind="user", actor="ann", project_id=project_id, source="local")
    barrier.wait()
    for _ in range(count):
        with database.transaction() as session:
            trail.tell(session, "component.change", name="pump-1")
    database.dispose()


def watch_token(url: str, secret: bytes, token: str, seen) -> None:
    """Ask over and over who a token stands for; tell when the first answer and when the refusal came. [s since 1970]"""
    database = Database.open(url)
    access = Access(database, secret, 900)
    access.caller_of_token(token)
    seen.put(time.time())
    try:
        while True:
            access.caller_of_token(token)
            time.sleep(0.005)
    except Unauthenticated:
        seen.put(time.time())
    database.dispose()
