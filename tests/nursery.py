"""Processes by the dozen: one process imports the product and loads what it compiles; others are forks of it.

A start of Python with the product costs two to four seconds of a core, its end half a second, a fork some milliseconds.
What a fork runs is the same as `python -m gaugehouse ...` or `python -c CODE ...`, in a main thread, with files and
environment of its own; what is registered for its end is run. It differs in that nothing is read anew that is read while
modules are imported (LD_PRELOAD, PYTHON...), and that Python does not take its objects apart at the end. Both are seen by
tests of fresh processes: the shared servers, the command line's, the demo's.

Run as a program it takes requests from the socket whose number is its only argument, see `forking.Nursery`. It and all
its forks end when that socket closes.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback

PR_SET_PDEATHSIG = 1
REQUEST_BYTES = 2**20
LOADED = ("gaugehouse.cli.serving", "gaugehouse.cli.working", "gaugehouse.cli.commands", "gaugehouse.cli.reporting")
WARMED = ("gaugehouse.ingest", "gaugehouse.kpi", "gaugehouse.lake.known")


def load():
    """Import the product and load its compiled loops.

    A fork has no thread but its first. Those that are there by now are of allocators, which know of forks, of OpenBLAS,
    which starts its own anew, and of Polars, which spills nothing here.
    """
    for name in LOADED:
        importlib.import_module(name)
    for name in WARMED:
        importlib.import_module(name).warm_up()
    assert threading.active_count() == 1, "a thread of Python's is lost in a fork"


def fork_for_each(requests):
    """Answer requests until the socket closes; return, in a fork only, what it shall run."""
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            tell_ends(ends)
        if requests in ready:
            message, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 4)
            if not message:
                sys.exit()
            *files, ended = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                requests.close()
                for descriptor in (woken, waker, ended, *ends.values()):
                    os.close(descriptor)
                return json.loads(message), files
            ends[pid] = ended
            for descriptor in files:
                os.close(descriptor)
            requests.send(str(pid).encode())


def tell_ends(ends):
    """Tell how forks ended; `ends` has the pipe of each that lives."""
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        ended = ends.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody asks any more
            os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(ended)


def run(asked, files):
    """Be the process that was asked for."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["directory"])
    option, what, *arguments = asked["command"]
    sys.argv = [option, *arguments]
    code = 1
    try:
        if option == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as `python -c` does
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - said as Python says it
        traceback.print_exc()
    finally:
        end_with(code)


def end_with(code):
    """End this process as Python does, but for taking its objects apart."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    load()
    gc.collect()
    gc.freeze()  # forks look for garbage among their own objects only
    run(*fork_for_each(socket.socket(fileno=int(sys.argv[1]))))
