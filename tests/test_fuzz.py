"""Seconds of what `python -m tests.fuzz` does for hours."""

import pytest

from . import fuzz


@pytest.mark.parametrize("textbook", [False, True], ids=["put in", "textbook"])
@pytest.mark.parametrize("first", range(0, 400, 50))
def test_drawn_cases_equal_torch(first, textbook):
    for seed in range(first, first + 50):
        fuzz.run(seed, textbook)


def test_a_failure_names_its_seed(monkeypatch):
    def fails(rng):
        raise RuntimeError(rng.random())

    monkeypatch.setattr(fuzz, "CASES", [fails])
    messages = []
    for seed in (5, 5, 6):
        with pytest.raises(AssertionError, match=rf"tests.fuzz --seed {seed} --textbook: fails: 0\.\d+") as failure:
            fuzz.run(seed, textbook=True)
        messages.append(str(failure.value))
    assert messages[0] == messages[1] != messages[2]
