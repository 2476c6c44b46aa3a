"""Ask, pin, run, hand over: reports as evidence; by template, by the calendar, delivered.

Owns: the pin of a report, its result file and digest, its row; templates, schedules of reports, deliveries.
Entry: `request_report` and `reissue_report`; `run_report` as the handler of jobs of kind `report`; `get_report`,
`list_reports`, `list_revisions`, `cancel_report`, `read_result`; `find_staleness`, `compare_revisions` and
`verify_revision`; `make_pin` and `compute_report` where no server runs.
`queue_rendering` and `run_rendering` as the handler of jobs of kind `render_report`: files of a report, made by
workers; `make_document` for what they say.
`request_templated`, and `ask_scheduled` as the handler of jobs of kind `ask_report` where the lake is open;
`run_delivery` as the handler of jobs of kind `deliver_report`; `reissue_late` now and then, where the lake is open.
`ValuePublisher` there too: it brings the values of done revisions into the lake's table `kpi_values`.
May import: jobs, inventory, query, lake, kpi, measurements, database, access, config, errors.
Invariants: everything the numbers depend on is in the pin, so the same pin gives the same digest; every series of the
pin has a row per KPI and bucket, also when it was silent; a result appears together with the end of its job, or not;
what is to be delivered is written down in that same transaction; a receiver gets each delivery at least once, always
under the same id; secrets are in no answer and no log.
"""

