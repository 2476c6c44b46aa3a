"""What free memory a process keeps, counted by the C library and the kernel, in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")

BEGIN = """
import ctypes, os, sys, threading
from gaugehouse.arenas import bound_free_memory
if sys.argv[1] == "bounded":
    bound_free_memory()
"""
COUNT_ARENAS = """
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
count = 4 * max(2, os.cpu_count() or 2)
together = threading.Barrier(count)

def allocate():
    libc.malloc(10_000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fdopen.restype, libc.malloc_info.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = [ctypes.c_void_p]
output = libc.fdopen(1, b"w")
libc.malloc_info(0, output)
libc.fflush(output)
"""
KEEP_SMALL_AMONG_LARGE = """
def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

large = b"x" * 30_000_000
del large  # by default, arrays of up to this size lie among small ones from now on
before_bytes = resident_bytes()
pairs = [[b"x" * 5_000_000, b"x" * 50_000] for _ in range(40)]
for pair in pairs:
    pair[0] = None
print(resident_bytes() - before_bytes)
"""


def run(program, how):
    command = [sys.executable, "-c", BEGIN + program, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_threads_share_one_arena_per_processor():
    most = max(2, os.cpu_count() or 2)
    assert run(COUNT_ARENAS, "as it comes").count("<heap nr=") > most
    assert 1 <= run(COUNT_ARENAS, "bounded").count("<heap nr=") <= most


def test_large_arrays_go_back_whatever_lies_beside_them():
    assert int(run(KEEP_SMALL_AMONG_LARGE, "as it comes")) > 100_000_000
    assert int(run(KEEP_SMALL_AMONG_LARGE, "bounded")) < 20_000_000
