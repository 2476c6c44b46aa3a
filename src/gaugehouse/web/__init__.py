"""The HTTP edge: FastAPI app, one error table, `api/<resource>.py`, our own body reader, vendored docs.

Owns: statuses, headers, media types, limits of bodies and addresses, the description of the API.
Entry: `create_app(runtime)`, `configure_server(app, host, port)`. May import: everything below `cli`.

Where to look: a `connection` bounds the heads of requests; a request passes `envelope` (id, security headers, access
log, last resort) and `body` (size, time, `encodings`), then `query_fields` and `security` (the one dependency: who
calls, with which scope), then an endpoint of `api/`, which calls one use case; rows leave through `negotiate` and
`encode`, errors through `problems`. `traffic` counts what passes the envelope; `exposition` shows it, and what the
lake counts, to Prometheus; `readiness` says whether a probe may send us work. `tls` is for where no proxy has it.

Invariants: every answer from 400 up has the one shape of `problems.py`, at InfluxDB's addresses that of
`influx_errors.py`; every endpoint names its scope by a type of `security.py`; no `try` in endpoints; no Python object
per row, in or out; nothing is loaded from other hosts.
"""

from gaugehouse.web.app import create_app as create_app
from gaugehouse.web.server import configure_server as configure_server
