"""The reference is asked again where it differs, ours never."""

import pytest

from conformance.reference import ASKED_MAX, alike, confirmed


class Server:
    """Gives the answers it is told to give, the last one for ever; an error is raised."""

    def __init__(self, *answers: object) -> None:
        self.asked = 0
        self._answers = answers

    async def ask(self) -> object:
        self.asked += 1
        answer = self._answers[min(self.asked, len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_servers_that_agree_are_asked_once() -> None:
    temporal, ours = Server("a"), Server("a")
    assert await alike(temporal.ask, ours.ask()) == "a"
    assert (temporal.asked, ours.asked) == (1, 1)


@pytest.mark.parametrize("first", ["b", TimeoutError("late"), AssertionError("nothing came")])
async def test_what_the_reference_answers_on_second_asking_passes_and_ours_is_asked_once(first: object) -> None:
    temporal, ours = Server(first, "a"), Server("a", "b")
    await alike(temporal.ask, ours.ask())
    assert (temporal.asked, ours.asked) == (2, 1)


async def test_a_difference_that_the_reference_never_shows_fails_with_all_that_it_answered() -> None:
    temporal, ours = Server(["b", "c"], TimeoutError("late"), ["b", "c"]), Server(["a", "c"], ["b", "c"])
    with pytest.raises(AssertionError) as raised:
        await alike(temporal.ask, ours.ask())
    assert (temporal.asked, ours.asked) == (ASKED_MAX, 1)
    said = str(raised.value)
    assert said.startswith("asked 5 times, Temporal never answers as we do")
    assert said.count("-['b', 'c']\n+['a', 'c']") == 1
    assert said.count("-no answer: TimeoutError('late')") == 1


async def test_an_answer_agrees_with_ours_by_what_is_shown_of_it() -> None:
    temporal, ours = Server("B", "A"), Server("a")
    assert await alike(temporal.ask, ours.ask(), shown=lambda each: str(each).lower()) == "a"
    assert temporal.asked == 2


async def test_our_failure_is_ours_whatever_the_reference_does() -> None:
    temporal, ours = Server("a"), Server(TimeoutError("ours"), "a")
    with pytest.raises(TimeoutError, match="ours"):
        await alike(temporal.ask, ours.ask())
    assert temporal.asked <= 1


async def test_an_expected_answer_is_confirmed_by_any_of_the_askings() -> None:
    temporal = Server("b", "b", "a")
    await confirmed("a", temporal.ask)
    assert temporal.asked == 3
    with pytest.raises(AssertionError, match="never answers as we do"):
        await confirmed("a", Server("b").ask)
