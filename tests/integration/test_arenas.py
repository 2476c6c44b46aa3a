"""Memory of many threads, counted by the C library itself, in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, sys, threading
from gaugehouse.arenas import share_arenas
if sys.argv[1] == "shared":
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
count = 4 * max(2, os.cpu_count() or 2)
together = threading.Barrier(count)
def allocate():
    libc.malloc(10_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(count)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype, libc.malloc_info.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = [ctypes.c_void_p]
stdout = libc.fdopen(1, b"w")
libc.malloc_info(0, stdout)
libc.fflush(stdout)
"""


def count_arenas(how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_one_arena_per_processor():
    most = max(2, os.cpu_count() or 2)
    assert count_arenas("own") > most  # what a process does by itself
    assert 1 <= count_arenas("shared") <= most
