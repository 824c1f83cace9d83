"""What an operator does and sees, in a real browser on a real engine."""

import re
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from web.browser.conftest import House

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

SERIOUS = ("serious", "critical")
DRAWN_MAX = 30
"""Rows that a timeline of 26 rem has room for."""


def screens(house: House) -> dict[str, str]:
    """Every screen, by name."""
    scene = house.scene
    return {
        "overview": "/",
        "applications": "/applications",
        "application": "/applications/checkout",
        "operations": "/operations",
        "operation-failed": f"/operations/{scene.failed}",
        "operation-waiting": f"/operations/{scene.waiting}",
        "operation-backing-off": f"/operations/{scene.backing_off}",
        "workflows": "/workflows",
        "workflows-retrying": "/workflows?retrying=1",
        "workflow": "/workflows/{}/{}".format(*scene.order),
        "schedules": "/schedules",
        "schedule": "/schedules/nightly-report",
        "workers": "/task-queues",
    }


async def faults(page: Page, scheme: str) -> list[str]:
    """What axe finds that keeps people out. In the dark only colours can differ."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if scheme == "dark":
        options["runOnly"] = ["color-contrast"]
    found = (await Axe().run(page, options=options)).response["violations"]
    return [
        f"{page.url} {fault['id']}: {node['html'][:120]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_screen_keeps_anybody_out_or_complains(house: House, scheme: str) -> None:
    somebody = await house.viewer(scheme)
    found = []
    for path in screens(house).values():
        page = await house.page(path, of=somebody)
        await expect(page.locator("h1")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{path} is wider than a screen"
        )
        found += await faults(page, scheme)
        await page.close()
    assert found == []


async def test_the_cause_of_a_failure_is_one_click_from_the_overview(house: House) -> None:
    page = await house.page("/")
    await page.locator("#failing").get_by_role("link", name="Create server group").first.click()
    await expect(page.locator("[data-cause] .cause")).to_contain_text("no such command")
    await expect(page.locator("[data-step=createServerGroup]")).to_contain_text("Failed")


async def test_a_step_that_backs_off_is_told_with_its_attempt_and_next_try(house: House) -> None:
    page = await house.page("/")
    row = page.locator("#stuck tbody tr").filter(has_text="gateway")
    await expect(row).to_contain_text("Backing off")
    await expect(row).to_contain_text("the model cloud throttles")
    await row.get_by_role("link").first.click()
    await expect(page.locator("[data-cause]").first).to_contain_text(re.compile(r"attempt \d+"))


async def test_workflows_are_found_by_a_filter_that_stays_in_the_address(house: House) -> None:
    page = await house.page("/workflows")
    await page.get_by_label("Filter").fill("WorkflowId STARTS_WITH 'order-'")
    await page.get_by_label("Status").select_option("Running")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody")).to_contain_text("order-1001")
    assert "status=Running" in page.url
    assert "retrying" not in page.url
    await page.reload()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_label("Filter").fill("")
    await page.get_by_label("Status").select_option("")
    await page.get_by_label("Retrying only").check()
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("tbody")).to_contain_text("the warehouse has no record of order-1001")


async def test_a_filter_that_the_engine_cannot_read_is_told_with_its_words_and_is_not_an_empty_list(
    house: House,
) -> None:
    page = await house.page("/workflows?query=foo+bar")
    await expect(page.get_by_role("alert").filter(has_text="cannot read this filter")).to_be_visible()
    await expect(page.get_by_text("No run fits")).to_have_count(0)
    assert [said for said in house.complaints if "400" not in said] == []
    house.complaints.clear()  # Browsers complain of every answer that is not a good one.


async def test_a_timeline_draws_what_is_in_sight_and_is_moved_about_with_keys(house: House) -> None:
    page = await house.page("/workflows/{}/{}".format(*house.scene.marathon))
    timeline = page.locator("[data-timeline]")
    await expect(timeline).to_have_attribute("data-loaded", "true")
    rows = int(await timeline.get_attribute("data-rows") or 0)
    assert rows > 200
    assert 0 < int(await timeline.get_attribute("data-drawn") or 0) <= DRAWN_MAX
    await timeline.focus()
    await page.keyboard.press("End")
    await expect(page.locator("[data-timeline-said]")).to_contain_text(
        re.compile(r"(timer|workflow task) .*, event \d{2,}")
    )
    assert await timeline.evaluate("box => box.scrollTop") > 0
    assert 0 < int(await timeline.get_attribute("data-drawn") or 0) <= DRAWN_MAX
    await page.keyboard.press("Home")
    await expect(page.locator("[data-timeline-said]")).to_contain_text("Marathon, workflow, done, event 1")


async def test_the_timeline_says_the_same_as_a_table_of_200_rows_at_a_time(house: House) -> None:
    page = await house.page("/workflows/{}/{}".format(*house.scene.marathon))
    await expect(page.locator("[data-timeline]")).to_have_attribute("data-loaded", "true")
    table = page.locator("[data-timeline-table]")
    await table.locator("summary").click()
    await expect(table.locator("tbody tr")).to_have_count(200)
    await table.get_by_role("button", name="Later rows").click()
    await expect(table.locator("[data-timeline-range]")).to_contain_text("rows 201 to")


async def test_a_long_history_comes_window_by_window(house: House) -> None:
    page = await house.page("/workflows/{}/{}?show=all".format(*house.scene.marathon))
    events = page.locator("section", has=page.locator("#h-history")).locator("tbody tr")
    await expect(events).to_have_count(200)
    await page.get_by_role("link", name="Newer").click()
    await expect(events.first).to_contain_text("201")
    await page.get_by_role("link", name="Newest first").click()
    await expect(events.first).to_contain_text("Workflow execution completed")


async def test_what_is_not_there_is_told_as_a_page_with_where_to_go_on(house: House) -> None:
    page = await house.page("/operations/00000000-0000-0000-0000-000000000000")
    await expect(page.get_by_role("heading", name="Not there")).to_be_visible()
    await expect(page.locator("#live").get_by_role("link", name="Operations")).to_be_visible()
    assert [said for said in house.complaints if "404" not in said] == []
    house.complaints.clear()
