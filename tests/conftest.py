"""What a busy machine does to tests and says nothing of the product.

Generated examples are the same ones each time, and drawn as slowly as it takes. A run that looks for other examples:
`make test ARGS="-m 'not long' --hypothesis-profile=search"`.
"""

import sys

import pytest
from hypothesis import HealthCheck, settings

_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("same", **_PATIENT, derandomize=True)
settings.register_profile("search", **_PATIENT)
settings.load_profile("same")


@pytest.hookimpl(trylast=True)  # After pytest itself, whose hook fails the test in which anything of the kind is heard.
def pytest_configure(config: pytest.Config) -> None:
    """Pass over the SDK's interruption of a workflow that had no processor for two seconds.

    It is thrown into whatever the thread does then, and where that is a callback of a weak reference, Python only tells
    of it. The SDK has failed that workflow task by then, and the engine hands it out again.
    """
    heard = sys.unraisablehook

    def hear(said: "sys.UnraisableHookArgs") -> None:
        if said.exc_type.__name__ != "_InterruptDeadlockError":
            heard(said)

    sys.unraisablehook = hear
