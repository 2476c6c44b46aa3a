"""A queue on the database: claim, lease, heartbeat, fencing, progress, cancel; schedules. Knows no job's meaning.

Entry: `enqueue` inside the transaction that creates the job's subject; `run_worker` in a worker process;
`parse_recurrence` and `create_schedule` for what repeats, `keep_ticking` in the process that creates its jobs.
May import: access, database, measurements, config, errors.
Invariants: every write of a worker is fenced by (worker, attempt); leases compare the database's clock only; a job may
run more than once (its worker died, or was thought dead) but only one run can finish it; a fire time of a schedule has
at most one job, however many processes tick; with ceilings, no more jobs run at once than they say, and projects take
turns.
"""

from gaugehouse.jobs.calendar import Recurrence as Recurrence
from gaugehouse.jobs.calendar import parse_recurrence as parse_recurrence
from gaugehouse.jobs.control import Control as Control
from gaugehouse.jobs.control import JobCancelled as JobCancelled
from gaugehouse.jobs.control import JobInterrupted as JobInterrupted
from gaugehouse.jobs.control import JobLost as JobLost
from gaugehouse.jobs.control import Pace as Pace
from gaugehouse.jobs.control import Progress as Progress
from gaugehouse.jobs.queue import EndCallback as EndCallback
from gaugehouse.jobs.queue import Job as Job
from gaugehouse.jobs.queue import JobStatus as JobStatus
from gaugehouse.jobs.queue import JobView as JobView
from gaugehouse.jobs.queue import claim as claim
from gaugehouse.jobs.queue import enqueue as enqueue
from gaugehouse.jobs.queue import fail as fail
from gaugehouse.jobs.queue import find_cancelled as find_cancelled
from gaugehouse.jobs.queue import finish as finish
from gaugehouse.jobs.queue import get_job as get_job
from gaugehouse.jobs.queue import hasten as hasten
from gaugehouse.jobs.queue import heartbeat as heartbeat
from gaugehouse.jobs.queue import release as release
from gaugehouse.jobs.queue import request_cancel as request_cancel
from gaugehouse.jobs.queue import set_progress as set_progress
from gaugehouse.jobs.schedules import CatchUp as CatchUp
from gaugehouse.jobs.schedules import Schedule as Schedule
from gaugehouse.jobs.schedules import ScheduleWishes as ScheduleWishes
from gaugehouse.jobs.schedules import create_schedule as create_schedule
from gaugehouse.jobs.schedules import delete_schedule as delete_schedule
from gaugehouse.jobs.schedules import find_schedules as find_schedules
from gaugehouse.jobs.schedules import get_schedule as get_schedule
from gaugehouse.jobs.schedules import keep_ticking as keep_ticking
from gaugehouse.jobs.schedules import pause_schedule as pause_schedule
from gaugehouse.jobs.schedules import replace_schedule as replace_schedule
from gaugehouse.jobs.schedules import resume_schedule as resume_schedule
from gaugehouse.jobs.schedules import tick as tick
from gaugehouse.jobs.turns import Ceilings as Ceilings
from gaugehouse.jobs.turns import refuse_too_many_waiting as refuse_too_many_waiting
from gaugehouse.jobs.worker import Handler as Handler
from gaugehouse.jobs.worker import run_worker as run_worker
