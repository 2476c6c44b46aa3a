"""InfluxDB 1.6 as Debian packages it: a write-ahead log that is fsynced at each request; the last value wins."""

import json
from pathlib import Path

from benchmarks.peers import Acknowledged
from benchmarks.peers.installing import find_program
from benchmarks.peers.servers import Running, wait_until_still

# Its defaults, but for the places, the chatter, and how soon an idle shard is compacted.
CONFIGURATION = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
cache-snapshot-write-cold-duration = "2s"
compact-full-write-cold-duration = "3s"
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[logging]
level = "error"
"""


class InfluxDB:
    """A single InfluxDB 1.6."""

    title = "InfluxDB 1.6"
    acknowledged = Acknowledged.FSYNC
    drops_duplicates = True
    write_path = "/write?db=bench"

    def command(self, folder: Path, port: int) -> list[str]:
        """Return how to start it with a configuration of its own."""
        configuration = folder.parent / "influxdb.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port))
        return [str(find_program("influxdb", "influxd")), "-config", str(configuration)]

    def prepare(self, running: Running) -> None:
        """Create the database."""
        running.ask("POST", "/query?q=CREATE%20DATABASE%20bench")

    def settle(self, running: Running) -> None:
        """Wait until its idle shards are written out and compacted, which the configuration makes it do soon."""
        wait_until_still(running.size_bytes, same=15)

    def count(self, running: Running) -> int:
        """Return the values of all fields."""
        answer = json.loads(running.ask("GET", "/query?db=bench&q=SELECT%20count(*)%20FROM%20plant"))
        series = answer["results"][0].get("series", [])
        return sum(sum(row[1:]) for each in series for row in each["values"])
