"""Delta Lake, write-ahead log, hot rows, known keys, snapshots. The only room that speaks deltalake and DuckDB.

Owns: everything under `lake/` and `log/` of an installation, and `LOCK`.
Entry: `Lake.open` (the one writer), `Lake.append_measurements`, `Lake.pin`; `open_snapshot` for other processes.
May import: kpi, measurements, limits, lock, config, errors.

Where to look: `owner` ties it together; `sequencer` claims and stamps (`claims` decides what is new, `known` remembers
keys, `lookup` asks files); `log` makes it durable (`segments` is its file format); `flush` turns sealed segments into
commits (`commits`, `delta`, `manifest`); `maintenance` keeps files few (`compaction`, `retention`, `plain`); `recovery`
runs at start; `snapshot` and `scan` read, `tail` shows live readers what is new; `control` is the owner's socket,
`status` and `verify` (`picture`, `deltalog`, `contents`, `surroundings`) look at the disk, `quarantine` keeps damaged
files away, `repair` brings them back (`remedies` are where from; `filerepair`, `deltarepair` for data files and Delta
logs). `values` is the table of reports' values, which is derived and takes another way (`valuecheck` looks at it).

Invariants: an acknowledged row is fsynced; a key is stored once and the first accepted value wins; rows become visible
in the order of `received_at`; a segment is deleted only after its commits are synced; only the holder of the lock
commits.
"""

from gaugehouse.lake.answers import answer_key as answer_key
from gaugehouse.lake.backup import BackedLake as BackedLake
from gaugehouse.lake.backup import Pool as Pool
from gaugehouse.lake.backup import drop_unlisted as drop_unlisted
from gaugehouse.lake.backup import restore_lake as restore_lake
from gaugehouse.lake.extent import count_rows_at_most as count_rows_at_most
from gaugehouse.lake.groups import CONFLICTS as CONFLICTS
from gaugehouse.lake.groups import Appended as Appended
from gaugehouse.lake.groups import Delivery as Delivery
from gaugehouse.lake.maintenance import CompactionDone as CompactionDone
from gaugehouse.lake.meters import Durations as Durations
from gaugehouse.lake.meters import RowCounts as RowCounts
from gaugehouse.lake.newest import NewestColumns as NewestColumns
from gaugehouse.lake.owner import Lake as Lake
from gaugehouse.lake.owner import read_committed_through as read_committed_through
from gaugehouse.lake.remedies import Mended as Mended
from gaugehouse.lake.repair import Repair as Repair
from gaugehouse.lake.repair import repair_lake as repair_lake
from gaugehouse.lake.retention import Dropped as Dropped
from gaugehouse.lake.retention import Gone as Gone
from gaugehouse.lake.retention import read_gone as read_gone
from gaugehouse.lake.segments import KeyedAnswer as KeyedAnswer
from gaugehouse.lake.snapshot import Snapshot as Snapshot
from gaugehouse.lake.snapshot import TableName as TableName
from gaugehouse.lake.snapshot import open_snapshot as open_snapshot
from gaugehouse.lake.tail import NOTHING_YET as NOTHING_YET
from gaugehouse.lake.tail import Happened as Happened
from gaugehouse.lake.tail import Look as Look
from gaugehouse.lake.tail import Span as Span
from gaugehouse.lake.tail import Tail as Tail
from gaugehouse.lake.tail import Watched as Watched
from gaugehouse.lake.values import Draft as Draft
from gaugehouse.lake.values import Portion as Portion
from gaugehouse.lake.values import ValueTable as ValueTable
from gaugehouse.lock import is_locked as is_locked
