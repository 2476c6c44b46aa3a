import pytest

from gaugehouse.access import Caller, Scope
from gaugehouse.access.caller import KEY_SCOPES


def _caller(*scopes: Scope, kind="user") -> Caller:
    return Caller(kind=kind, name="n", project="p", project_id="prj_1", scopes=frozenset(scopes))


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        (
            Scope.USER,
            {
                Scope.USER,
                Scope.MEASUREMENTS_READ,
                Scope.EVENTS_READ,
                Scope.STATUS_READ,
                Scope.FIRMWARE_READ,
                Scope.ACCOUNT,
            },
        ),
        (
            Scope.MANAGER,
            {
                Scope.MANAGER,
                Scope.MEASUREMENTS_WRITE,
                Scope.EVENTS_WRITE,
                Scope.EVENTS_READ,
                Scope.FIRMWARE_READ,
                Scope.REPORTS_READ,
                Scope.REPORTS_WRITE,
                Scope.ACCOUNT,
            },
        ),
        (Scope.ADMIN, {Scope.ADMIN, Scope.ACCOUNT}),
        (Scope.MEASUREMENTS_READ, {Scope.MEASUREMENTS_READ, Scope.STATUS_READ}),
        (Scope.EVENTS_READ, {Scope.EVENTS_READ, Scope.FIRMWARE_READ}),
        *[(scope, {scope}) for scope in sorted(KEY_SCOPES - {Scope.MEASUREMENTS_READ, Scope.EVENTS_READ})],
    ],
)
def test_a_scope_allows_itself_and_what_it_implies_and_nothing_else(held, allowed):
    assert {scope for scope in Scope if _caller(held).may(scope)} == allowed


def test_the_operator_may_do_everything():
    assert all(_caller(kind="operator").may(scope) for scope in Scope)


def test_nobody_may_do_anything_without_scopes():
    assert not any(_caller(kind="key").may(scope) for scope in Scope)
