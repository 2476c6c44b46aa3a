"""VictoriaMetrics as Debian packages it: rows wait in memory for about a second before they are written; no fsync."""

from pathlib import Path

from benchmarks.peers import Acknowledged
from benchmarks.peers.installing import find_program
from benchmarks.peers.servers import Running, wait_until_still


class VictoriaMetrics:
    """A single-node VictoriaMetrics."""

    title = "VictoriaMetrics"
    acknowledged = Acknowledged.MEMORY
    drops_duplicates = False
    write_path = "/write"

    def command(self, folder: Path, port: int) -> list[str]:
        """Return how to start it: nothing but where, and that old rows may stay."""
        program = find_program("victoria-metrics", "victoria-metrics")
        return [
            str(program),
            f"-storageDataPath={folder}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-loggerLevel=WARN",
        ]

    def prepare(self, running: Running) -> None:
        """See whether it answers."""
        running.ask("GET", "/health")

    def settle(self, running: Running) -> None:
        """Flush, merge, and wait for the end of the merges."""
        running.ask("GET", "/internal/force_flush")
        running.ask("GET", "/internal/force_merge")
        wait_until_still(running.size_bytes)

    def count(self, running: Running) -> int:
        """Return the values in its parts."""
        running.ask("GET", "/internal/force_flush")
        lines = running.ask("GET", "/metrics").decode().splitlines()
        return sum(int(line.split()[-1]) for line in lines if line.startswith('vm_rows{type="storage/'))
