"""The three kinds of provider failure. Errors are sorted here, where they enter, and nowhere else."""


class ProviderError(Exception):
    """A provider could not do or tell something; the message is for a person and names the thing."""

    kind = "ProviderError"


class Transient(ProviderError):
    """Nothing happened, and the same call may succeed later: throttling, a refused connection. Retried."""

    kind = "Transient"


class UnknownOutcome(ProviderError):
    """The call may or may not have had its effect: a timeout, a reply cut off. Observe, then call again."""

    kind = "UnknownOutcome"


class Permanent(ProviderError):
    """The same call will never succeed: a bad input, a missing thing. Never retried."""

    kind = "Permanent"


class NotFound(Permanent):
    """The named application, cluster or server group is not there."""

    kind = "NotFound"


class Conflict(Permanent):
    """The cloud's state contradicts what the call expects, for example a capacity that changed meanwhile."""

    kind = "Conflict"


class InvalidLaunch(Permanent):
    """The launch specification cannot run here: no such command, an unknown setting."""

    kind = "InvalidLaunch"
