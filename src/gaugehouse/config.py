"""Settings: read once from the environment in `main()`, frozen, passed down."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

MEBIBYTE = 1024 * 1024
QUERY_MEMORY_BYTES = 1024 * MEBIBYTE
FILES_VARIABLE = "CREDENTIALS_DIRECTORY"  # systemd sets it for LoadCredential=, our compose file for its secrets


class Settings(BaseSettings):
    """All settings of an installation. Environment variables carry the prefix `GAUGEHOUSE_`."""

    model_config = SettingsConfigDict(env_prefix="GAUGEHOUSE_", frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path("data"), description="Everything of an installation lives below this folder")
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    tls_cert: Path | None = Field(
        default=None, description="PEM file of a certificate and its chain: then we speak HTTPS, and nothing else"
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file of the certificate's private key, without a password, mode 0600"
    )
    demo: bool = Field(default=False, description="Demo mode: demo fleet, demo credentials, open docs; loopback only")
    database_url: str | None = Field(
        default=None, repr=False, description="SQLAlchemy URL of the database; default is SQLite below the data folder"
    )
    workers: int = Field(default=1, ge=0, le=64, description="Report worker processes that `serve` starts")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_file_size_bytes: int = Field(
        default=10 * MEBIBYTE, ge=MEBIBYTE, description="Log files rotate at this size [bytes]"
    )
    log_file_count: int = Field(default=5, ge=1, description="Rotated log files that are kept")

    segment_age_s: float = Field(default=15.0, gt=0, description="A log segment is sealed and flushed at this age [s]")
    segment_size_bytes: int = Field(
        default=64 * MEBIBYTE, ge=64 * 1024, description="A log segment is sealed and flushed at this size [bytes]"
    )
    unflushed_limit_bytes: int = Field(
        default=1024 * MEBIBYTE, ge=MEBIBYTE, description="Writes answer 503 above this much unflushed log [bytes]"
    )
    query_memory_bytes: int = Field(
        default=QUERY_MEMORY_BYTES,
        ge=64 * MEBIBYTE,
        description="What questions of one process may take together before they spill to the disk [bytes]",
    )
    free_space_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=0,
        description="Writes answer 507 when the disk has less free space than this [bytes]",
    )
    checkpoint_every_commits: int = Field(default=50, ge=2, description="Delta checkpoint after this many commits")
    superseded_keep_s: float = Field(
        default=86_400.0, ge=0, description="Files that a compaction replaced stay this long for running readers [s]"
    )
    index_every_commits: int = Field(default=1000, ge=1, description="Series index snapshot after this many commits")
    recent_keys_bytes: int = Field(
        default=64 * MEBIBYTE, ge=MEBIBYTE, description="Memory for hashes of recently flushed keys [bytes]"
    )
    file_keys_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Memory for hashes of older keys, per table, read when needed [bytes]",
    )
    clock_behind_limit_s: float = Field(
        default=300.0, gt=0, description="A start whose clock is further behind the newest row is refused [s]"
    )
    allow_clock_behind: bool = Field(default=False, description="Start although the clock is behind the newest row")

    body_limit_bytes: int = Field(
        default=10 * MEBIBYTE, ge=1024, le=64 * MEBIBYTE, description="Largest request body on the wire [bytes]"
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="A request body must have arrived within this time [s]"
    )
    rows_limit: int = Field(default=100_000, ge=1, description="Most rows in one request (Parquet, Arrow, CSV, NDJSON)")
    json_rows_limit: int = Field(default=20_000, ge=1, description="Most rows in one JSON array request")
    line_limit_bytes: int = Field(default=64 * 1024, ge=256, description="Longest NDJSON or CSV line [bytes]")
    line_component_tags: str = Field(
        default="component,device,host", description="Line protocol: the first of these tags names the component"
    )
    line_metric_tags: str = Field(
        default="", description="Line protocol: values of these tags become part of the metric's name"
    )
    future_limit_s: float = Field(
        default=86_400.0, ge=0, description="Rows dated further ahead than this are refused [s]"
    )
    page_limit_rows: int = Field(default=50_000, ge=1, description="Most rows in one JSON page")
    series_limit: int = Field(default=5_000_000, ge=1, description="Most distinct series in one project")

    metrics_host: str = Field(default="127.0.0.1", description="Address of the separate listener for /metrics")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="Port of a separate listener for /metrics, open to all who reach it"
    )
    metrics_token: str | None = Field(
        default=None,
        min_length=16,
        repr=False,
        description="Bearer token that opens /metrics, projects included, on any address",
    )
    otlp_endpoint: str | None = Field(
        default=None, description="OTLP/HTTP address that OpenTelemetry traces go to; none are made without it"
    )

    writes_per_minute: int = Field(
        default=600_000, ge=0, description="Most deliveries of one key or user [1/min]; 0 is any number"
    )
    write_bytes_per_s: int = Field(
        default=0, ge=0, description="Most bytes of deliveries of one key or user [bytes/s]; 0 is any number"
    )
    reads_per_minute: int = Field(
        default=60_000, ge=0, description="Most other requests of one key or user [1/min]; 0 is any number"
    )
    reports_per_minute: int = Field(
        default=6_000, ge=0, description="Most reports asked for by one user or key [1/min]; 0 is any number"
    )
    refused_per_minute: int = Field(
        default=6_000, ge=0, description="Most requests without valid credentials from one address; 0 is any number"
    )
    live_readers: int = Field(default=200, ge=0, le=900, description="Most readers of /v1/live at once")
    live_readers_per_caller: int = Field(
        default=20, ge=1, description="Of these, most of one user or key in one project"
    )
    allowed_hosts: str = Field(
        default="", description="Names that requests may be for (Host), such as data.plant.example; any without it"
    )
    cors_origins: str = Field(
        default="", description="Other sites whose scripts may call, such as https://plant.example; none without it"
    )
    trusted_proxies: str = Field(
        default="", description="Networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8,fd00::/8"
    )

    legacy_url_secret: bool = Field(
        default=False, description="Take an API key in the address of /get_firmware_updates_by_device_id"
    )
    token_lifetime_s: int = Field(default=900, ge=60, le=86_400, description="Lifetime of an access token [s]")
    session_lifetime_s: int = Field(
        default=30 * 86_400, ge=60, description="After this time since the sign-in a session ends [s]"
    )
    session_idle_s: int = Field(default=12 * 3_600, ge=60, description="A session that is not used this long ends [s]")
    lease_s: float = Field(
        default=30.0, gt=0, description="A job whose worker is silent for this long is run again [s]"
    )
    report_cells_limit: int = Field(
        default=2_000_000, ge=1, description="Most result values (series x KPIs x buckets) of one report"
    )
    report_max_rows: int = Field(
        default=500_000_000, ge=1, description="Most measurements that one report may have to read, by its files"
    )
    report_jobs: int | None = Field(
        default=None,
        ge=1,
        description="Most reports that are computed at once, over all workers; without it as many as there are workers",
    )
    report_jobs_per_project: int = Field(default=2, ge=1, description="Most reports of one project computed at once")
    report_jobs_waiting: int = Field(default=200, ge=1, description="Most reports of one project that may wait")
    reissue_s: float = Field(
        default=60.0, gt=0, description="How often reports of templates are looked at for rows that came late [s]"
    )
    worker_threads: int = Field(default=2, ge=1, le=64, description="Threads one report worker computes with")

    public_url: str | None = Field(
        default=None,
        pattern="^https?://[!-~]+[^/]$",
        description="Address that people reach this server at: links in messages begin with it",
    )
    smtp_host: str | None = Field(
        default=None, description="Mail server that reports are sent by; no e-mail without it"
    )
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Port of the mail server")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls, tls (from the first byte) or none; certificates are verified"
    )
    smtp_user: str | None = Field(default=None, description="User at the mail server, with a password")
    smtp_password: str | None = Field(default=None, repr=False, description="Password at the mail server")
    mail_sender: str = Field(
        default="gaugehouse@localhost", pattern="^[!-~]+@[!-~]+$", description="Address that reports are sent from"
    )
    delivery_limit_bytes: int = Field(
        default=10 * MEBIBYTE,
        ge=1024,
        description="Larger files are not sent by e-mail or webhook, but told of [bytes]",
    )
    delivery_dir: Path | None = Field(
        default=None, description="Folder that templates may deliver files below; none without it"
    )
    webhook_private_networks: str = Field(
        default="", description="Private networks that webhooks may reach, such as 10.0.0.0/8,fd00::/8; none without it"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options, then the environment, then files: what others must not see is no part of an environment."""
        folder = os.environ.get(FILES_VARIABLE)
        files = () if folder is None else (SecretsSettingsSource(settings_cls, secrets_dir=folder),)
        return (init_settings, env_settings, *files)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of an installation live, all below one folder."""

    data_dir: Path

    @property
    def lake_dir(self) -> Path:
        """Delta tables: `measurements`, `events`, `kpi_values`."""
        return self.data_dir / "lake"

    @property
    def log_dir(self) -> Path:
        """Write-ahead log segments, manifest and series index."""
        return self.data_dir / "log"

    @property
    def run_dir(self) -> Path:
        """Lock, and the address of the running owner."""
        return self.data_dir / "run"

    @property
    def logs_dir(self) -> Path:
        """Rotating text logs."""
        return self.data_dir / "logs"

    @property
    def reports_dir(self) -> Path:
        """Result files of reports."""
        return self.data_dir / "reports"

    @property
    def secrets_dir(self) -> Path:
        """Signing secrets, mode 0700."""
        return self.data_dir / "secrets"

    @property
    def database_note_path(self) -> Path:
        """Where the database is that `database_url` named last; without it there is none of these."""
        return self.data_dir / "DATABASE"

    @property
    def database_path(self) -> Path:
        """The SQLite database, unless `database_url` names another."""
        return self.data_dir / "gaugehouse.db"
