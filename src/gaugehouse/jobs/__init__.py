"""A queue on the database: claim, lease, heartbeat, fencing, progress, cancel. Knows no job's meaning.

Entry: `enqueue` inside the transaction that creates the job's subject; `run_worker` in a worker process.
May import: access, database, config, errors.
Invariants: every write of a worker is fenced by (worker, attempt); leases compare the database's clock only; a job may
run more than once (its worker died, or was thought dead) but only one run can finish it.
"""

from gaugehouse.jobs.control import Control as Control
from gaugehouse.jobs.control import JobCancelled as JobCancelled
from gaugehouse.jobs.control import JobInterrupted as JobInterrupted
from gaugehouse.jobs.control import JobLost as JobLost
from gaugehouse.jobs.queue import EndCallback as EndCallback
from gaugehouse.jobs.queue import Job as Job
from gaugehouse.jobs.queue import JobStatus as JobStatus
from gaugehouse.jobs.queue import JobView as JobView
from gaugehouse.jobs.queue import claim as claim
from gaugehouse.jobs.queue import enqueue as enqueue
from gaugehouse.jobs.queue import fail as fail
from gaugehouse.jobs.queue import finish as finish
from gaugehouse.jobs.queue import get_job as get_job
from gaugehouse.jobs.queue import heartbeat as heartbeat
from gaugehouse.jobs.queue import release as release
from gaugehouse.jobs.queue import request_cancel as request_cancel
from gaugehouse.jobs.queue import set_progress as set_progress
from gaugehouse.jobs.worker import Handler as Handler
from gaugehouse.jobs.worker import run_worker as run_worker
