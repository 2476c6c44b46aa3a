"""What devices say of themselves: status and readings, as views over measurements. No second store.

Owns: the meaning of the metrics `battery_level`, `rssi`, `online` (a status), `count` and `utc_offset_s` (a reading);
when a device is offline or at risk.
Entry: `read_heartbeat`, `accept_heartbeat`, `find_status`, `read_history`.
May import: query, ingest, inventory, lake, measurements, config, errors.
Invariants: a status goes the way of every row and is acknowledged as one; what is answered is what is stored; questions
about many devices are columns, never an object per device.
"""
