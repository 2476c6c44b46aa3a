"""How a command writes: through the server that owns the lake, or as the owner when none runs."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import httpx
import pyarrow as pa

from gaugehouse.cli.progress import Report
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.errors import GaugehouseError, Unavailable
from gaugehouse.ingest.accept import AppendsRows
from gaugehouse.installation import open_access, open_database
from gaugehouse.inventory import Registry
from gaugehouse.lake import CONFLICTS, Appended, Delivery
from gaugehouse.logs import configure_logs
from gaugehouse.runtime import RunningOwner, Runtime, find_owner, open_runtime
from gaugehouse.upkeep import answering

ARROW_STREAM = "application/vnd.apache.arrow.stream"
TIMEOUT_S = 120.0
OVERLOADED = 503
ERROR_FROM = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """What loading needs, whoever owns the lake."""

    lake: AppendsRows
    database: Database
    registry: Registry


class OwnLake:
    """Appends as the owner, within the quotas of the project: as through the server."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def append(self, project: str, delivery: Delivery) -> Appended:
        """Append a delivery.

        Raises:
            Throttled, Refused: the project has a quota of rows per day or of series, and this is beyond it.
        """
        quota = self._runtime.delivery_limits(project).quota
        return self._runtime.lake.append(project, replace(delivery, quota=quota))


class RemoteLake:
    """Appends through the HTTP interface of the running server, as the operator of this machine."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def append(self, project: str, delivery: Delivery) -> Appended:  # noqa: ARG002 - the token's project
        """Post the one table of a delivery; conflicts are counted by their rows, of which only the first are named."""
        ((table, batch),) = delivery.batches.items()
        assert isinstance(batch, pa.Table)  # noqa: S101 - commands bring no handful of rows
        columns = [name for name in batch.column_names if name != "body_hash"]
        return self._post(f"/v1/{table}", batch.select(columns))

    def _post(self, path: str, batch: pa.Table) -> Appended:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_table(batch.unify_dictionaries())
        body = bytes(memoryview(sink.getvalue()))
        receipt = checked(self._client.post(path, content=body, headers={"Content-Type": ARROW_STREAM})).json()
        nothing = CONFLICTS.empty_table()
        rows = pa.nulls(receipt["conflicts"], pa.string())
        return Appended(
            accepted=receipt["accepted"],
            duplicates=receipt["duplicates"],
            late=receipt.get("late", 0),
            conflicts=pa.table({"component": rows}) if len(rows) else nothing,
            received_at=datetime.fromisoformat(receipt["received_at"]),
        )


def checked(response: httpx.Response) -> httpx.Response:
    """Return the response, or raise the server's problem as ours."""
    if response.status_code < ERROR_FROM:
        return response
    is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
    detail = response.json().get("detail", "") if is_problem else f"the server answered {response.status_code}"
    if response.status_code == OVERLOADED:
        raise Unavailable(detail, retry_after_s=int(response.headers.get("retry-after", "5")))
    raise GaugehouseError(detail)


def _trust(owner: RunningOwner) -> ssl.SSLContext | bool:
    """Return what knows the running server by the very certificate that it announced.

    No name is compared: commands call it by its address, certificates name what others call it.
    """
    if owner.certificate is None:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be its own authority
    context.load_verify_locations(cadata=owner.certificate)
    return context


@contextmanager
def owner_client(settings: Settings, owner: RunningOwner, project: str) -> Iterator[httpx.Client]:
    """Give a client of the running server, signed in with this installation's own secret."""
    database = open_database(settings)
    token = open_access(settings, database).issue_operator_token(project)
    database.dispose()
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(
            base_url=owner.url, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=_trust(owner)
        ) as client:
            yield client
    except httpx.TransportError as exc:
        raise Unavailable(f"the server of this installation (pid {owner.pid}) does not answer") from exc


@contextmanager
def open_writer(settings: Settings, project: str, report: Report) -> Iterator[Writer]:
    """Give what loading needs: the running server's interface, or the lake itself."""
    layout = Layout(settings.data_dir)
    configure_logs(settings, layout.logs_dir, to_stdout=False, file_name="commands.log")
    owner = find_owner(layout)
    if owner is None:
        runtime = open_runtime(settings, report)
        try:
            with answering(runtime):
                yield Writer(lake=OwnLake(runtime), database=runtime.database, registry=runtime.registry)
        finally:
            runtime.close(flush_timeout_s=600.0)
        return
    database = open_database(settings)
    try:
        with owner_client(settings, owner, project) as client:
            yield Writer(lake=RemoteLake(client), database=database, registry=Registry(database))
    finally:
        database.dispose()
