"""What devices say of themselves, as views over measurements and events, and what their owners decide about firmware.

Owns: the meaning of the metrics `battery_level`, `rssi`, `online` (a status), `count` and `utc_offset_s` (a reading);
when a device is offline or at risk; releases and rollouts of firmware. Not what devices report: no second store.
Entry: `Fleet` (all devices of a project), `heartbeats` and `status` (one of them), `history`, `readings`,
`thresholds`. `roster` knows which devices there are, `states` and `trends` judge them.
Of firmware: `RunningVersions` (who runs what, from memory), `Plans` (what is decided, and what a device is to run),
`Installed` (a whole project),
`firmware` (reports of a device), `census`, `releases`, `rollouts`.
May import: query, ingest, inventory, access, database, lake, measurements, config, errors.
Invariants: what devices send goes the way of every row and is acknowledged as one; what is answered is what is stored;
questions about many devices are columns or memory, never a scan per device. A project sees its own devices only; a
withdrawn release is nobody's target; a device keeps its side of a rollout, and a growing share only adds devices.
"""

from gaugehouse.fleet.installed import Installed as Installed
from gaugehouse.fleet.overview import Counts as Counts
from gaugehouse.fleet.overview import Devices as Devices
from gaugehouse.fleet.overview import Fleet as Fleet
from gaugehouse.fleet.rollouts import Plans as Plans
from gaugehouse.fleet.running import RunningVersions as RunningVersions
from gaugehouse.fleet.states import State as State
from gaugehouse.fleet.thresholds import Thresholds as Thresholds
