"""A collector that takes connections and says nothing: a stop must not wait for it."""

import socket
import time

from gaugehouse.tracing import close_tracing, configure_tracing, span

PROMISED_S = 3.0
SLOW_MACHINE_S = 2.0


def test_a_silent_collector_delays_a_stop_by_three_seconds_at_most():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"
        configure_tracing(endpoint, process="test", version="0")
        for number in range(2_000):  # several batches
            with span("work", number=number):
                pass
        began_s = time.monotonic()
        close_tracing()
        assert time.monotonic() - began_s < PROMISED_S + SLOW_MACHINE_S
