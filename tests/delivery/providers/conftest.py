"""Fixtures of the aws provider's tests. Moto is only loaded where they are asked for: it takes a second."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from delivery.providers.aws_cloud import StrictCloud
    from delivery.providers.aws_proxy import Moto


@pytest.fixture(scope="session")
def moto() -> "Iterator[Moto]":
    """Moto's server, for all tests."""
    from delivery.providers.aws_proxy import Moto

    server = Moto()
    yield server
    server.stop()


@pytest.fixture
def cloud(moto: "Moto", monkeypatch: pytest.MonkeyPatch) -> "Iterator[StrictCloud]":
    """An empty AWS account on the strict cloud, and credentials for it in the environment."""
    from delivery.providers.aws_account import CREDENTIALS, strict_cloud

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with strict_cloud(moto) as cloud:
        yield cloud
