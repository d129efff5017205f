"""Files of users that have changed since records were made are named."""

from __future__ import annotations

from benchmark.files import checksum
from leaderboards.results import outside


def test_only_files_that_have_changed_are_named(tmp_path):
    (tmp_path / "methods").mkdir()
    path = tmp_path / "methods" / "own.py"
    path.write_text("version = 1")
    old, new = ({"provenance": {"outside": {"methods/own.py": sum_}}} for sum_ in ("0" * 16, checksum(path)[:16]))
    unknown, none = {"provenance": {"outside": {"methods/gone.py": "0" * 16}}}, {"provenance": {}}
    (line,) = outside.changed(outside.versions([old, old, new, unknown, none]), [tmp_path])
    assert line.startswith("methods/own.py has changed since 2 of its 3 records were made; ")
    assert outside.changed(outside.versions([new, unknown, none]), [tmp_path]) == []
    counts = outside.versions([old, old, new, unknown, none])
    assert {name: sorted(versions.values()) for name, versions in counts.items()} == {
        "methods/own.py": [1, 2],
        "methods/gone.py": [1],
    }
