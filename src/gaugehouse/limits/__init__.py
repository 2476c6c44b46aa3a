"""How much anybody may ask for, and from where they ask. Pure: no I/O, the clock is given.

Owns: buckets that fill evenly, the address behind trusted proxies, what a project's own limits and quotas are.
Entry: `Buckets.take`, `find_client_address`, `Pace`, `Quota`.
May import: errors.
Invariants: memory is bounded whoever asks: the longest unused entry goes first; all may be called from any thread.
"""

from gaugehouse.limits.addresses import Networks as Networks
from gaugehouse.limits.addresses import find_client_address as find_client_address
from gaugehouse.limits.addresses import group_address as group_address
from gaugehouse.limits.addresses import read_networks as read_networks
from gaugehouse.limits.buckets import MAX_BUCKETS as MAX_BUCKETS
from gaugehouse.limits.buckets import Buckets as Buckets
from gaugehouse.limits.buckets import Rate as Rate
from gaugehouse.limits.buckets import Taken as Taken
from gaugehouse.limits.quotas import NO_QUOTA as NO_QUOTA
from gaugehouse.limits.quotas import STANDARD_PACE as STANDARD_PACE
from gaugehouse.limits.quotas import Pace as Pace
from gaugehouse.limits.quotas import Quota as Quota
from gaugehouse.limits.quotas import day_of_us as day_of_us
from gaugehouse.limits.quotas import refuse_series as refuse_series
from gaugehouse.limits.quotas import seconds_to_next_day as seconds_to_next_day
from gaugehouse.limits.quotas import strictest as strictest
