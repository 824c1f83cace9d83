"""How the generated examples are drawn: the same ones each time, and as slowly as a busy machine draws them.

A run that looks for other examples: `make test ARGS="-m 'not long' --hypothesis-profile=search"`.
"""

from hypothesis import HealthCheck, settings

_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("same", **_PATIENT, derandomize=True)
settings.register_profile("search", **_PATIENT)
settings.load_profile("same")
