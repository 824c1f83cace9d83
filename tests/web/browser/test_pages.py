"""What an operator does and sees, in a real browser on a real engine."""

import re
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from stormsail.delivery.providers.model.faults import Fault
from web.browser.conftest import House
from web.pages.commands import accepted

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

SERIOUS = ("serious", "critical")
LOADS_MAX = 10
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
        "operation-waiting": f"/operations/{scene.waiting}",
        "operation-canary": f"/operations/{scene.canary}",
        "workflows": "/workflows",
        "workflow": "/workflows/{}/{}".format(*scene.order),
        "schedules": "/schedules",
        "schedule": "/schedules/nightly-report",
        "workers": "/task-queues",
        "audit": "/audit",
        "settings": "/settings",
        "sign-in": "/sign-in",
    }


async def faults(page: Page, *rules: str) -> list[str]:
    """What axe finds that keeps people out."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = rules
    found = (await Axe().run(page, options=options)).response["violations"]
    return [
        f"{page.url} {fault['id']}: {node['html'][:120]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


async def test_no_screen_keeps_anybody_out_or_complains_in_light_or_dark(house: House) -> None:
    somebody = await house.viewer()
    found = []
    for path in screens(house).values():
        page = await house.page(path, of=somebody)
        await expect(page.locator("h1")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        found += await faults(page)
        await page.emulate_media(color_scheme="dark")
        found += await faults(page, "color-contrast")  # Nothing else differs in the dark.
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
    house.excused.append("400")  # Browsers complain of every answer that is not a good one.
    page = await house.page("/workflows?query=foo+bar")
    await expect(page.get_by_role("alert").filter(has_text="cannot read this filter")).to_be_visible()
    await expect(page.get_by_text("No run fits")).to_have_count(0)


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
    if house.theatre.engine.name == "temporal":
        pytest.skip("Temporal counts transactions to a page of history, and not events")
    page = await house.page("/workflows/{}/{}?show=all".format(*house.scene.marathon))
    events = page.locator("section", has=page.locator("#h-history")).locator("tbody tr")
    await expect(events).to_have_count(200)
    await page.get_by_role("link", name="Newer").click()
    await expect(events.first).to_contain_text("201")
    await page.get_by_role("link", name="Newest first").click()
    await expect(events.first).to_contain_text("Workflow execution completed")


async def test_the_timeline_is_painted_before_anything_else_of_the_run_is_asked_for(house: House) -> None:
    path = "/workflows/{}/{}".format(*house.scene.marathon)
    page = await house.page(path)
    await expect(page.locator("[data-timeline]")).to_have_attribute("data-loaded", "true")
    # Only of a run whose rows are known is it sure that they are there soon enough to stand in the page. Where nothing
    # was painted for a second the page waits no longer, which it says: such a load shows only that the machine is busy.
    for _ in range(LOADS_MAX):
        await page.goto(f"{house.theatre.address}{path}")
        await heard(page)
        if not await page.locator("main[data-late]").count():
            break
    await expect(page.locator("#event-1")).to_have_count(1)
    painted = await page.evaluate("performance.getEntriesByName('timeline-shown')[0].startTime")
    asked = await page.evaluate(
        """path => performance.getEntriesByType("resource")
      .filter((one) => one.name.includes(path)).map((one) => one.startTime)""",
        path,
    )
    assert asked
    assert min(asked) >= painted
    # Nothing has changed since: the page says which live part it has, and nothing is sent again.
    async with page.expect_response(lambda answer: answer.request.headers.get("if-none-match") is not None) as told:
        await page.evaluate("document.dispatchEvent(new CustomEvent('stormsail:done'))")
    assert (await told.value).status == 304


async def test_what_is_not_there_is_told_as_a_page_with_where_to_go_on(house: House) -> None:
    house.excused.append("404")
    page = await house.page("/operations/00000000-0000-0000-0000-000000000000")
    await expect(page.get_by_role("heading", name="Not there")).to_be_visible()
    await expect(page.locator("#live").get_by_role("link", name="Operations")).to_be_visible()


async def open_dialog(page: Page, button: str) -> Locator:
    """Open the dialog of a change and return it, once its plan is there."""
    await page.get_by_role("button", name=button, exact=True).first.click()
    dialog = page.locator("dialog[open]")
    await expect(dialog.locator(".plan li").first).to_be_visible()
    return dialog


async def test_an_operator_finds_the_failing_step_retries_it_and_sees_it_end(house: House) -> None:
    begun = ("begin", "enableServerGroup")
    house.theatre.weather.faults[begun] = Fault.PERMANENT
    operation_id = await house.theatre.deploy("billing", "v1", reason="first release", wait=False, onFailure="pause")
    await house.theatre.paused(operation_id)
    del house.theatre.weather.faults[begun]

    page = await house.page("/")
    await page.locator("#waiting tbody tr").filter(has_text="billing").get_by_role("link").first.click()
    await expect(page.locator("[data-cause] .cause")).to_contain_text("the model cloud refuses")
    dialog = await open_dialog(page, "Retry this step")
    await expect(dialog.locator(".plan")).to_contain_text("Steps that are done are not done again")
    await dialog.get_by_label("Reason").fill("the quota was raised")
    await expect(dialog.locator(".plan pre")).to_contain_text("--reason 'the quota was raised'")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_role("button", name="Retry now").click()
    await expect(dialog).to_have_count(0)
    await expect(page.locator(".head .status")).to_have_text("Succeeded")
    await expect(page.locator("[data-step=enableServerGroup]")).to_contain_text("Succeeded")
    await expect(page.locator("#h-steering")).to_be_visible()

    await page.get_by_role("link", name="Audit").click()
    newest = page.locator("tbody tr").first
    await expect(newest).to_contain_text("operation.retry")
    await expect(newest).to_contain_text("the quota was raised")
    await expect(newest).to_contain_text("Done")


async def test_an_operator_picks_several_failing_operations_and_retries_them_together(house: House) -> None:
    begun = ("begin", "enableServerGroup")
    house.theatre.weather.faults[begun] = Fault.PERMANENT
    two = [
        await house.theatre.deploy(name, "v1", reason="first release", wait=False, onFailure="pause")
        for name in ("stock", "returns")
    ]
    for operation_id in two:
        await house.theatre.paused(operation_id)
    del house.theatre.weather.faults[begun]

    page = await house.page("/")
    await heard(page)
    waiting = page.locator("#waiting")
    for operation_id in two:
        await waiting.locator(f"#pick-{operation_id}").check()
    # What was picked stays picked while the page goes on being fresh.
    await house.theatre.deploy("refunds", "v1")
    await expect(page.locator("section", has=page.locator("#h-recent"))).to_contain_text("refunds")
    assert [await waiting.locator(f"#pick-{one}").is_checked() for one in two] == [True, True]
    dialog = await open_dialog(page, "Retry the picked")
    await expect(dialog.locator(".plan")).to_contain_text("2 operations, each by itself")
    assert await faults(page) == []
    await dialog.get_by_label("Reason").fill("the quota was raised")
    lines = dialog.locator(".plan pre")
    await expect(lines).to_contain_text("--reason 'the quota was raised'")
    assert [accepted(line) for line in (await lines.inner_text()).splitlines()] == [True, True]
    await dialog.get_by_role("button", name="Retry all").click()
    await expect(dialog.locator("[data-many-over]")).to_contain_text("All 2 were asked for.")
    for operation_id in two:
        await expect(dialog.locator(f"[data-one='{operation_id}']")).to_contain_text("Done")
    await dialog.locator(".foot").get_by_role("button", name="Close").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    for operation_id in two:
        assert await house.theatre.ended(operation_id) == "SUCCEEDED"
        await expect(page.locator(f"#pick-{operation_id}")).to_have_count(0)


async def test_an_operator_rolls_back_after_seeing_the_plan(house: House) -> None:
    await house.theatre.deploy("search", "v1")
    await house.theatre.deploy("search", "v2")
    page = await house.page("/applications/search")
    dialog = await open_dialog(page, "Roll back")
    await expect(dialog.locator(".plan")).to_contain_text("search-v000 (v1) takes traffic again")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_label("Reason").fill("v2 logs errors")
    await dialog.get_by_role("button", name="Roll back").click()
    await expect(page.locator("h1")).to_contain_text("Rollback server group")
    await expect(page.locator(".head .status")).to_have_text("Succeeded")
    await page.locator(".head").get_by_role("link", name="search").click()
    await expect(page.locator("[data-server-group=search-v000]")).to_contain_text("Takes traffic")
    await expect(page.locator("[data-server-group=search-v001]")).to_contain_text("No traffic")


async def test_an_operator_shifts_requests_between_two_versions_that_serve(house: House) -> None:
    await house.theatre.deploy("basket", "v1")
    await house.theatre.deploy("basket", "v2", strategy="none")
    page = await house.page("/applications/basket")
    row = page.locator("[data-server-group=basket-v001]")
    await row.get_by_role("button", name="Shift traffic").click()
    dialog = page.locator("dialog[open]")
    await dialog.get_by_label("Percent of the requests").fill("30")
    await expect(dialog.locator(".plan")).to_contain_text("takes 30 % of the requests; now its part by its instances")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_label("Reason").fill("a look at v2 under load")
    await dialog.get_by_role("button", name="Shift", exact=True).click()
    await expect(page.locator("h1")).to_contain_text("Shift traffic")
    await expect(page.locator(".head .status")).to_have_text("Succeeded")
    await page.goto(f"{house.theatre.address}/applications/basket")
    await expect(row).to_contain_text("30 %")
    await expect(page.locator("[data-server-group=basket-v000]")).to_contain_text("70 %")


async def test_an_operator_approves_a_canary_and_it_takes_over(house: House) -> None:
    page = await house.page(f"/operations/{house.scene.canary}")
    # The outage that has another operation back off is over for this one.
    outage = house.theatre.weather.faults.pop(("begin", "resizeServerGroup"))
    rollout = page.locator("[data-rollout]")
    await expect(rollout).to_contain_text("Look at the error rate of v9 first")
    await expect(rollout).to_contain_text("10 % of the requests")
    dialog = await open_dialog(page, "Approve")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_label("Reason").fill("the error rate is fine")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(page.locator(".head .status")).to_have_text("Succeeded")
    await expect(page.locator("section", has=page.locator("#h-steering"))).to_contain_text("the error rate is fine")
    house.theatre.weather.faults["begin", "resizeServerGroup"] = outage


async def test_a_plan_follows_what_is_typed_and_a_change_that_breaks_a_rule_is_turned_down_by_its_words(
    house: House,
) -> None:
    page = await house.page("/applications/checkout")
    await page.locator("[data-server-group=checkout-v001]").get_by_role("button", name="Resize").click()
    dialog = page.locator("dialog[open]")
    await dialog.get_by_label("Instances").fill("5")
    await expect(dialog.locator(".plan")).to_contain_text("from 3 instances to 5")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_label("Fewest").fill("9")
    await expect(dialog.locator(".plan .error")).to_contain_text("min <= desired <= max")
    await dialog.get_by_label("Reason").fill("more load")
    await dialog.get_by_role("button", name="Resize").click()
    await expect(dialog.locator("[data-refused]")).to_contain_text("min <= desired <= max")
    await expect(dialog.get_by_label("Instances")).to_have_value("5")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_a_step_is_rerun_with_an_edited_input_and_the_fields_that_change_are_named(house: House) -> None:
    page = await house.page(f"/operations/{house.scene.waiting}")
    dialog = await open_dialog(page, "Edit input and rerun")
    text = await dialog.get_by_label("Input of the step").input_value()
    await dialog.get_by_label("Input of the step").fill(text.replace("100", "50"))
    await expect(dialog.locator(".plan")).to_contain_text("percent becomes 50")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    assert await faults(page) == []


async def test_a_workflow_is_signalled_queried_and_terminated(house: House) -> None:
    handle = await house.theatre.client.start_workflow("Order", "order-2000", id="order-2000", task_queue="plays")
    page = await house.page(f"/workflows/order-2000/{handle.result_run_id}")
    dialog = await open_dialog(page, "Signal")
    await dialog.get_by_label("Name").fill("note")
    await dialog.get_by_label("Arguments").fill('"gift wrap"')
    await dialog.get_by_label("Reason").fill("the customer called")
    await expect(dialog.locator(".plan pre")).to_contain_text("gift wrap")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_role("button", name="Signal", exact=True).click()
    await expect(dialog).to_have_count(0)
    await page.get_by_label("Query").fill("state")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator("#answer")).to_contain_text("gift wrap")
    dialog = await open_dialog(page, "Terminate")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_label("Reason").fill("a test order")
    await dialog.get_by_role("button", name="Terminate").click()
    await expect(page.locator(".head .status")).to_have_text("Terminated")


async def test_a_schedule_is_backfilled_after_a_preview_and_paused(house: House) -> None:
    page = await house.page("/schedules/nightly-report")
    dialog = await open_dialog(page, "Backfill")
    await dialog.get_by_label("From (UTC)").fill("2026-01-01T12:00")
    await dialog.get_by_label("To (UTC)").fill("2026-01-08T12:00")
    await expect(dialog.locator(".plan")).to_contain_text("Starts 7 runs that were due: 2026-01-02")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await page.keyboard.press("Escape")
    dialog = await open_dialog(page, "Pause")
    assert accepted(await dialog.locator(".plan pre").inner_text())
    await dialog.get_by_label("Reason").fill("the warehouse is being moved")
    await dialog.get_by_role("button", name="Pause").click()
    await expect(page.locator(".head .status")).to_have_text("Paused")
    await expect(page.locator(".head")).to_contain_text("the warehouse is being moved")


HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Browsers without a screen show every tab: this is what a tab in the background is told."""


