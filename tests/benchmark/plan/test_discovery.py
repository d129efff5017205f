"""A file that defines no sound component is refused when it is loaded, with the file and the reason."""

import pytest

from benchmark import sources
from benchmark.errors import BenchmarkError
from benchmark.plan.discovery import load_method

SOUND = """
from typing import ClassVar

from benchmark.api import Distiller


class Own(Distiller):
    paper: ClassVar[str] = "none"
    images: int = 4

    def distill(self, data, unit, context):
        return None
"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("images", "images", None),
        (
            "paper: ClassVar[str]",
            "paper: str",
            "paper: write ClassVar[...] as its type; otherwise it is a hyperparameter",
        ),
        ('    paper: ClassVar[str] = "none"\n', "", "paper: is missing"),
        ("images: int = 4", "images: int", "images: a hyperparameter needs a default value"),
        ("def distill", "def distil", "has no method distill"),
        ("class Own", "class Other(Distiller):\n    pass\n\n\nclass Own", "defines 2 classes derived from Distiller"),
        ("import Distiller", "import Distilller", "cannot be imported"),
    ],
)
def test_a_file_of_a_method_is_checked(old, new, fault, tmp_path, monkeypatch):
    name = tmp_path.name  # one for each case, since a module is loaded once
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / f"{name}.py").write_text(SOUND.replace(old, new, 1))
    monkeypatch.setenv(sources.ENVIRONMENT, str(tmp_path))
    if fault is None:
        assert load_method(name).name() == name
        return
    with pytest.raises(BenchmarkError) as error:
        load_method(name)
    assert fault in str(error.value)
    assert f"{name}.py" in str(error.value)
