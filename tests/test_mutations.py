"""That the mutations of `python -m tests.mutations`, which takes half an hour, fit the sources as they are."""

import pytest

from .mutations import MUTATIONS, ROOT


@pytest.mark.parametrize("path, old, new, tests", MUTATIONS)
def test_what_a_mutation_changes_stands_once(path, old, new, tests):
    source = (ROOT / path).read_text()
    assert source.count(old) == 1 and source.replace(old, new) != source
    compile(source.replace(old, new), path, "exec")
    assert (ROOT / "tests" / f"test_{tests.split()[0]}.py").exists()
