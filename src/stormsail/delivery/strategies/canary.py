"""The strategy `canary`: the new group gets a share of the requests by weight, and more of them step by step.

It is made empty. Before each larger share it grows to that share of the older group's size and is seen good; the older
group keeps all of its instances, so that giving it every request back, at whatever step, takes one change. Between the
shares it waits, is measured, or asks a person. What fails, and what a person aborts, gives the older group every
request back and destroys the new one.
"""

from collections.abc import Sequence

from stormsail.delivery.model.canary import Analysis, CanaryStep, Verdict, verdict
from stormsail.delivery.model.server_group import Health, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.course import Course
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.operations.undo import Ending, Undo
from stormsail.delivery.providers.provider import EnableServerGroup, ShiftTraffic
from stormsail.delivery.strategies.redblack import RedBlack, tidying_up
from stormsail.delivery.strategies.rolling_redblack import WHOLE, Share, grow_to
from stormsail.delivery.strategies.strategy import Finished, Rollout


class Canary:
    """Replace the group that served by one that was seen good at each share of the requests."""

    replaces_source = True
    pins_source = True
    rolls_back = True
    starts_empty = True
    destroys_failed = True

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:  # noqa: ARG002
        """Refuse a cluster in which several groups serve: what the canary is compared with must be one of them."""
        enabled = [group.name for group in groups if group.enabled]
        if len(enabled) <= 1:
            return ""
        return (
            f"{len(enabled)} server groups serve ({', '.join(enabled)}): a canary is compared with one; disable the "
            "others first"
        )

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Go through the steps, then take over. Where nothing served before there is nothing to go through."""
        stable = rollout.source if rollout.source is not None and rollout.source.enabled else None
        course = conduct.course or conduct.set_out(len(rollout.steps))
        if stable is None:
            whole = await _grow(conduct, rollout, None, WHOLE)
            course.weight = WHOLE
            return Finished(capacity=whole.capacity)
        for number, step in enumerate(rollout.steps, 1):
            course.begin(number, str(step))
            await _held(conduct, course)
            if course.full:
                break
            async with conduct.step("canaryStep", f"{number}/{len(rollout.steps)} {step}"):
                await _take_step(conduct, rollout, stable, step, course)
        course.begin(len(rollout.steps) + 1, "takes over")
        await _held(conduct, course)
        whole = await _grow(conduct, rollout, stable, WHOLE)
        await _shift(conduct, rollout.server_group, WHOLE, whole.up_at_least, course)
        finished = await RedBlack().finish(conduct, rollout)
        with tidying_up():
            # Alone, it gets every request anyway; the share would only surprise the next group of the cluster.
            await conduct.change("shiftTraffic", ShiftTraffic(name=rollout.server_group, percent=None))
        return Finished(finished.destroyed, finished.disabled, finished.scaled_down, whole.capacity)


async def _take_step(conduct: Conduct, rollout: Rollout, stable: ServerGroup, step: CanaryStep, course: Course) -> None:
    if step.set_weight is not None:
        share = await _grow(conduct, rollout, stable, step.set_weight)
        await _shift(conduct, rollout.server_group, step.set_weight, share.up_at_least, course)
    elif step.pause is not None and step.pause.duration is not None:
        await conduct.wait("canaryPause", step.pause.duration)
    elif step.analysis is not None:
        await _analysed(conduct, rollout, stable, step.analysis, course)
    else:
        message = step.approval.message if step.approval is not None else ""
        await conduct.approval("canaryApproval", rollout.server_group, message or "waits for an approval")


async def _held(conduct: Conduct, course: Course) -> None:
    """Wait where a person asked for it, before the next step begins."""
    if course.held is not None and not course.full:
        asked = course.held
        why = f": {asked.reason}" if asked.reason else ""
        await conduct.approval("canaryHeld", course.doing, f"held by {asked.by or 'somebody'}{why}")


async def _grow(conduct: Conduct, rollout: Rollout, stable: ServerGroup | None, percent: int) -> Share:
    """Grow the new group to a share and see it good; the first time, give it its share before it is enabled."""
    name = rollout.server_group
    group, share = await grow_to(conduct, rollout, percent)
    if not group.enabled:
        await conduct.wait_for_up(name, share.up_at_least)
        if stable is not None:
            conduct.undo(_requests_back(conduct, rollout, stable))
            await conduct.change("shiftTraffic", ShiftTraffic(name=name, percent=percent))
        healthy = HealthGuard(server_group=name, up_at_least=share.up_at_least, serving=False)
        await conduct.change("enableServerGroup", EnableServerGroup(name=name), healthy)
    await conduct.wait_for_up(name, share.up_at_least, serving=True)
    return share


async def _shift(conduct: Conduct, name: str, percent: int, up_at_least: int, course: Course) -> None:
    good = HealthGuard(server_group=name, up_at_least=up_at_least)
    if course.weight != percent:
        await conduct.change("shiftTraffic", ShiftTraffic(name=name, percent=percent), good)
    course.weight = percent


def _requests_back(conduct: Conduct, rollout: Rollout, stable: ServerGroup) -> Undo:
    """Return the way to give the older group every request back, once it is seen to be able to take them."""
    name, wanted = rollout.server_group, min(stable.count(Health.UP), stable.capacity.desired)

    async def action(_: Ending) -> bool:
        if (await conduct.observe()).find(name) is None:
            return False
        able = HealthGuard(server_group=stable.name, up_at_least=wanted, serving=False)
        await conduct.change("shiftTraffic", ShiftTraffic(name=name, percent=0), able)
        if conduct.course is not None:
            conduct.course.weight = 0
        await conduct.wait_for_up(stable.name, wanted, serving=True)
        return True

    return Undo(f"give {stable.name} every request back", action, gives_traffic=True)


async def _analysed(
    conduct: Conduct, rollout: Rollout, stable: ServerGroup, analysis: Analysis, course: Course
) -> None:
    """Measure as often as is asked. Raises OperationFailure of kind `AnalysisFailed` over the limit of failures."""
    address = (await conduct.observe()).address
    facts = {"canary": rollout.server_group, "stable": stable.name, "weight": str(course.weight), "address": address}
    filled = filled_in(analysis, facts)
    failed = inconclusive = 0
    for number in range(1, analysis.count + 1):
        await conduct.wait("analysisWait", analysis.initial_delay if number == 1 else analysis.interval)
        if course.passes_over():
            return
        async with conduct.step("analysis", f"{analysis.title} {number}/{analysis.count}"):
            measured = await conduct.check("analysis", filled)
            if measured is None:
                return
            found = verdict(analysis, measured)
            said = " ".join(str(part) for part in (measured.value, measured.detail) if part not in (None, ""))
            words = f"{found}: {said or 'nothing was found'}"
            conduct.note(words)
        failed += found is Verdict.FAILED
        inconclusive += found is Verdict.INCONCLUSIVE
        if analysis.dry_run:
            continue
        if failed > analysis.failure_limit:
            raise OperationFailure(
                "AnalysisFailed",
                f"{analysis.title} {words}; {failed} of {number} measurements failed, and {analysis.failure_limit} may",
            )
        if inconclusive > analysis.inconclusive_limit:
            await conduct.approval("analysisInconclusive", analysis.title, f"{words}; approve to go on, or abort")
            return


def filled_in(analysis: Analysis, facts: dict[str, str]) -> Analysis:
    """Return the analysis with `{canary}` and the like in its check's texts replaced. Other braces stay as they are."""

    def filled(text: str) -> str:
        for name, value in facts.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    web, command, prometheus = analysis.web, analysis.command, analysis.prometheus
    if web is not None:
        headers = {key: filled(value) for key, value in web.headers.items()}
        web = web.model_copy(update={"url": filled(web.url), "headers": headers})
    if command is not None:
        command = command.model_copy(update={"command": tuple(map(filled, command.command))})
    if prometheus is not None:
        prometheus = prometheus.model_copy(update={"query": filled(prometheus.query)})
    return analysis.model_copy(update={"web": web, "command": command, "prometheus": prometheus})
