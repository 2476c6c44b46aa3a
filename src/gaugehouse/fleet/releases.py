"""Releases: which versions may be run, which one should be, which no longer. And the form of a project's versions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from gaugehouse.database import database_now, new_id
from gaugehouse.database.pages import load_page, read_order
from gaugehouse.database.tables import NAME_CHARACTERS, FirmwareForm, FirmwareRelease
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.fleet.targets import ReleaseState
from gaugehouse.fleet.versions import Form, read_form
from gaugehouse.inventory import Page
from gaugehouse.inventory.checks import find_text_problem
from gaugehouse.measurements.names import find_name_problem

DEFAULT_FORM = "dotted"
MAX_TEXT_CHARACTERS = 1000
URL_PATTERN = "^https?://[!-~]+$"
SHA256_PATTERN = "^[0-9a-f]{64}$"
FORMATS = {
    "url": (re.compile(URL_PATTERN), "http:// or https://"),
    "sha256": (re.compile(SHA256_PATTERN), "64 hex digits"),
}
SORT_COLUMNS = {"created_at": FirmwareRelease.created_at, "version": FirmwareRelease.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """A version to release.

    Args:
        version: In the project's form.
        component_type: Whom it is for; empty is everybody.
        state: available, recommended or withdrawn.
        url: Where it is fetched.
        sha256: Of what is fetched, 64 hexadecimal digits.
        notes: For people.
    """

    version: str
    component_type: str = ""
    state: str = ReleaseState.AVAILABLE
    url: str | None = None
    sha256: str | None = None
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseChanges:
    """What is to change; None leaves it. `reason` says why a release is withdrawn."""

    state: str | None = None
    url: str | None = None
    sha256: str | None = None
    notes: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView:
    """A release as others see it."""

    id: str
    version: str
    component_type: str
    state: ReleaseState
    url: str | None
    sha256: str | None
    notes: str
    author: str
    created_at: datetime
    updated_at: datetime
    withdrawn_at: datetime | None
    withdrawn_reason: str | None


def get_form(session: Session, project_id: str) -> Form:
    """Return the form of a project's versions."""
    row = session.get(FirmwareForm, project_id)
    return read_form(DEFAULT_FORM if row is None else row.form)


def put_form(session: Session, project_id: str, text: str) -> Form:
    """Set the form of a project's versions; what devices have reported and what was released stays as it is.

    Raises:
        Refused: it is no form.
    """
    form = read_form(text)
    row = session.get(FirmwareForm, project_id)
    if row is None:
        session.add(FirmwareForm(project_id=project_id, form=text))
    else:
        row.form, row.updated_at = text, session.scalars(select(database_now())).one()
    session.flush()
    return form


def add_release(session: Session, project_id: str, new: NewRelease, *, author: str) -> ReleaseView:
    """Add a release; one that is recommended takes the place of the one before, which stays available.

    Raises:
        Refused: the version is not of the project's form, or a text cannot be kept; the field is named.
        AlreadyExists: the version is released for this type already.
    """
    get_form(session, project_id).check(new.version)
    _check(url=new.url, sha256=new.sha256, notes=new.notes, component_type=new.component_type, state=new.state)
    same = select(FirmwareRelease.id).where(
        FirmwareRelease.project_id == project_id,
        FirmwareRelease.component_type == new.component_type,
        FirmwareRelease.version == new.version,
    )
    if session.scalar(same) is not None:
        raise AlreadyExists(f"version {new.version!r} is released already", code="release_exists")
    now = session.scalars(select(database_now())).one()
    if new.state == ReleaseState.RECOMMENDED:
        _make_room(session, project_id, new.component_type, now)
    row = FirmwareRelease(
        id=new_id("fwr"),
        project_id=project_id,
        component_type=new.component_type,
        version=new.version,
        state=new.state,
        url=new.url,
        sha256=new.sha256,
        notes=new.notes,
        author=author,
        created_at=now,
        updated_at=now,
        withdrawn_at=now if new.state == ReleaseState.WITHDRAWN else None,
    )
    session.add(row)
    session.flush()
    return _view(row)


