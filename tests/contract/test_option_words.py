"""The command line has one vocabulary: an option is spelled, typed and explained alike wherever it stands."""

import re
from collections import defaultdict

import click

from hsitools.commands import root
from tests.contract.typed_commands import commands

#: Switched on by its name alone in one place and off as well in another: a checkpoint is gone on from unless told.
SPELLED_TWICE = {"--resume"}
#: Groups whose commands take methods by name, and must say which there are.
WITH_METHODS = ("pansharpen", "denoise", "invert")


def options():
    return [(name, p) for name, c in commands(root.hsi) for p in c.params if isinstance(p, click.Option)]


def test_an_option_is_spelled_alike_everywhere():
    spelled = defaultdict(set)
    for _, option in options():
        spelled[max(option.opts, key=len)].add((*option.opts, *option.secondary_opts))
    assert {name for name, ways in spelled.items() if len(ways) > 1} == SPELLED_TWICE


def test_a_seed_is_a_whole_number_from_zero_everywhere():
    seeds = [(name, option) for name, option in options() if "--seed" in option.opts]
    assert len(seeds) > 10
    for name, option in seeds:
        assert getattr(option.type, "min", None) == 0, name


def test_every_option_says_what_it_does_and_its_default_in_the_same_words():
    for name, option in options():
        assert option.help, (name, option.opts)
        for words in re.findall(r"\[(.*?)\]", option.help):
            assert words.startswith("default: "), (name, option.opts, words)


def test_every_room_lists_its_methods_by_the_same_word():
    names = {name for name, _ in commands(root.hsi)}
    assert {f"{group} {word}" for group in WITH_METHODS for word in ("list", "methods")} <= names


def test_what_takes_several_values_in_one_benchmark_does_in_all():
    """``--methods a b`` is ``--methods a --methods b``, or an unexpected argument."""
    taken = {name: set(getattr(command, "several", ())) for name, command in commands(root.hsi)}
    benchmarks = [name for name in taken if name.endswith(" benchmark")]
    assert len(benchmarks) == 3
    anywhere = set().union(*(taken[name] for name in benchmarks))
    for name, option in options():
        if name in benchmarks and option.multiple and option.opts[0] in anywhere:
            assert option.opts[0] in taken[name], (name, option.opts)
