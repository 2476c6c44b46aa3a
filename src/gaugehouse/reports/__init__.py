"""Ask, pin, run, hand over: reports as evidence.

Owns: the pin of a report, its result file and digest, its row.
Entry: `request_report` and `reissue_report`; `run_report` as the handler of jobs of kind `report`; `get_report`,
`list_reports`, `list_revisions`, `cancel_report`, `read_result`; `find_staleness`, `compare_revisions` and
`verify_revision`; `make_pin` and `compute_report` where no server runs.
May import: jobs, inventory, query, lake, kpi, measurements, database, access, config, errors.
Invariants: everything the numbers depend on is in the pin, so the same pin gives the same digest; every series of the
pin has a row per KPI and bucket, also when it was silent; a result appears together with the end of its job, or not.
"""

from gaugehouse.reports.ask import DEFAULT_KPIS as DEFAULT_KPIS
from gaugehouse.reports.ask import PinSource as PinSource
from gaugehouse.reports.ask import make_pin as make_pin
from gaugehouse.reports.changes import CHANGES as CHANGES
from gaugehouse.reports.chunks import Limits as Limits
from gaugehouse.reports.compute import compute_report as compute_report
from gaugehouse.reports.digest import digest_result as digest_result
from gaugehouse.reports.evidence import Verdict as Verdict
from gaugehouse.reports.evidence import Verification as Verification
from gaugehouse.reports.evidence import verify_revision as verify_revision
from gaugehouse.reports.pin import Pin as Pin
from gaugehouse.reports.pin import decode_pin as decode_pin
from gaugehouse.reports.pin import encode_pin as encode_pin
from gaugehouse.reports.request import ComponentFilter as ComponentFilter
from gaugehouse.reports.request import PeriodBounds as PeriodBounds
from gaugehouse.reports.request import ReportRequest as ReportRequest
from gaugehouse.reports.result import RESULT as RESULT
from gaugehouse.reports.run import ReportWorker as ReportWorker
from gaugehouse.reports.run import run_report as run_report
from gaugehouse.reports.staleness import Staleness as Staleness
from gaugehouse.reports.staleness import compare_revisions as compare_revisions
from gaugehouse.reports.staleness import find_staleness as find_staleness
from gaugehouse.reports.store import JOB_KIND as JOB_KIND
from gaugehouse.reports.store import ReportSource as ReportSource
from gaugehouse.reports.store import ReportView as ReportView
from gaugehouse.reports.store import cancel_report as cancel_report
from gaugehouse.reports.store import find_newest_done as find_newest_done
from gaugehouse.reports.store import get_pin as get_pin
from gaugehouse.reports.store import get_report as get_report
from gaugehouse.reports.store import list_reports as list_reports
from gaugehouse.reports.store import list_revisions as list_revisions
from gaugehouse.reports.store import read_result as read_result
from gaugehouse.reports.store import reissue_report as reissue_report
from gaugehouse.reports.store import request_report as request_report
