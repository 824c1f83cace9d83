"""AWS as the rest of this provider sees it: three services, reads, pages and writes; failures are sorted already."""

from typing import Any, Literal, Protocol

Service = Literal["autoscaling", "ec2", "elbv2"]
Answer = dict[str, Any]


class Calls(Protocol):
    """One account in one region. Every method raises only the classes of `errors.py`."""

    async def read(self, service: Service, operation: str, **arguments: Any) -> Answer:
        """Make one call that changes nothing."""
        ...

    async def pages(self, service: Service, operation: str, items: str, **arguments: Any) -> list[Answer]:
        """Read a list whole, page by page."""
        ...

    async def write(self, service: Service, operation: str, **arguments: Any) -> Answer:
        """Make one call that changes something. Cancelled, it is waited for: none is under way when this returns."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...
