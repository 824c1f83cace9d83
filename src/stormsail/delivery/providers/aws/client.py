"""The calls over boto3, in threads of this account's own. The only module that knows the AWS library."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from stormsail.delivery.providers.aws.budget import Budget, Lane
from stormsail.delivery.providers.aws.calls import Answer, Service
from stormsail.delivery.providers.aws.faults import THROTTLED, code_of, sort_fault
from stormsail.delivery.providers.aws.settings import AccountSettings
from stormsail.delivery.providers.errors import Permanent
from stormsail.delivery.providers.urgency import urgency

SERVICES: Final[tuple[Service, ...]] = ("autoscaling", "ec2", "elbv2")
PAGES_MAX: Final = 200
_NEXT: Final = {
    "autoscaling": ("NextToken", "NextToken"),
    "ec2": ("NextToken", "NextToken"),
    "elbv2": ("NextMarker", "Marker"),
}
"""Where a service puts the mark of the next page, and where it wants it."""


class BotoCalls:
    """Opens no connection before the first call."""

    def __init__(self, settings: AccountSettings) -> None:
        # At DEBUG botocore writes signed requests and the answers of the credential services into the log.
        for name in ("botocore", "boto3"):
            quiet = logging.getLogger(name)
            quiet.setLevel(max(logging.INFO, quiet.level))
        config = Config(
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            max_pool_connections=settings.threads,
            # The workflow tries again, for hours and through restarts, and looks first where it must.
            retries={"mode": "standard", "total_max_attempts": 1},
            user_agent_extra="stormsail",
        )
        session = boto3.Session(profile_name=settings.profile or None, region_name=settings.region)
        self._clients: dict[Service, Any] = {
            service: session.client(service, config=config, endpoint_url=settings.endpoint_url or None)
            for service in SERVICES
        }
        self._budget = Budget(settings.calls_per_second, settings.burst, time.monotonic)
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="aws")

    async def read(self, service: Service, operation: str, **arguments: Any) -> Answer:
        """Make one call that changes nothing."""
        await self._budget.take(Lane.LOOK, urgency())
        return await self._in_thread(service, operation, arguments, writes=False)

    async def pages(self, service: Service, operation: str, items: str, **arguments: Any) -> list[Answer]:
        """Read a list whole, page by page. Raises Permanent past the limit: a part must not pass for the whole."""
        answered, asked = _NEXT[service]
        found: list[Answer] = []
        mark = ""
        for _ in range(PAGES_MAX):
            answer = await self.read(service, operation, **arguments, **({asked: mark} if mark else {}))
            found.extend(answer.get(items, []))
            mark = answer.get(answered) or ""
            if not mark:
                return found
        raise Permanent(f"AWS {operation}: more than {PAGES_MAX} pages; split the account by application")

    async def write(self, service: Service, operation: str, **arguments: Any) -> Answer:
        """Make one call that changes something. Cancelled, it is waited for before the cancellation goes on."""
        await self._budget.take(Lane.ACT, urgency())
        call = self._in_thread(service, operation, arguments, writes=True)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            # A write that lands after its caller is gone would meet whatever the next caller does. Timeouts bound this.
            await asyncio.wait({call})
            if not call.cancelled():
                call.exception()
            raise

    def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def _in_thread(
        self, service: Service, operation: str, arguments: dict[str, Any], *, writes: bool
    ) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()

        def call() -> Answer:
            try:
                answer: Answer = getattr(self._clients[service], operation)(**arguments)
            except (ClientError, BotoCoreError, ResponseParserError) as error:
                if code_of(error) in THROTTLED:
                    loop.call_soon_threadsafe(self._budget.throttled)
                # `from None`: the library's own error keeps the answer, which may name what is nobody's business.
                raise sort_fault(error, operation, writes=writes) from None
            return answer

        return loop.run_in_executor(self._threads, call)


def open_calls(settings: AccountSettings) -> BotoCalls:
    """Open an account. Raises Permanent when the AWS library cannot: a profile that is not there, for example."""
    try:
        return BotoCalls(settings)
    except BotoCoreError as error:
        raise sort_fault(error, "open", writes=False) from None
    except ValueError as error:
        raise Permanent(f"the AWS library refuses the settings: {error}") from None
