"""One question: resolve, one scan, an Arrow stream.

Owns: the statements that users' questions become, pages and their cursors, buckets for plots.
Entry: `read_measurements`, `read_events`, `read_buckets`, `summarize`, `find_extent`, `choose_every`,
`resolve_components`. The newest value of each series comes from `lake.newest`, without a question.
May import: inventory, lake, measurements, config, errors.
Invariants: one snapshot per question; values are bound, never written into SQL; no object per row.
"""

from gaugehouse.query.buckets import AGGREGATES as AGGREGATES
from gaugehouse.query.buckets import Aggregate as Aggregate
from gaugehouse.query.buckets import read_buckets as read_buckets
from gaugehouse.query.components import find_known_names as find_known_names
from gaugehouse.query.components import resolve_components as resolve_components
from gaugehouse.query.resolution import choose_every as choose_every
from gaugehouse.query.resolution import find_every as find_every
from gaugehouse.query.rows import Page as Page
from gaugehouse.query.rows import find_as_of as find_as_of
from gaugehouse.query.rows import read_events as read_events
from gaugehouse.query.rows import read_measurements as read_measurements
from gaugehouse.query.summary import Extent as Extent
from gaugehouse.query.summary import find_extent as find_extent
from gaugehouse.query.summary import summarize as summarize