def requests_of(page: Page) -> list[str]:
    """Count what a page asks for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.resource_type} {request.url}"))
    return asked


async def heard(page: Page) -> None:
    """Wait until the page hears of changes, and has looked for those that it missed."""
    await expect(page.locator("main[data-heard]")).to_have_count(1)


async def test_somebody_follows_a_run_that_goes_on_and_only_what_is_new_is_asked_for(house: House) -> None:
    handle = await house.theatre.client.start_workflow("Order", "order-3000", id="order-3000", task_queue="plays")
    page = await house.page(f"/workflows/order-3000/{handle.result_run_id}")
    timeline = page.locator("[data-timeline]")
    await expect(timeline).to_have_attribute("data-rows", "2")
    await heard(page)
    asked = requests_of(page)
    before = int(await timeline.get_attribute("data-events") or 0)
    await handle.signal("note", "hello")
    await expect(timeline).to_have_attribute("data-rows", "3")
    await expect(page.locator("section", has=page.locator("#h-history"))).to_contain_text("note")
    timelines = [one for one in asked if "timeline.json" in one]
    assert timelines
    assert all(f"after={before}" in one or "after=" in one for one in timelines), timelines
    await handle.signal("note", "end")
    await expect(page.locator(".head .status")).to_have_text("Completed")
    await page.locator("[data-timeline-table] summary").click()
    await expect(page.locator("[data-timeline-table] tbody tr").first).to_contain_text("done")


async def test_what_somebody_has_opened_stays_open_while_the_page_refreshes(house: House) -> None:
    handle = await house.theatre.client.start_workflow("Order", "order-3001", id="order-3001", task_queue="plays")
    page = await house.page(f"/workflows/order-3001/{handle.result_run_id}")
    await page.locator("#event-1 summary").click()
    await page.get_by_label("Arguments as JSON").fill("[1, 2")
    await handle.signal("note", "hello")
    await expect(page.locator("section", has=page.locator("#h-history"))).to_contain_text("note")
    await expect(page.locator("#event-1 pre")).to_be_visible()
    await expect(page.get_by_label("Arguments as JSON")).to_have_value("[1, 2")


async def test_a_hidden_tab_asks_for_nothing_and_catches_up_when_it_is_seen_again(house: House) -> None:
    page = await house.page("/operations")
    await heard(page)
    await page.evaluate(HIDE, True)
    asked = requests_of(page)
    await house.theatre.deploy("hidden", "v1")
    witness = await house.page("/operations")
    await expect(witness.locator("tbody tr").filter(has_text="hidden")).to_have_count(1)
    assert asked == []
    await expect(page.locator("tbody tr").filter(has_text="hidden")).to_have_count(0)
    await page.evaluate(HIDE, False)
    await expect(page.locator("tbody tr").filter(has_text="hidden")).to_have_count(1)


async def test_ten_tabs_share_one_stream_and_all_of_them_are_told(house: House) -> None:
    somebody = await house.viewer()
    streams: list[str] = []
    somebody.on("request", lambda request: streams.append(request.url) if "/events" in request.url else None)
    tabs = [await house.page("/operations", of=somebody) for _ in range(10)]
    for tab in tabs:
        await heard(tab)
    assert len(streams) == 1
    await house.theatre.deploy("tabs", "v1")
    for tab in tabs:
        await expect(tab.locator("tbody tr").filter(has_text="tabs")).to_have_count(1)
    # The one that holds the stream goes; another one takes over.
    await tabs[0].close()
    await house.theatre.deploy("tabs", "v2")
    for tab in tabs[1:]:
        await expect(tab.locator("tbody tr").filter(has_text="tabs")).to_have_count(2)
    assert len(streams) == 2


async def test_what_a_viewer_asks_for_does_not_grow_with_the_number_of_runs(house: House) -> None:
    async def opened() -> tuple[set[str], int]:
        page = await house.page("about:blank")
        asked = requests_of(page)
        await page.goto(f"{house.theatre.address}/workflows")
        await heard(page)
        await expect(page.locator("tbody tr").first).to_be_visible()
        rows = await page.locator("tbody tr").count()
        await page.close()
        return {one for one in asked if "/static/" not in one}, rows

    few = await opened()
    for number in range(40):
        await house.theatre.client.start_workflow("Order", "x", id=f"more-{number}", task_queue="plays")
    many = await opened()
    assert many[1] > few[1]
    # How often it asks for its live part depends on what is new meanwhile; nothing is asked for each run.
    assert many[0] == few[0]


async def test_an_engine_that_goes_away_is_told_with_the_age_of_what_is_shown_and_comes_back_without_a_reload(
    house: House,
) -> None:
    page = await house.page("/operations")
    await heard(page)
    await page.evaluate("window.stillTheSame = true")
    rows = await page.locator("tbody tr").count()
    house.excused.append("503")
    house.theatre.engine.kill()
    try:
        banner = page.locator("[data-source=engine]")
        await expect(banner).to_contain_text("Engine does not answer.")
        await expect(banner.locator("time")).to_contain_text("ago")
        assert await page.locator("tbody tr").count() == rows
        assert await faults(page) == []
        # A page that was never read says that it is not known, and shows no empty list.
        other = await house.page("/operations?state=cancelled&application=never-looked-at")
        await expect(other.locator("[data-source=engine]")).to_be_visible()
        assert "No operation fits" not in await other.locator("#live").inner_text()
    finally:
        house.theatre.engine.start()
        await house.theatre.engine.answers()
    await expect(page.locator("[data-source=engine]")).to_have_count(0)
    assert await page.evaluate("window.stillTheSame")
