"""Every malformed or hostile input is refused in clear words: none is accepted, hangs or ends in another error."""

from __future__ import annotations

import hostile
import pytest


@pytest.mark.parametrize("case", hostile.cases(), ids=str)
def test_it_is_refused_in_clear_words(case, tmp_path):
    assert hostile.outcome(case, tmp_path) == ""
