"""Results that a benchmark keeps as they come, after kills and in files of others."""

import pytest

from calibration.inversion.kept import BEGINS, Kept
from hsitools.errors import FormatError


def test_a_line_that_a_kill_cut_is_computed_again(tmp_path):
    path = tmp_path / "results.jsonl"
    for number in range(2):
        Kept(path).get({"µ": number}, lambda: [1.0])
    whole = path.read_text(encoding="utf-8")
    assert whole.startswith(BEGINS)
    last = whole.rfind("\n", 0, -1) + 1
    for cut in range(last + 1, len(whole)):
        path.write_text(whole[:cut], encoding="utf-8")
        kept = Kept(path)
        kept.get({"µ": 0}, pytest.fail)
        kept.get({"µ": 1}, lambda: [1.0])
        assert path.read_text(encoding="utf-8") == whole


@pytest.mark.parametrize("text", ["a thesis", "[1, 2]", '{"of": {}}\n{"other', "{}"])
def test_a_file_of_somebody_else_stays(tmp_path, text):
    path = tmp_path / "results.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="expected lines of this command"):
        Kept(path)
    assert path.read_text(encoding="utf-8") == text
