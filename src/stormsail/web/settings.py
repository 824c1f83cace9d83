"""What one web process is told at its start."""

from dataclasses import dataclass
from pathlib import Path

from stormsail.web.sources.engine import EngineAddress


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where to listen, which engine and accounts to show, and where state lives."""

    data_dir: Path
    engine: EngineAddress
    host: str = "127.0.0.1"
    port: int = 7234
    accounts: tuple[str, ...] = ("local",)
