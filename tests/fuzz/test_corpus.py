"""No input that the fuzzer ever kept breaks a rule."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import changed
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_breaks_no_rule(name: str) -> None:
    target = TARGETS[name]
    inputs = corpus.load(name)

    assert len(inputs) > 5
    for raw in (*target.seeds, *inputs):
        target.check(raw)


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_mutations_of_the_corpus_break_no_rule(name: str) -> None:
    target, dice = TARGETS[name], random.Random(1)
    inputs = [*target.seeds, *corpus.load(name)]

    for _ in range(1000):
        target.check(changed(dice.choice(inputs), inputs, target.words, dice))
