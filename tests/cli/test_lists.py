"""A list is asked for page by page, no further than was asked for and no further than it goes."""

from collections.abc import Sequence

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse

from stormsail.cli.temporal.rpc import PAGE, listed


class Pages:
    """An engine that has so many workflows and gives no more than so many of them in one page."""

    def __init__(self, there: int, page: int) -> None:
        self.there, self.page = there, page
        self.sizes: list[int] = []

    async def call(self, asked: ListWorkflowExecutionsRequest, *, retry: bool) -> ListWorkflowExecutionsResponse:
        assert retry
        self.sizes.append(asked.page_size)
        first = int(asked.next_page_token or b"0")
        last = min(first + min(self.page, asked.page_size), self.there)
        token = b"" if last == self.there else str(last).encode()
        made = [WorkflowExecutionInfo(history_length=number) for number in range(first, last)]
        return ListWorkflowExecutionsResponse(executions=made, next_page_token=token)


def numbers(page: ListWorkflowExecutionsResponse) -> Sequence[int]:
    return [each.history_length for each in page.executions]


async def test_pages_are_asked_for_until_the_list_is_over() -> None:
    pages = Pages(there=25, page=10)
    assert await listed(pages.call, ListWorkflowExecutionsRequest(), 10_000, numbers) == list(range(25))
    assert pages.sizes == [PAGE, PAGE, PAGE]


async def test_no_more_is_asked_for_than_is_wanted() -> None:
    pages = Pages(there=5 * PAGE, page=PAGE)
    assert await listed(pages.call, ListWorkflowExecutionsRequest(), PAGE + 7, numbers) == list(range(PAGE + 7))
    assert pages.sizes == [PAGE, 7]
