"""The statuses that a device has sent, page by page: rows of one instant joined into one."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from gaugehouse.fleet.status import STATUSES_SQL, no_device
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.heartbeat import STATUS_METRICS
from gaugehouse.measurements.selection import MICROSECOND, Selection

LAST_INSTANT = datetime.max.replace(tzinfo=UTC)
COUNT_SQL = "SELECT count(DISTINCT measured_at) AS n FROM rows"

PAGE_SQL = f"{STATUSES_SQL} ORDER BY measured_at DESC LIMIT $limit OFFSET $offset"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One page.

    Args:
        statuses: measured_at, battery_level [%], rssi [dBm], online (1 or 0), received_at; the newest first. What was
            not sent at an instant is null.
        total: Statuses on all pages.
    """

    statuses: pa.Table
    total: int


def read_history(  # noqa: PLR0913 - a page has this many sides
    snapshot: Snapshot,
    project: str,
    component: str,
    *,
    visible: str | None = None,
    first: datetime | None,
    last: datetime | None,
    page: int,
    page_size: int,
) -> History:
    """Read one page of a device's statuses.

    Args:
        snapshot: One pinned moment.
        project: Slug.
        component: Name.
        visible: The only device that the caller may see; None is all of them.
        first: The earliest instant, inclusive; None is the beginning.
        last: The latest instant, inclusive; None is open.
        page: 1 is the first.
        page_size: Statuses on a page.

    Raises:
        NotFound: The device never sent any, whatever the span, or the caller may not see it.
        Unavailable: A file cannot be read.
    """
    if visible not in {None, component}:
        raise no_device(component)
    end = None if last is None or last >= LAST_INSTANT else last + MICROSECOND  # whoever means for ever says so
    selection = Selection(project=project, components=(component,), metrics=STATUS_METRICS, start=first, end=end)
    total = _count(snapshot, selection)
    if not total and not _count(snapshot, Selection(project=project, components=(component,), metrics=STATUS_METRICS)):
        raise no_device(component)
    bound = {"limit": page_size, "offset": (page - 1) * page_size}
    return History(statuses=snapshot.read(selection, PAGE_SQL, bound).read_all(), total=total)


def _count(snapshot: Snapshot, selection: Selection) -> int:
    count: int = snapshot.read(selection, COUNT_SQL).read_all()["n"][0].as_py()
    return count
