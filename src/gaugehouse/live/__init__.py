"""What changes, told to those who listen: newest values, events, progress of reports. No HTTP.

Owns: what a reader may ask for, what it is told at each of its ticks, how many readers there are, what became of them.
Entry: `Readers.open` gives a `Channel`, whose `step` returns what is to be said now.
May import: reports, lake, database, access, measurements, config, errors.

Where to look: a `wish` is what a reader asks for; a `channel` is one reader, its position and its ticks; `progress`
asks the database about reports, once for all; `readers` bounds and counts them.

Invariants: a position is an instant of receipt; after any pause the next step tells the newest value of every series
that changed since, so the last one is never lost; nothing grows with how slow a reader is; nothing here is called, or
waited for, by who writes rows; a reader sees one project, and is asked who it is again and again.
"""

from gaugehouse.live.channel import Channel as Channel
from gaugehouse.live.channel import Events as Events
from gaugehouse.live.channel import Heartbeat as Heartbeat
from gaugehouse.live.channel import Measurements as Measurements
from gaugehouse.live.channel import Message as Message
from gaugehouse.live.channel import Notice as Notice
from gaugehouse.live.channel import Progressed as Progressed
from gaugehouse.live.channel import Welcome as Welcome
from gaugehouse.live.progress import ProgressWatch as ProgressWatch
from gaugehouse.live.readers import ReaderCounts as ReaderCounts
from gaugehouse.live.readers import Readers as Readers
from gaugehouse.live.wish import MAX_RATE_HZ as MAX_RATE_HZ
from gaugehouse.live.wish import MIN_RATE_HZ as MIN_RATE_HZ
from gaugehouse.live.wish import REPORTS_LIMIT as REPORTS_LIMIT
from gaugehouse.live.wish import SERIES_LIMIT as SERIES_LIMIT
from gaugehouse.live.wish import Wish as Wish
