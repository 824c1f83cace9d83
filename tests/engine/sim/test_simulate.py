"""Seeds go the same way each time, keep every promise, and find what is planted."""

import os
import subprocess
import sys

import pytest

from stormsail.engine.sim.campaign import play_seeds
from stormsail.engine.sim.mutants import MUTANTS, tampering_of
from stormsail.engine.sim.simulate import simulate

_DIGESTS = (
    "import sys; from stormsail.engine.sim.simulate import simulate; "
    "print(*(simulate(int(seed)).digest for seed in sys.argv[1:]))"
)


def test_a_seed_goes_the_same_way_again() -> None:
    first, again = simulate(4), simulate(4)
    assert first.digest == again.digest
    assert first.tail == again.tail
    assert first.digest != simulate(5).digest


@pytest.mark.slow
def test_a_seed_goes_the_same_way_in_another_process_with_other_hashes() -> None:
    found = set()
    for hash_seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", _DIGESTS, *map(str, range(6, 12))],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert found == {" ".join(simulate(seed).digest for seed in range(6, 12)) + "\n"}


@pytest.mark.slow
def test_seeds_keep_every_promise() -> None:
    campaign = play_seeds(100, count=30)
    assert campaign.failed is None, f"{campaign.failed}"
    assert campaign.seeds == 30
    assert campaign.power_cuts > 30
    assert campaign.commits > 1_000


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_planted_bug_is_found(name: str) -> None:
    for seed in range(1, 60):
        if simulate(seed, tampering_of(name)).violation is not None:
            return
    raise AssertionError(f"{name} was not found")


def test_a_planted_bug_is_known_by_its_name_and_by_its_number() -> None:
    assert tampering_of("1") is MUTANTS["reply-before-commit"].tampering
    with pytest.raises(KeyError):
        tampering_of("no-such-bug")
    assert len(MUTANTS) >= 24
