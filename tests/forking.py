"""Starts processes of the product as forks of one that has imported it; see nursery.py."""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

PROGRAM = Path(__file__).with_name("nursery.py")


class Fork:
    """A process that somebody else has started, as `subprocess.Popen` shows its own.

    Args:
        pid: Its number.
        ended: File descriptor from which its exit code can be read once it has ended.
    """

    def __init__(self, pid, ended):
        self.pid = pid
        self.returncode = None
        self.stdout = None
        self._ended = ended

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            readable, _, _ = select.select([self._ended], [], [], timeout)
            if not readable:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self.returncode = int(os.read(self._ended, 16) or -signal.SIGKILL)  # nothing: its nursery was killed
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process whose forks are wanted; threads may share it."""

    def __init__(self):
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROGRAM.parent), *filter(None, sys.path)])}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
            )

    def start(self, command, *, stdin, stdout, stderr, environment, directory):
        """Start `-m MODULE ...` or `-c CODE ...` with three open files, an environment and a working directory."""
        asked = json.dumps({"command": command, "environment": environment, "directory": str(directory)}).encode()
        ended, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._requests, [asked], [stdin.fileno(), stdout.fileno(), stderr.fileno(), theirs])
                pid = int(self._requests.recv(16))
        finally:
            os.close(theirs)
        return Fork(pid, ended)

    def close(self):
        self._requests.close()
        self._process.wait()


@functools.cache
def _nursery():
    nursery = Nursery()
    atexit.register(nursery.close)
    return nursery


def fork(command, *, stdin=None, stdout, stderr=None, environment=None, directory="."):
    """Start `-m MODULE ...` or `-c CODE ...` as a fork.

    Args:
        command: What would follow `python`.
        stdin: Open file; default an empty one.
        stdout: Open file, or `subprocess.PIPE` for text.
        stderr: Open file; default where stdout goes, this process's own beside a pipe.
        environment: Default this process's own.
        directory: Working directory.
    """
    with contextlib.ExitStack() as stack:
        reading = None
        if stdin is None:
            stdin = stack.enter_context(Path(os.devnull).open("rb"))
        if stdout is subprocess.PIPE:
            ours, theirs = os.pipe()
            reading, stdout, stderr = (
                os.fdopen(ours),
                stack.enter_context(os.fdopen(theirs, "wb")),
                stderr or sys.__stderr__,
            )
        process = _nursery().start(
            list(map(str, command)),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr or stdout,
            environment=dict(os.environ if environment is None else environment),
            directory=directory,
        )
    process.stdout = reading
    return process
