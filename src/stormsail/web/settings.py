"""What one web process is told at its start."""

from dataclasses import dataclass
from pathlib import Path

from stormsail.delivery.records.audit import RETENTION_DAYS
from stormsail.web.guard.door import is_loopback
from stormsail.web.guard.limits import REQUESTS, SPAN_S
from stormsail.web.sources.engine import EngineAddress
from stormsail.web.sources.held import DEADLINE_S


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where to listen, which engine and accounts to show, and where state lives."""

    data_dir: Path
    engine: EngineAddress
    host: str = "127.0.0.1"
    port: int = 7234
    accounts: tuple[str, ...] = ("local",)
    records_url: str = ""
    """Where delivery's records are; empty means a SQLite file in the data directory."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    """Further names that we may be asked under."""
    sign_in: bool = False
    """Whether a key is needed on loopback too."""
    requests_max: int = REQUESTS
    requests_span_s: float = SPAN_S
    audit_days: int = RETENTION_DAYS
    deadline_s: float = DEADLINE_S
    """How long a viewer waits for a source before it is shown the last good answer."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the page."""
        return is_loopback(self.host)
