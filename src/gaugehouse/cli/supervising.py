"""A worker process that lives exactly as long as its server."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

logger = structlog.get_logger()

RESTART_FIRST_S, RESTART_LAST_S = 0.5, 30.0
HEALTHY_S = 60.0  # whoever lived so long did not die of its start: the next one need not wait
STOP_S = 5.0


class Worker:
    """Starts `gaugehouse worker`, starts it again when it dies, and ends it at exit.

    The worker stops when its standard input closes, so not even a killed server leaves one behind.
    """

    def __init__(self, *, data_dir: Path, number: int) -> None:
        self._command = [sys.executable, "-m", "gaugehouse", "worker", "--with-parent", "--data", str(data_dir)]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_alive, name=f"worker-{number}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(STOP_S)
        if process is not None and process.poll() is None:
            process.kill()

    def _keep_alive(self) -> None:
        restart_s = RESTART_FIRST_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            try:
                process = self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            except OSError as exc:  # too little memory or too many processes: that passes
                logger.warning("worker_not_started", errno=exc.errno, restart_s=restart_s)
            else:
                if self._stopping.is_set():
                    process.terminate()
                code = process.wait()
                if self._stopping.is_set():
                    return
                if time.monotonic() - started_s >= HEALTHY_S:
                    restart_s = RESTART_FIRST_S
                logger.warning("worker_died", exit_code=code, restart_s=restart_s)
            self._stopping.wait(restart_s)
            restart_s = min(2 * restart_s, RESTART_LAST_S)
