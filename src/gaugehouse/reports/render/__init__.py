"""One document in, bytes of one format out.

Owns: how a report looks in JSON, CSV, XLSX, Parquet, HTML and PDF; how numbers and instants are written for people; how
values are judged against targets.
Entry: `render(document, format, options)`; `ReportDocument` is everything a report says. Who serves a file also wants
`MEDIA_TYPES`, `name_file` and, for HTML, `content_security_policy`.
May import: reports.result, reports.pin, measurements, errors. No database, no lake, no clock, no network.
Invariants: the same document and options give the same bytes; text of users is never markup, formula or script; nothing
is left out of a page without a sentence that says so; the libraries of a format load with its first rendering.
"""

from gaugehouse.reports.render.document import Chart as Chart
from gaugehouse.reports.render.document import Judging as Judging
from gaugehouse.reports.render.document import KpiDefinition as KpiDefinition
from gaugehouse.reports.render.document import ReportDocument as ReportDocument
from gaugehouse.reports.render.document import Standing as Standing
from gaugehouse.reports.render.document import Versions as Versions
from gaugehouse.reports.render.formats import DEFAULT_OPTIONS as DEFAULT_OPTIONS
from gaugehouse.reports.render.formats import MEDIA_TYPES as MEDIA_TYPES
from gaugehouse.reports.render.formats import RenderOptions as RenderOptions
from gaugehouse.reports.render.formats import ReportFormat as ReportFormat
from gaugehouse.reports.render.formats import compose_name as compose_name
from gaugehouse.reports.render.formats import name_file as name_file
from gaugehouse.reports.render.formats import normalise as normalise
from gaugehouse.reports.render.formats import render as render
from gaugehouse.reports.render.policy import content_security_policy as content_security_policy
