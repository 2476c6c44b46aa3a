"""All tables. Rooms share these rows; only rows, never measurements, live here."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gaugehouse.database.clock import UtcDateTime, database_now

EMAIL_CHARACTERS = 320
NAME_CHARACTERS = 200  # the name rule of measurements/names.py
ID_COLUMN = String(32)
JSON_COLUMN = JSON().with_variant(JSONB(), "postgresql")
NULLABLE_JSON_COLUMN = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# Pages continue after a name, so both engines must order names alike: by code point, not by a server's locale.
NAME_COLUMN = String(NAME_CHARACTERS).with_variant(String(NAME_CHARACTERS, collation="C"), "postgresql")


class Base(DeclarativeBase):
    """Declarative base: names of constraints are fixed, so that migrations can name them on both engines."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's declared class attribute
        datetime: UtcDateTime(),
        dict[str, Any]: JSON_COLUMN,
        dict[str, str]: JSON_COLUMN,
        list[str]: JSON_COLUMN,
    }


class Project(Base):
    """A tenant: owns everything below it."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    slug: Mapped[str] = mapped_column(NAME_COLUMN, unique=True)
    title: Mapped[str] = mapped_column(String(NAME_CHARACTERS), default="")
    register_unknown: Mapped[bool] = mapped_column(default=True)
    lateness_limit_s: Mapped[float | None]
    measurements_keep_days: Mapped[int | None]
    events_keep_days: Mapped[int | None]
    archive_dir: Mapped[str | None] = mapped_column(Text)
    writes_per_minute: Mapped[int | None]
    write_bytes_per_s: Mapped[int | None] = mapped_column(BigInteger)
    reads_per_minute: Mapped[int | None]
    reports_per_minute: Mapped[int | None]
    series_quota: Mapped[int | None]
    rows_per_day_quota: Mapped[int | None] = mapped_column(BigInteger)
    reports_waiting_quota: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class User(Base):
    """A person with a password. `token_version` counts up when all tokens issued so far must end."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    name: Mapped[str] = mapped_column(NAME_COLUMN, unique=True)
    email: Mapped[str | None] = mapped_column(String(EMAIL_CHARACTERS), index=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    token_version: Mapped[int] = mapped_column(default=1)
    is_demo: Mapped[bool] = mapped_column(default=False)
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Membership(Base):
    """What a user is in a project: viewer, manager or admin."""

    __tablename__ = "memberships"

    user_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class ApiKey(Base):
    """A key of a device or a script; only its SHA-256 is kept. `component` is a name: it may not exist yet.

    `owner_id` is the member whose personal key it is. `successor_id` is the key that it was replaced by.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        Index(None, "project_id", "component"),
        Index(None, "project_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    owner_id: Mapped[str | None] = mapped_column(ID_COLUMN, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(NAME_COLUMN)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    shown: Mapped[str] = mapped_column(String(8))
    component: Mapped[str | None] = mapped_column(NAME_COLUMN)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    successor_id: Mapped[str | None] = mapped_column(ID_COLUMN)


class OneTimeLink(Base):
    """An invitation to a project, or leave to set a forgotten password; only the SHA-256 of its token is kept."""

    __tablename__ = "one_time_links"

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    project_id: Mapped[str | None] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str | None] = mapped_column(ID_COLUMN, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[str | None] = mapped_column(String(16))
    email: Mapped[str | None] = mapped_column(String(EMAIL_CHARACTERS))
    made_by: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SigningKey(Base):
    """A key that signs access tokens. `sealed` opens with the secret file of the installation that `sealed_by` names.

    `longest_lifetime_s`: no token that it signed lives longer. `verifies_until`: null as long as no other key follows.
    """

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(43), primary_key=True)
    sealed: Mapped[str] = mapped_column(String(128))
    sealed_by: Mapped[str] = mapped_column(String(16))
    longest_lifetime_s: Mapped[int]
    signs_from: Mapped[datetime]
    verifies_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class LoginSession(Base):
    """Somebody who signed in, until they leave: `token` is a family of refresh tokens, `page` a cookie.

    A session that ended is deleted. It counts only as long as `token_version` is that of its user.
    """

    __tablename__ = "login_sessions"
    __table_args__ = (Index(None, "user_id", "used_at"),)

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    user_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("users.id", ondelete="CASCADE"))
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    scopes: Mapped[list[str]]
    token_version: Mapped[int]
    cookie_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    used_at: Mapped[datetime] = mapped_column(default=database_now(), index=True)


class RefreshToken(Base):
    """A token of a session that buys the next one; only its SHA-256 is kept. Used ones stay: they betray a thief.

    `replaced_at`: it was issued again because its answer seemed lost; whoever uses it now took it from somebody.
    """

    __tablename__ = "refresh_tokens"
    __table_args__ = (UniqueConstraint("session_id", "generation"),)

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("login_sessions.id", ondelete="CASCADE"))
    generation: Mapped[int]
    used_at: Mapped[datetime | None]
    replaced_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Component(Base):
    """The thing measured. `search_text` is name and title casefolded: SQLite folds ASCII only.

    `moved_to` is the id of the project that it went to; this row stays for what it sent before.
    """

    __tablename__ = "components"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index(None, "project_id", "type", "id"),
        Index(None, "project_id", "created_at", "id"),
        Index(  # few of a million: found without a look at the others
            None,
            "project_id",
            "retired_at",
            sqlite_where=text("retired_at IS NOT NULL"),
            postgresql_where=text("retired_at IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(NAME_COLUMN)
    title: Mapped[str] = mapped_column(NAME_COLUMN, default="")
    type: Mapped[str] = mapped_column(NAME_COLUMN, default="")
    labels: Mapped[dict[str, str]] = mapped_column(default=dict)
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    oee: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON_COLUMN)
    search_text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())
    commissioned_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    moved_to: Mapped[str | None] = mapped_column(ID_COLUMN)


class Metric(Base):
    """Attributes of a metric: one row for the project, and where they differ one per component (null: inherited)."""

    __tablename__ = "metrics"
    __table_args__ = (
        Index(
            "uq_metrics_project_id_name",
            "project_id",
            "name",
            unique=True,
            sqlite_where=text("component_id IS NULL"),
            postgresql_where=text("component_id IS NULL"),
        ),
        UniqueConstraint("component_id", "name"),
        Index(None, "project_id", "component_id"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    component_id: Mapped[str | None] = mapped_column(ID_COLUMN, ForeignKey("components.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(NAME_COLUMN)
    search_text: Mapped[str] = mapped_column(Text)
    title: Mapped[str | None] = mapped_column(NAME_COLUMN)
    kind: Mapped[str | None] = mapped_column(String(16))
    unit: Mapped[str | None] = mapped_column(String(256))
    lsl: Mapped[float | None]
    usl: Mapped[float | None]
    target: Mapped[float | None]
    nominal_interval_s: Mapped[float | None]
    max_hold_s: Mapped[float | None]
    rollover_at: Mapped[float | None]
    max_rate: Mapped[float | None]
    state_classes: Mapped[dict[str, str] | None] = mapped_column(NULLABLE_JSON_COLUMN)
    state_names: Mapped[dict[str, str] | None] = mapped_column(NULLABLE_JSON_COLUMN)
    alive_metric: Mapped[str | None] = mapped_column(NAME_COLUMN)
    lateness_s: Mapped[float | None]
    subgroup: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())


class KpiDefinition(Base):
    """One version of a KPI that a project defined; versions are never changed or deleted: reports name them."""

    __tablename__ = "kpi_definitions"
    __table_args__ = (UniqueConstraint("project_id", "name", "version"),)

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(NAME_COLUMN)
    version: Mapped[int]
    title: Mapped[str] = mapped_column(NAME_COLUMN)
    unit: Mapped[str] = mapped_column(String(64))
    formula: Mapped[str] = mapped_column(Text)
    edge: Mapped[str] = mapped_column(Text, default="")
    higher_is_better: Mapped[bool | None]
    metric_units: Mapped[dict[str, str]] = mapped_column(default=dict)
    defined_by: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class ShiftCalendarVersion(Base):
    """The shifts of a project as they were from one change to the next; rows are never changed."""

    __tablename__ = "shift_calendars"

    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calendar: Mapped[dict[str, Any]]
    author: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class ExclusionWindow(Base):
    """Time that does not count, of all components or of those in `exclusion_components`; withdrawn, never deleted."""

    __tablename__ = "exclusions"
    __table_args__ = (Index(None, "project_id", "starts_at", "id"),)

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    is_for_all: Mapped[bool]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[str | None] = mapped_column(NAME_COLUMN)


class ExclusionComponent(Base):
    """A component whose time an exclusion window takes out."""

    __tablename__ = "exclusion_components"

    exclusion_id: Mapped[str] = mapped_column(
        ID_COLUMN, ForeignKey("exclusions.id", ondelete="CASCADE"), primary_key=True
    )
    component_id: Mapped[str] = mapped_column(
        ID_COLUMN, ForeignKey("components.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Job(Base):
    """Work that a worker process picks up. `attempts` only grows: with `worker` it fences every later write."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "status", "run_at"),
        Index(None, "subject_id"),
        Index(None, "project_id", "kind", "claimed_at"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    project_id: Mapped[str | None] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    subject_id: Mapped[str] = mapped_column(ID_COLUMN)
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    priority: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    attempts_limit: Mapped[int]
    run_at: Mapped[datetime] = mapped_column(default=database_now())
    worker: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress_percent: Mapped[float] = mapped_column(default=0.0)
    doing: Mapped[str] = mapped_column(Text, default="")
    phase: Mapped[str] = mapped_column(String(32), default="")
    rows_read: Mapped[int | None] = mapped_column(BigInteger)
    rows_total: Mapped[int | None] = mapped_column(BigInteger)
    estimated_end_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    reason_code: Mapped[str | None] = mapped_column(String(64))
    result: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    claimed_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Report(Base):
    """A question of a manager; `revision` is the newest that was issued."""

    __tablename__ = "reports"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    requested_by: Mapped[str] = mapped_column(NAME_COLUMN)
    period_expression: Mapped[str] = mapped_column(String(256))
    timezone: Mapped[str] = mapped_column(String(64))
    request: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(default=1)
    template_id: Mapped[str | None] = mapped_column(ID_COLUMN)
    template_name: Mapped[str | None] = mapped_column(NAME_COLUMN)
    template_version: Mapped[int | None]
    reissued_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class ReportRevision(Base):
    """One answer to a report's question: its pin and what came of it; how far it is, its job `job_id` says.

    `values_batch` is the batch in which its values go into the lake's table; they are there once that is committed.
    """

    __tablename__ = "report_revisions"
    __table_args__ = (
        Index(None, "job_id"),
        # Of done ones only: asked every few seconds, and a pin may be megabytes long.
        Index(
            None,
            "values_batch",
            sqlite_where=text("digest IS NOT NULL"),
            postgresql_where=text("digest IS NOT NULL"),
        ),
    )

    report_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("reports.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    requested_by: Mapped[str] = mapped_column(NAME_COLUMN)
    because: Mapped[str] = mapped_column(Text)
    pin: Mapped[dict[str, Any]]
    as_of: Mapped[datetime | None]
    asked_at: Mapped[datetime]
    job_id: Mapped[str] = mapped_column(ID_COLUMN)
    digest: Mapped[str | None] = mapped_column(String(128))
    result_path: Mapped[str | None] = mapped_column(Text)
    result_rows: Mapped[int | None]
    values_batch: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class ReportTemplate(Base):
    """A saved report definition by name. One that is deleted stays, without its name, for the reports it made."""

    __tablename__ = "report_templates"
    __table_args__ = (
        Index(
            "uq_report_templates_project_id_name",
            "project_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(NAME_COLUMN)
    version: Mapped[int] = mapped_column(default=1)
    owner: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    deleted_at: Mapped[datetime | None]


class ReportTemplateVersion(Base):
    """What a template said from one change to the next; never changed."""

    __tablename__ = "report_template_versions"

    template_id: Mapped[str] = mapped_column(
        ID_COLUMN, ForeignKey("report_templates.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    author: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class WebhookSecret(Base):
    """What deliveries to one address of a template are signed with; in no answer and in no version."""

    __tablename__ = "webhook_secrets"

    template_id: Mapped[str] = mapped_column(
        ID_COLUMN, ForeignKey("report_templates.id", ondelete="CASCADE"), primary_key=True
    )
    url: Mapped[str] = mapped_column(String(1000), primary_key=True)
    secret: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Schedule(Base):
    """A job that is due again and again. `version` counts changes: a tick takes what it has seen, or nothing."""

    __tablename__ = "schedules"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index(None, "next_at"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(NAME_COLUMN)
    kind: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    recurrence: Mapped[str] = mapped_column(String(256))
    timezone: Mapped[str] = mapped_column(String(64))
    catch_up: Mapped[str] = mapped_column(String(16))
    catch_up_limit: Mapped[int]
    next_at: Mapped[datetime]
    paused_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None] = mapped_column(Text)
    author: Mapped[str] = mapped_column(NAME_COLUMN)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())


class ScheduleFire(Base):
    """That a schedule came due, once for each instant; `job_id` is null where the time was missed and left out."""

    __tablename__ = "schedule_fires"
    __table_args__ = (UniqueConstraint("schedule_id", "fire_at"),)

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    schedule_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("schedules.id", ondelete="CASCADE"))
    fire_at: Mapped[datetime]
    job_id: Mapped[str | None] = mapped_column(ID_COLUMN)
    skipped: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Delivery(Base):
    """One revision of a report on its way to one address. The id never changes: receivers know repeats by it."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("report_id", "revision", "kind", "address"),
        Index(None, "project_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    report_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("reports.id", ondelete="CASCADE"))
    revision: Mapped[int]
    template_id: Mapped[str] = mapped_column(ID_COLUMN)
    kind: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(1000))
    content: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[str] = mapped_column(ID_COLUMN)
    tried_since: Mapped[datetime] = mapped_column(default=database_now())
    next_attempt_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class FirmwareForm(Base):
    """In which form the versions of a project are; `dotted` without a row."""

    __tablename__ = "firmware_forms"

    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    form: Mapped[str] = mapped_column(String(100))
    updated_at: Mapped[datetime] = mapped_column(default=database_now())


class FirmwareRelease(Base):
    """A version that devices of a type may run, or may no longer; never deleted. An empty type is every type."""

    __tablename__ = "firmware_releases"
    __table_args__ = (
        UniqueConstraint("project_id", "component_type", "version"),
        Index(
            "uq_firmware_releases_recommended",
            "project_id",
            "component_type",
            unique=True,
            sqlite_where=text("state = 'recommended'"),
            postgresql_where=text("state = 'recommended'"),
        ),
        Index(None, "project_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    component_type: Mapped[str] = mapped_column(NAME_COLUMN, default="")
    version: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16))
    url: Mapped[str | None] = mapped_column(String(1000))
    sha256: Mapped[str | None] = mapped_column(String(64))
    notes: Mapped[str] = mapped_column(Text, default="")
    author: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None] = mapped_column(Text)


class FirmwareRollout(Base):
    """Which devices are told to run a release: a share of all, of those with labels, or of those in a list."""

    __tablename__ = "firmware_rollouts"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "release_id"),
    )

    id: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"))
    release_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("firmware_releases.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(16))
    share_percent: Mapped[float]
    labels: Mapped[dict[str, str]] = mapped_column(default=dict)
    components: Mapped[list[str] | None] = mapped_column(NULLABLE_JSON_COLUMN)
    author: Mapped[str] = mapped_column(NAME_COLUMN)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())


class Setting(Base):
    """One named value of the installation, changeable while it runs."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime] = mapped_column(default=database_now())


class AuditChain(Base):
    """How far a chain of the audit log came: its newest entry. `chain` is a project's id, or `installation`.

    No reference to the project: the database lets a chain go only when the installation's says so (triggers).
    """

    __tablename__ = "audit_chains"

    chain: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class AuditEntry(Base):
    """One act. Triggers refuse to change or delete it. `details` is text: it is hashed as it stands."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index(None, "chain", "at"),)

    chain: Mapped[str] = mapped_column(ID_COLUMN, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(NAME_COLUMN)
    action: Mapped[str] = mapped_column(String(64))
    object_kind: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str | None] = mapped_column(NAME_COLUMN)
    object_name: Mapped[str | None] = mapped_column(NAME_COLUMN)
    source: Mapped[str] = mapped_column(NAME_COLUMN)
    request_id: Mapped[str | None] = mapped_column(NAME_COLUMN)
    details: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class FleetThresholds(Base):
    """When devices of a project are offline or at risk, where a manager has decided so; else the defaults hold."""

    __tablename__ = "fleet_thresholds"

    project_id: Mapped[str] = mapped_column(ID_COLUMN, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    offline_after_s: Mapped[float]
    low_battery_percent: Mapped[float]
    weak_rssi_dbm: Mapped[float]
    falling_battery_percent_per_hour: Mapped[float]
    falling_battery_window_s: Mapped[float]
    updated_at: Mapped[datetime] = mapped_column(default=database_now())
