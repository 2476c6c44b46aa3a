"""What devices say of themselves: status and readings, as views over measurements. No second store.

Owns: the meaning of the metrics `battery_level`, `rssi`, `online` (a status), `count` and `utc_offset_s` (a reading);
when a device is offline or at risk.
Entry: `Fleet` (all devices of a project), `heartbeats` and `status` (one of them), `history`, `readings`,
`thresholds`. `roster` knows which devices there are, `states` and `trends` judge them.
May import: query, ingest, inventory, database, lake, measurements, config, errors.
Invariants: a status goes the way of every row and is acknowledged as one; what is answered is what is stored; questions
about many devices are columns, never an object per device.
"""

from gaugehouse.fleet.overview import Counts as Counts
from gaugehouse.fleet.overview import Devices as Devices
from gaugehouse.fleet.overview import Fleet as Fleet
from gaugehouse.fleet.states import State as State
from gaugehouse.fleet.thresholds import Thresholds as Thresholds