def change_release(session: Session, project_id: str, release_id: str, changes: ReleaseChanges) -> ReleaseView:
    """Recommend, withdraw or describe a release; the version stays.

    Raises:
        NotFound: the project has none of this id.
        Refused: a text cannot be kept, or the state is none.
    """
    row = get_release_row(session, project_id, release_id)
    _check(url=changes.url, sha256=changes.sha256, notes=changes.notes, state=changes.state, reason=changes.reason)
    now = session.scalars(select(database_now())).one()
    if changes.state is not None and changes.state != row.state:
        if changes.state == ReleaseState.RECOMMENDED:
            _make_room(session, project_id, row.component_type, now)
        is_withdrawn = changes.state == ReleaseState.WITHDRAWN
        row.state, row.withdrawn_at, row.withdrawn_reason = changes.state, now if is_withdrawn else None, None
    if row.state == ReleaseState.WITHDRAWN and changes.reason is not None:
        row.withdrawn_reason = changes.reason
    row.url = row.url if changes.url is None else changes.url
    row.sha256 = row.sha256 if changes.sha256 is None else changes.sha256
    row.notes = row.notes if changes.notes is None else changes.notes
    row.updated_at = now
    session.flush()
    return _view(row)


def find_releases(
    session: Session,
    project_id: str,
    *,
    state: str | None = None,
    sort: str = "-created_at",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[ReleaseView]:
    """Return one page of a project's releases, withdrawn ones included, of one state where that is given."""
    statement = select(FirmwareRelease).where(FirmwareRelease.project_id == project_id)
    if state is not None:
        statement = statement.where(FirmwareRelease.state == state)
    order = read_order(sort, SORT_COLUMNS, FirmwareRelease.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(items=tuple(_view(row) for row in rows), next_cursor=next_cursor, total=total)


def get_release(session: Session, project_id: str, release_id: str) -> ReleaseView:
    """Return a release; NotFound when the project has none of this id."""
    return _view(get_release_row(session, project_id, release_id))


def choose_release(session: Session, project_id: str, named: str, *, component_type: str = "") -> ReleaseView:
    """Return the release that somebody names by its id, or by its version for a type of component.

    Raises:
        NotFound: the project has none of this name.
    """
    is_storable = find_name_problem(named) is None
    versions = select(FirmwareRelease).where(
        FirmwareRelease.project_id == project_id,
        FirmwareRelease.component_type == component_type,
        FirmwareRelease.version == named,
    )
    row = session.scalars(versions).one_or_none() if is_storable else None
    return get_release(session, project_id, named) if row is None else _view(row)


def get_release_row(session: Session, project_id: str, release_id: str) -> FirmwareRelease:
    """Return the row of a release; NotFound when the project has none of this id."""
    is_storable = find_name_problem(release_id) is None  # some texts would make a driver fail
    row = session.get(FirmwareRelease, release_id) if is_storable else None
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no release {release_id[:64]!r}", code="release_not_found")
    return row


def _make_room(session: Session, project_id: str, component_type: str, now: datetime) -> None:
    """Let the recommended release be an available one, before another takes its place: there is one at most."""
    session.execute(
        update(FirmwareRelease)
        .where(
            FirmwareRelease.project_id == project_id,
            FirmwareRelease.component_type == component_type,
            FirmwareRelease.state == ReleaseState.RECOMMENDED,
        )
        .values(state=ReleaseState.AVAILABLE.value, updated_at=now)
    )


def _check(*, state: str | None, **texts: str | None) -> None:
    if state is not None and state not in set(ReleaseState):
        raise _refused("state", f"is not one of {', '.join(ReleaseState)}")
    for field, text in texts.items():
        limit = NAME_CHARACTERS if field == "component_type" else MAX_TEXT_CHARACTERS
        problem = None if text is None else find_text_problem(text, limit_characters=limit)
        if problem is None and text is not None and field in FORMATS and FORMATS[field][0].search(text) is None:
            problem = f"is not {FORMATS[field][1]}"
        if problem is not None:
            raise _refused(field, problem)


def tell_changes(changes: Mapping[str, object]) -> dict[str, object]:
    """Return what the audit log keeps of changes: of an address only that it changed, for it may hold a token."""
    return dict(changes) | {name: "changed" for name in ("url",) if name in changes}


def _refused(field: str, reason: str) -> Refused:
    return Refused(
        f"the release cannot be kept: {field} {reason}",
        code="release_refused",
        fields={"errors": [{"field": field, "reason": reason}]},
    )


def _view(row: FirmwareRelease) -> ReleaseView:
    return ReleaseView(
        id=row.id,
        version=row.version,
        component_type=row.component_type,
        state=ReleaseState(row.state),
        url=row.url,
        sha256=row.sha256,
        notes=row.notes,
        author=row.author,
        created_at=row.created_at,
        updated_at=row.updated_at,
        withdrawn_at=row.withdrawn_at,
        withdrawn_reason=row.withdrawn_reason,
    )
