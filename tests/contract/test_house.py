"""The house rules that `python -m benchmarks house` measures: all of these are zero."""

import shutil

import pytest

from benchmarks import house


@pytest.mark.parametrize("name", house.ZERO)
def test_nothing_breaks_a_house_rule(root, name):
    offenders = house.ZERO[name](root)
    assert not offenders, "\n".join(map(str, offenders))


#: What breaks each rule, as text put into a file of its own; and what looks like it and does not.
RIGHT = {
    "a.py": '"""A."""\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from hsitools import b\n',
    "b.py": '"""B."""\n\n\ndef late() -> None:\n    """Late."""\n    import hsitools.a\n\n    hsitools.a\n',
    "c.py": '"""C."""\n\nSIZE = 3  # pixels: of a test\n#: Both in µm.\nEDGES = (1, -2.5)\nNAME = "text"\n',
    "d.py": '"""D."""\n\n\nclass Thing:\n    """A thing."""\n\n    def do(self, much: int) -> int:\n'
    '        """Do it."""\n        return much\n\n    def _own(self, much):\n        pass\n',
    "commands/e.py": '"""E."""\n\nimport click\n',
    "f.py": '"""F."""\n\n' + "".join(f"x{n} = {n}\n" for n in range(5)),
    "g.py": '"""G."""\n\n' + "".join(f"x{n} = {n}\n" for n in range(5)) + "\n# the end\n",
}
WRONG = {
    f"files over {house.LONGEST} lines": {"long.py": '"""Long."""\n' + "\n" * house.LONGEST},
    "import circles": {"a.py": '"""A."""\n\n\ndef late():\n    from hsitools.b import late\n'},
    "click or tqdm outside commands": {"e.py": '"""E."""\n\n\ndef late():\n    from tqdm import tqdm\n'},
    f"pairs of places sharing {house.ALIKE} or more lines": {
        "f.py": "".join(f"x{n} = {n}\n" for n in range(6)), "g.py": "".join(f"x{n} = {n}\n\n# n\n" for n in range(6)),
    },
    "constants without a reason": {"c.py": "# long ago\n\nSIZE = 3\n"},
    "public names without docstring or types": {"d.py": "class A:\n    'A'\n    def do(self, m):\n        pass\n"},
    "functions in texts": {"e.py": '"""E."""\n\nfrom hsitools.b import late\n\nTEXT = f"{late} bands"\n'},
}  # fmt: skip


@pytest.fixture
def small(tmp_path):
    """A folder like the repository, in which nothing is wrong."""
    for name, text in {**RIGHT, "__init__.py": '"""P."""\n'}.items():
        path = tmp_path / "hsitools" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", house.ZERO)
def test_each_rule_has_teeth(small, name, tmp_path_factory):
    """The measures find what breaks a rule, and nothing in what only looks like it."""
    assert house.ZERO[name](small) == []
    broken = tmp_path_factory.mktemp("broken")
    shutil.copytree(small, broken, dirs_exist_ok=True)
    for file, text in WRONG[name].items():
        (broken / "hsitools" / file).write_text(text)
    assert len(house.ZERO[name](broken)) == 1


def test_a_circle_through_a_lazy_door_is_seen(small):
    """A package that gives names away lazily hides no circle, and makes none by giving them."""
    package = small / "hsitools"
    (package / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hsitools.a import one as one\n"
    )
    (package / "a.py").write_text("from hsitools.b import late\none = 1\n")
    (package / "b.py").write_text("import hsitools\n\ndef late():\n    pass\n")
    house.sources.cache_clear(), house._tree.cache_clear(), house._door.cache_clear()
    assert house.circles(small) == []
    (package / "b.py").write_text("def late():\n    from hsitools import one\n    return one\n")
    house._tree.cache_clear()
    assert house.circles(small) == [["hsitools.a", "hsitools.b"]]
