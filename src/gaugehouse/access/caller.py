"""A caller: who, in which project, with which scopes. Everything an endpoint may ask about the sender."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gaugehouse.limits import STANDARD_PACE, Pace


class Scope(StrEnum):
    """What a token or key may be used for."""

    USER = "user"
    MANAGER = "manager"
    ADMIN = "admin"
    MEASUREMENTS_WRITE = "measurements:write"
    MEASUREMENTS_READ = "measurements:read"
    EVENTS_WRITE = "events:write"
    EVENTS_READ = "events:read"
    REPORTS_READ = "reports:read"
    REPORTS_WRITE = "reports:write"
    STATUS_READ = "status:read"
    FIRMWARE_READ = "firmware:read"
    ACCOUNT = "account"


class Role(StrEnum):
    """What a person is in one project."""

    VIEWER = "viewer"
    MANAGER = "manager"
    ADMIN = "admin"


ROLE_SCOPES: dict[Role, tuple[Scope, ...]] = {
    Role.VIEWER: (Scope.USER,),
    Role.MANAGER: (Scope.USER, Scope.MANAGER),
    Role.ADMIN: (Scope.USER, Scope.MANAGER, Scope.ADMIN),
}

# A static secret opens no user session (ASVS 7.2.2): keys never hold user, manager, admin or account.
KEY_SCOPES = frozenset(
    {
        Scope.MEASUREMENTS_WRITE,
        Scope.MEASUREMENTS_READ,
        Scope.EVENTS_WRITE,
        Scope.EVENTS_READ,
        Scope.REPORTS_READ,
        Scope.REPORTS_WRITE,
        Scope.STATUS_READ,
        Scope.FIRMWARE_READ,
    }
)
DEFAULT_KEY_SCOPES = (Scope.MEASUREMENTS_WRITE, Scope.MEASUREMENTS_READ, Scope.EVENTS_WRITE, Scope.EVENTS_READ)
# A device writes, and asks how it is seen and what it is to run; it reads no rows unless it is told it may.
DEVICE_KEY_SCOPES = (Scope.MEASUREMENTS_WRITE, Scope.EVENTS_WRITE, Scope.STATUS_READ, Scope.FIRMWARE_READ)
READING_SCOPES = (Scope.MEASUREMENTS_READ, Scope.EVENTS_READ)
WRITING_SCOPES = frozenset({Scope.MEASUREMENTS_WRITE, Scope.EVENTS_WRITE, Scope.REPORTS_WRITE})
# Reports cover many components: a key that is bound to one has no say in them.
PROJECT_SCOPES = frozenset({Scope.REPORTS_READ, Scope.REPORTS_WRITE})

# `manager` does not imply `user`: a token can be issued for reports alone.
IMPLIED_SCOPES: dict[Scope, frozenset[Scope]] = {
    Scope.USER: frozenset(
        {Scope.MEASUREMENTS_READ, Scope.EVENTS_READ, Scope.STATUS_READ, Scope.FIRMWARE_READ, Scope.ACCOUNT}
    ),
    Scope.MANAGER: frozenset(
        {
            Scope.MEASUREMENTS_WRITE,
            Scope.EVENTS_WRITE,
            Scope.EVENTS_READ,
            Scope.FIRMWARE_READ,
            Scope.REPORTS_READ,
            Scope.REPORTS_WRITE,
            Scope.ACCOUNT,
        }
    ),
    Scope.ADMIN: frozenset({Scope.ACCOUNT}),
    # A status is made of measurements, a version of events: who reads the rows may read what they come to.
    Scope.MEASUREMENTS_READ: frozenset({Scope.STATUS_READ}),
    Scope.EVENTS_READ: frozenset({Scope.FIRMWARE_READ}),
}

CallerKind = Literal["user", "key", "operator"]


def has_scope(held: Iterable[Scope], wanted: Scope) -> bool:
    """Return whether one of the scopes that are held is the wanted one, or implies it."""
    return any(scope is wanted or wanted in IMPLIED_SCOPES.get(scope, ()) for scope in held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls.

    Args:
        kind: A person (`user`), an API key, or the command line on the same machine (`operator`).
        name: Name of the user or key, for logs and `requested_by`; of a personal key `owner/key`.
        project: Slug of the one project this caller sees.
        project_id: Its id.
        scopes: Scopes of the token or key as issued; ask `may`, which knows what implies what.
        component: The one component a key is bound to, by name; None is the whole project.
        id: Of the user or key.
        session: Id of the session that a user's token or cookie belongs to.
        owner_id: The user whose personal key it is; empty for keys of the project, and for users.
        pace: How fast callers of its project may ask.
    """

    kind: CallerKind
    name: str
    project: str
    project_id: str
    scopes: frozenset[Scope]
    component: str | None = None
    id: str = ""
    session: str = ""
    owner_id: str = ""
    pace: Pace = STANDARD_PACE

    @property
    def account(self) -> tuple[str, str, str]:
        """Whom bounds count: a member and their keys are one, or fifty keys would be fifty times as much."""
        if self.owner_id:
            return ("user", self.project_id, self.owner_id)
        return (self.kind, self.project_id, self.id or self.name)

    def may(self, scope: Scope) -> bool:
        """Return whether this caller has a scope, directly or because another one implies it."""
        return self.kind == "operator" or has_scope(self.scopes, scope)
