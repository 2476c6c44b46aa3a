"""The audit log, for admins: who did what to which object, from where; and whether the log is whole."""

from functools import partial
from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gaugehouse.access import Caller
from gaugehouse.audit import INSTALLATION, EntryFilter, Verification, find_entries, verify_audit
from gaugehouse.audit.columns import batch_of, reader_of
from gaugehouse.audit.reading import read_entries
from gaugehouse.errors import Forbidden
from gaugehouse.web.api.answers import next_url
from gaugehouse.web.api.forms import ROW_FORMS
from gaugehouse.web.api.lists import ListCursor
from gaugehouse.web.edge import QueryInstant
from gaugehouse.web.encode import link_next, page_rows, stream_rows
from gaugehouse.web.negotiate import AnswerFormat, Format
from gaugehouse.web.problems import SECURED, refusals
from gaugehouse.web.security import Admin, InRuntime
from gaugehouse.web.threads import InThreads

router = APIRouter(prefix="/v1/audit", tags=["audit"])

DEFAULT_PAGE_ENTRIES = 100
OfInstallation = Annotated[
    bool, Query(description="The chain of what concerns no single project; only the operator of the machine may")
]
Limit = Annotated[
    int | None, Query(ge=1, le=1000, description="Entries per page; JSON: 100 without it, other formats: all")
]


def _choose_chain(caller: Caller, *, of_installation: bool) -> str | None:
    """Return the id of the project whose chain is asked for, None for the installation's.

    Raises:
        Forbidden: the installation's, by anybody but the operator.
    """
    if of_installation and caller.kind != "operator":
        raise Forbidden("the audit log of the installation is for its operator", code="operator_only")
    return None if of_installation else caller.project_id


@router.get(
    "",
    summary="Read the audit log",
    operation_id="find_audit_entries",
    response_class=Response,
    responses=ROW_FORMS | refusals(*SECURED, 406),
)
def list_entries(
    request: Request,
    runtime: InRuntime,
    caller: Admin,
    answer_format: AnswerFormat,
    actor: Annotated[str | None, Query(description="Name of who acted, exactly")] = None,
    action: Annotated[str | None, Query(examples=["report", "key.create"], description="A word, or its start")] = None,
    object: Annotated[str | None, Query(description="Id or name, exactly")] = None,  # noqa: A002  # the word of the API
    since: Annotated[QueryInstant | None, Query(description="From this instant on")] = None,
    until: Annotated[QueryInstant | None, Query(description="Before this instant")] = None,
    installation: OfInstallation = False,
    limit: Limit = None,
    cursor: ListCursor = None,
) -> Response:
    """Return entries, the newest first: a JSON page, or all of them as NDJSON, CSV, Arrow or Parquet."""
    chain = _choose_chain(caller, of_installation=installation)
    wanted = EntryFilter(project_id=chain, actor=actor, action=action, object=object, since=since, until=until)
    if answer_format is not Format.JSON and limit is None and cursor is None:
        return stream_rows(reader_of(read_entries(runtime.database, wanted)), answer_format)
    with runtime.database.reading() as session:
        page = find_entries(session, wanted, limit=limit or DEFAULT_PAGE_ENTRIES, cursor=cursor)
    if answer_format is not Format.JSON:
        link = link_next(next_url(request, page.next_cursor), page.next_cursor)
        return stream_rows(reader_of([page.entries]), answer_format, link)
    rows = pa.Table.from_batches([batch_of(page.entries)])
    return page_rows(rows, {"next_cursor": page.next_cursor, "total": page.total})


@router.get(
    "/verification",
    summary="Verify the audit log",
    operation_id="verify_audit_log",
    responses=refusals(*SECURED),
)
async def read_verification(
    runtime: InRuntime,
    threads: InThreads,
    caller: Admin,
    installation: OfInstallation = False,
) -> Verification:
    """Walk the chain from its first entry; return its newest hash, and the first broken entry if there is one."""
    chain = _choose_chain(caller, of_installation=installation)
    verify = partial(verify_audit, runtime.database, runtime.heads, only=chain or INSTALLATION)
    return await threads.walks.run(verify)
