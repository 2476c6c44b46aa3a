"""A server without descriptors: whom it serves already it goes on serving, others wait, and nothing is lost."""

import resource
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import psutil

from faults.judging import assert_all_found_once
from functional.installation import wait_until
from functional.senders import Sender, sending

SPARE = 3
CALLERS = 40


def connect(installation):
    address = urlsplit(installation.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def test_a_server_without_descriptors_goes_on_when_it_has_some_again(found, tally):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.3"}).start()
    senders = [Sender(installation, f"sender-{i}", pause_s=0.05) for i in range(3)]
    limits = resource.prlimit(installation.pid, resource.RLIMIT_NOFILE)
    with sending(senders), ExitStack() as callers:
        wait_until(lambda: all(sender.acknowledged for sender in senders), what="the first acknowledgements")
        held = psutil.Process(installation.pid).num_fds()
        resource.prlimit(installation.pid, resource.RLIMIT_NOFILE, (held + SPARE, limits[1]))
        for _ in range(CALLERS):
            callers.enter_context(connect(installation))
        time.sleep(3)  # flushes, look-ups and new callers, all without a descriptor
        assert installation.process.poll() is None, installation.output()[-3000:]
        callers.close()
        resource.prlimit(installation.pid, resource.RLIMIT_NOFILE, limits)
        before = [len(sender.acknowledged) for sender in senders]
        wait_until(
            lambda: all(len(s.acknowledged) > count + 2 for s, count in zip(senders, before, strict=True)),
            what="writing again",
        )
        assert httpx.get(f"{installation.url}/health", trust_env=False).status_code == 200
    assert_all_found_once(installation, senders)
    tally["servers without descriptors"] += 1
