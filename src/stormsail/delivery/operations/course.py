"""The course of a rollout: where it is on its way, and what people asked of it as a whole."""

from enum import StrEnum
from typing import Final

from stormsail.delivery.model.operation import RolloutProgress
from stormsail.delivery.model.steering import SteerRequest, Verb

COURSE_VERBS: Final = frozenset({Verb.APPROVE, Verb.PROMOTE, Verb.PAUSE, Verb.ABORT})
FULL: Final = "full"
"""The field of a promote's input that says that all that is left is passed over."""


class Standing(StrEnum):
    """What a rollout does at the moment, as far as its course goes."""

    MOVES = "moves"
    """It changes something or waits for that."""
    TARRIES = "tarries"
    """It waits for a time to pass, or for checks."""
    WAITS = "waits"
    """It waits for a person."""


TAKES: Final = {
    Standing.MOVES: frozenset({Verb.PAUSE, Verb.ABORT}),
    Standing.TARRIES: frozenset({Verb.PROMOTE, Verb.PAUSE, Verb.ABORT}),
    Standing.WAITS: frozenset({Verb.APPROVE, Verb.PROMOTE, Verb.ABORT}),
}
"""What a rollout takes. To promote it fully is taken at any time."""

INTERRUPTS: Final = {
    Standing.MOVES: frozenset({Verb.ABORT}),
    Standing.TARRIES: frozenset({Verb.PROMOTE, Verb.ABORT}),
    Standing.WAITS: frozenset({Verb.APPROVE, Verb.PROMOTE, Verb.ABORT}),
}
"""What does not wait for the end of what is under way."""


class Course:
    """A rollout in steps. What was asked of it is kept here even where nothing could be interrupted for it."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.step = 0
        """The number of the present step, from 1."""
        self.doing = ""
        self.weight = 0
        self.full = False
        """Whether all that is left is passed over."""
        self.advanced = False
        """Whether the present step is passed over."""
        self.held: SteerRequest | None = None
        """Who asked that it waits before its next step."""
        self.aborted: SteerRequest | None = None

    @property
    def progress(self) -> RolloutProgress:
        """Say how it stands."""
        return RolloutProgress(
            step=self.step, steps=self.steps, doing=self.doing, weight=self.weight, held=self.held is not None
        )

    def begin(self, step: int, doing: str) -> None:
        """Begin a step."""
        self.step, self.doing, self.advanced = step, doing, False

    def passes_over(self) -> bool:
        """Tell whether a person had the present step passed over."""
        return self.advanced

    def refusal(self, request: SteerRequest, standing: Standing) -> str:
        """Return why a request is not taken, or an empty text."""
        full = request.verb is Verb.PROMOTE and bool(request.input.get(FULL))
        if set(request.input) - {FULL}:
            return f"{request.verb} takes no input but {FULL}"
        if self.aborted is not None:
            return f"the rollout was aborted by {self.aborted.by or 'somebody'}: it puts the previous state back"
        if self.full:
            return "the rollout was promoted fully: it goes to its end; cancel the operation to stop it"
        if request.verb is Verb.PAUSE and self.held is not None:
            return f"{self.held.by or 'somebody'} has asked for a pause already: approve or promote to go on"
        if full or request.verb in TAKES[standing]:
            return ""
        can = ", ".join(sorted(TAKES[standing]))
        return f"the rollout {standing} ({self.doing or 'it has not begun'}): it takes {can} then, not {request.verb}"

    def take(self, request: SteerRequest) -> None:
        """Keep what was asked."""
        match request.verb:
            case Verb.ABORT:
                self.aborted = request
            case Verb.PAUSE:
                self.held = request
            case Verb.APPROVE | Verb.PROMOTE:
                self.held, self.advanced = None, True
                self.full = bool(request.input.get(FULL))