from gaugehouse.reports.allowance import Allowance as Allowance
from gaugehouse.reports.ask import DEFAULT_KPIS as DEFAULT_KPIS
from gaugehouse.reports.ask import PinSource as PinSource
from gaugehouse.reports.ask import make_pin as make_pin
from gaugehouse.reports.changes import CHANGES as CHANGES
from gaugehouse.reports.chunks import Limits as Limits
from gaugehouse.reports.compute import compute_answer as compute_answer
from gaugehouse.reports.compute import compute_report as compute_report
from gaugehouse.reports.definitions import FORMATS as FORMATS
from gaugehouse.reports.definitions import FileFormat as FileFormat
from gaugehouse.reports.definitions import OnLateData as OnLateData
from gaugehouse.reports.definitions import TemplateDefinition as TemplateDefinition
from gaugehouse.reports.deliver import DeliveryWorker as DeliveryWorker
from gaugehouse.reports.deliver import run_delivery as run_delivery
from gaugehouse.reports.deliveries import DELIVERY_KIND as DELIVERY_KIND
from gaugehouse.reports.deliveries import DeliveryView as DeliveryView
from gaugehouse.reports.deliveries import announce_failure as announce_failure
from gaugehouse.reports.deliveries import end_delivery as end_delivery
from gaugehouse.reports.deliveries import get_delivery as get_delivery
from gaugehouse.reports.deliveries import list_deliveries as list_deliveries
from gaugehouse.reports.deliveries import queue_deliveries as queue_deliveries
from gaugehouse.reports.deliveries import retry_delivery as retry_delivery
from gaugehouse.reports.destinations import EmailDestination as EmailDestination
from gaugehouse.reports.destinations import FolderDestination as FolderDestination
from gaugehouse.reports.destinations import Reach as Reach
from gaugehouse.reports.destinations import WebhookDestination as WebhookDestination
from gaugehouse.reports.digest import digest_result as digest_result
from gaugehouse.reports.documents import Issue as Issue
from gaugehouse.reports.documents import make_document as make_document
from gaugehouse.reports.evidence import Verdict as Verdict
from gaugehouse.reports.evidence import Verification as Verification
from gaugehouse.reports.evidence import verify_revision as verify_revision
from gaugehouse.reports.files import WantedFile as WantedFile
from gaugehouse.reports.parcel import FileSource as FileSource
from gaugehouse.reports.parcel import ReportFile as ReportFile
from gaugehouse.reports.pin import Pin as Pin
from gaugehouse.reports.pin import decode_pin as decode_pin
from gaugehouse.reports.pin import encode_pin as encode_pin
from gaugehouse.reports.printing import RENDER_KIND as RENDER_KIND
from gaugehouse.reports.printing import Printer as Printer
from gaugehouse.reports.printing import find_name as find_name
from gaugehouse.reports.printing import printed_files as printed_files
from gaugehouse.reports.printing import queue_rendering as queue_rendering
from gaugehouse.reports.printing import run_rendering as run_rendering
from gaugehouse.reports.progress import ReportProgress as ReportProgress
from gaugehouse.reports.progress import check_sees_reports as check_sees_reports
from gaugehouse.reports.progress import find_progress as find_progress
from gaugehouse.reports.reissue import reissue_late as reissue_late
from gaugehouse.reports.reissue import reissue_stale as reissue_stale
from gaugehouse.reports.request import JOB_KIND as JOB_KIND
from gaugehouse.reports.request import ComponentFilter as ComponentFilter
from gaugehouse.reports.request import KpiTarget as KpiTarget
from gaugehouse.reports.request import PeriodBounds as PeriodBounds
from gaugehouse.reports.request import ReportRequest as ReportRequest
from gaugehouse.reports.result import COMPARISON as COMPARISON
from gaugehouse.reports.result import GROUPS as GROUPS
from gaugehouse.reports.result import RESULT as RESULT
from gaugehouse.reports.result import Answer as Answer
from gaugehouse.reports.result import rank_result as rank_result
from gaugehouse.reports.run import ReportWorker as ReportWorker
from gaugehouse.reports.run import run_report as run_report
from gaugehouse.reports.schedules import FireTime as FireTime
from gaugehouse.reports.schedules import FireView as FireView
from gaugehouse.reports.schedules import ReportScheduleWishes as ReportScheduleWishes
from gaugehouse.reports.schedules import ScheduleView as ScheduleView
from gaugehouse.reports.schedules import create_report_schedule as create_report_schedule
from gaugehouse.reports.schedules import delete_report_schedule as delete_report_schedule
from gaugehouse.reports.schedules import get_report_schedule as get_report_schedule
from gaugehouse.reports.schedules import list_fires as list_fires
from gaugehouse.reports.schedules import list_report_schedules as list_report_schedules
from gaugehouse.reports.schedules import pause_report_schedule as pause_report_schedule
from gaugehouse.reports.schedules import preview_recurrence as preview_recurrence
from gaugehouse.reports.schedules import preview_report_schedule as preview_report_schedule
from gaugehouse.reports.schedules import replace_report_schedule as replace_report_schedule
from gaugehouse.reports.schedules import resume_report_schedule as resume_report_schedule
from gaugehouse.reports.staleness import Staleness as Staleness
from gaugehouse.reports.staleness import compare_revisions as compare_revisions
from gaugehouse.reports.staleness import find_staleness as find_staleness
from gaugehouse.reports.store import ReportSource as ReportSource
from gaugehouse.reports.store import ReportView as ReportView
from gaugehouse.reports.store import cancel_report as cancel_report
from gaugehouse.reports.store import check_done as check_done
from gaugehouse.reports.store import find_newest_done as find_newest_done
from gaugehouse.reports.store import get_pin as get_pin
from gaugehouse.reports.store import get_report as get_report
from gaugehouse.reports.store import list_reports as list_reports
from gaugehouse.reports.store import list_revisions as list_revisions
from gaugehouse.reports.store import read_answer as read_answer
from gaugehouse.reports.store import read_result as read_result
from gaugehouse.reports.store import reissue_report as reissue_report
from gaugehouse.reports.store import request_report as request_report
from gaugehouse.reports.surroundings import Reading as Reading
from gaugehouse.reports.surroundings import find_surroundings as find_surroundings
from gaugehouse.reports.templated import Asker as Asker
from gaugehouse.reports.templated import ask_scheduled as ask_scheduled
from gaugehouse.reports.templated import request_templated as request_templated
from gaugehouse.reports.templates import SCHEDULE_KIND as SCHEDULE_KIND
from gaugehouse.reports.templates import TemplateView as TemplateView
from gaugehouse.reports.templates import check_question as check_question
from gaugehouse.reports.templates import create_template as create_template
from gaugehouse.reports.templates import delete_template as delete_template
from gaugehouse.reports.templates import get_template as get_template
from gaugehouse.reports.templates import list_templates as list_templates
from gaugehouse.reports.templates import list_versions as list_versions
from gaugehouse.reports.templates import replace_template as replace_template
from gaugehouse.reports.values import ValuePublisher as ValuePublisher
