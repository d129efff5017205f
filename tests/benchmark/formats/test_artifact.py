"""External sets: the same images give the same result in every file format, and no scale is guessed wrongly."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine import campaign, finish, suite
from PIL import Image
from torch import Tensor
from toy_folder import lay_down, toy

from benchmark.api import SyntheticSet
from benchmark.cli import main
from benchmark.config_files import names
from benchmark.errors import BenchmarkError, Faults
from benchmark.formats import artifact, export
from benchmark.formats.pt import Normalisation
from benchmark.plan.suite import load_suite
from benchmark.record import EXTERNAL, RECORD, sealed
from benchmark.run.external import suite_entry
from benchmark.run.stages import IMAGES
from benchmark.run.store import Store
from benchmark.synthetic import CLASSES
from benchmark.vision.datasets import info as info_of
from benchmark.vision.datasets import load_dataset
from leaderboards.results import records
from leaderboards.results.cells import cells_table
from methods.external import External

pytestmark = pytest.mark.usefixtures("short_training")
IPC = 2


@pytest.fixture
def info(tmp_path):
    return info_of(toy(), lay_down(tmp_path))


@pytest.fixture
def pixels() -> Tensor:
    """Dark images with a bright square, [6, 3, 16, 16] in [0, 1]."""
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.3
    images[:, :, 4:12, 4:12] += 0.6
    return images


LABELS = torch.arange(3).repeat_interleave(IPC)


def saved(path: Path, images: Tensor, labels: Tensor = LABELS) -> Path:
    torch.save((images, labels), path)
    return path


def read(path: Path, info, **options) -> artifact.Artifact:
    return artifact.of_set(artifact.read(path, toy(), info), str(path), info, IPC, **options)


class TestValues:
    def test_pixels_are_taken_as_they_are(self, tmp_path, info, pixels):
        external = read(saved(tmp_path / "a.pt", pixels), info)
        assert torch.equal(external.images.images, pixels)
        assert external.notes == ()

    def test_bytes_are_recognised(self, tmp_path, info, pixels):
        plain = read(saved(tmp_path / "a.pt", pixels), info)
        as_bytes = read(saved(tmp_path / "b.pt", pixels * 255), info)
        assert torch.allclose(as_bytes.images.images, plain.images.images)
        assert as_bytes.notes == ("values from 0 to 255, divided by 255",)

    def test_what_was_8_bit_once_is_again(self, tmp_path, info, pixels):
        eight_bit = (pixels * 255).round()
        kept = read(saved(tmp_path / "a.pt", eight_bit.byte()), info)
        assert torch.equal(kept.images.images, eight_bit.byte())
        normalised = Normalisation(info.mean, info.std).apply(eight_bit / 255)
        forms = {"0-1": eight_bit / 255, "0-255": eight_bit, "normalised": normalised}
        for given, images in forms.items():
            assert read(saved(tmp_path / "b.pt", images), info, value_range=given).checksum == kept.checksum

    def test_normalised_images_are_never_taken_for_pixels(self, tmp_path, info, pixels):
        path = saved(tmp_path / "a.pt", Normalisation(info.mean, info.std).apply(pixels))
        with pytest.raises(
            BenchmarkError, match=r"its images look normalised. If they are, add --value-range normalised"
        ):
            read(path, info)
        external = read(path, info, value_range="normalised")
        assert torch.allclose(external.images.images, pixels, atol=1e-6)
        assert external.notes == ("normalisation undone",)

    def test_even_those_without_contrast(self, tmp_path, info):
        grey = Normalisation(info.mean, info.std).apply(torch.rand(6, 3, 16, 16) * 0.1)
        with pytest.raises(BenchmarkError, match="look normalised"):
            read(saved(tmp_path / "a.pt", grey), info)

    def test_nor_those_that_were_never_clipped(self, tmp_path, info, pixels):
        wild = Normalisation(info.mean, info.std).apply(pixels)
        wild[0, 0, 0, :4] = torch.tensor([12.0, -12.0, 9.0, -9.0])
        with pytest.raises(BenchmarkError, match="look normalised"):
            read(saved(tmp_path / "a.pt", wild), info)

    def test_whoever_says_that_they_are_pixels_is_believed(self, tmp_path, info, pixels):
        images = Normalisation(info.mean, info.std).apply(pixels)
        external = read(saved(tmp_path / "a.pt", images), info, value_range="0-1")
        assert torch.equal(external.images.images, images)
        assert "leave [0, 1]; they are kept" in external.notes[0]

    def test_pixels_that_a_method_has_pushed_out_of_range_stay_pixels(self, tmp_path, info, pixels):
        pushed = pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
        assert pushed.min() < -0.1
        external = read(saved(tmp_path / "a.pt", pushed), info)
        assert torch.equal(external.images.images, pushed)
        assert "leave [0, 1]" in external.notes[0]

    @pytest.mark.parametrize(("factor", "given"), [(1, "normalised"), (1, "0-255"), (255, "0-1")])
    def test_what_cannot_be_is_refused(self, tmp_path, info, pixels, factor, given):
        with pytest.raises(BenchmarkError, match=f"that is not --value-range {given}"):
            read(saved(tmp_path / "a.pt", pixels * factor), info, value_range=given)


class TestForm:
    def test_images_come_class_by_class_from_any_order(self, tmp_path, info, pixels):
        order = torch.tensor([5, 0, 3, 2, 1, 4])
        external = read(saved(tmp_path / "a.pt", pixels[order], LABELS[order]), info).images
        assert torch.equal(external.targets, LABELS)
        assert torch.equal(external.images, pixels[torch.tensor([0, 1, 3, 2, 5, 4])])

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path, info):
        images = torch.rand(6, 3, 8, 8)
        with pytest.raises(Faults) as caught:
            read(saved(tmp_path / "a.pt", images, torch.tensor([0, 0, 1, 1, 1, 2])), info)
        said = str(caught.value)
        assert "images are [3, 8, 8], but those of toy are [3, 16, 16]" in said
        assert "not --ipc 2: 2 of 3 classes have another number: 'bee' has 3, 'cat' has 1" in said

    def test_values_that_are_not_finite(self, tmp_path, info, pixels):
        path = tmp_path / "a.safetensors"
        pixels[0, 0, 0, 0] = torch.nan
        SyntheticSet(pixels, LABELS).save(path)
        with pytest.raises(BenchmarkError, match="some values are not finite"):
            read(path, info)

    @pytest.mark.parametrize("labels", [torch.eye(3)[LABELS] * 9 - 4, torch.eye(3)[LABELS] * 2])
    def test_soft_labels_are_probabilities(self, tmp_path, info, pixels, labels):
        with pytest.raises(BenchmarkError, match="soft labels are no probabilities that sum to 1; take the softmax"):
            read(saved(tmp_path / "a.pt", pixels, labels), info)
        soft = labels.softmax(1)
        assert torch.equal(read(saved(tmp_path / "a.pt", pixels, soft), info).images.targets, soft)

    def test_a_class_that_learned_labels_no_longer_say_is_kept(self, tmp_path, info, pixels):
        soft = torch.eye(3)[LABELS.roll(1)] * 0.5 + 1 / 6
        order = torch.tensor([5, 0, 3, 2, 1, 4])
        SyntheticSet(pixels[order], soft[order], extras={CLASSES: LABELS[order]}).save(tmp_path / "a.safetensors")
        external = read(tmp_path / "a.safetensors", info).images
        assert torch.equal(external.classes, LABELS)
        assert torch.equal(external.targets, soft[torch.tensor([0, 1, 3, 2, 5, 4])])

    @pytest.mark.parametrize("wrong", [LABELS.float(), LABELS[:5], LABELS.view(3, 2)])
    def test_such_classes_have_a_form(self, pixels, wrong):
        with pytest.raises(ValueError, match=r"extras 'classes' must be int64 \[N\], not"):
            SyntheticSet(pixels, torch.eye(3)[LABELS], extras={CLASSES: wrong})

    @pytest.mark.parametrize("weight", [-1.0, torch.nan, torch.inf, 0.0])
    def test_weights_are_weights(self, tmp_path, info, pixels, weight):
        SyntheticSet(pixels, LABELS, torch.full((6,), weight)).save(tmp_path / "a.safetensors")
        with pytest.raises(BenchmarkError, match="its weights are not finite, not 0 or more, or all 0"):
            read(tmp_path / "a.safetensors", info)

    @pytest.mark.parametrize(
        ("folders", "noted"),
        [(("Ant", "bee", "cat"), False), (("ant", "bee", "cat"), False), (("new000", "new001", "new002"), True)],
        ids=["as tables call them", "as the dataset's folders", "otherwise"],
    )
    def test_folders_of_classes(self, tmp_path, info, pixels, folders, noted):
        images = (pixels * 255).round().byte()
        for i, label in enumerate(LABELS.tolist()):
            path = tmp_path / "made" / folders[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[i].permute(1, 2, 0).numpy()).save(path)
        external = read(tmp_path / "made", info)
        assert torch.equal(external.images.images, images)
        assert torch.equal(external.images.targets, LABELS)
        assert bool(external.notes) == noted

    def test_folders_that_are_numbers_count_as_numbers(self, tmp_path):
        classes = tuple(f"class {i:02d}" for i in range(12))
        for name in map(str, range(12)):
            (tmp_path / "made" / name).mkdir(parents=True)
        folders, _ = artifact._class_names(tmp_path / "made", toy(), SimpleNamespace(class_names=classes, classes=12))
        assert list(folders) == [str(i) for i in range(12)]

    @pytest.mark.parametrize(
        ("targets", "extras"),
        [
            (LABELS, {}),
            (torch.eye(3)[LABELS], {}),
            (torch.eye(3)[LABELS], {CLASSES: LABELS}),
            (torch.eye(3)[LABELS * 0], {CLASSES: LABELS}),
        ],
        ids=["classes", "soft labels", "soft labels and classes", "learned labels"],
    )
    def test_the_checksum_is_that_of_the_set_and_not_of_the_file(self, tmp_path, info, pixels, targets, extras):
        images = SyntheticSet((pixels * 255).round().byte(), targets, extras=extras)
        images.save(tmp_path / "a.safetensors")
        files = {"dcbench": "file.pt", "huggingface": "table"} | (
            {} if targets.dim() == 2 else {"imagefolder": "folder"}
        )
        for form, name in files.items():
            export.export(images, info, form, tmp_path / name, "", {})
        checksums = {read(tmp_path / name, info).checksum for name in ("a.safetensors", *files.values())}
        assert len(checksums) == 1
        images.images[0, 0, 0, 0] += 1
        assert artifact.checksum(images) not in checksums


class TestMethod:
    def test_without_an_artifact_it_is_skipped_with_words(self, info):
        assert "python -m benchmark evaluate PATH" in External().supports(info, IPC)
        assert External(checksum="0").supports(info, IPC) is None

    def test_a_lost_artifact_says_what_to_do(self):
        with pytest.raises(
            BenchmarkError, match="checksum 0a1b is not in the store; python -m benchmark evaluate PATH"
        ):
            External(checksum="0a1b").distill(None, None, None)

    @pytest.mark.parametrize("name", names("suites"))
    def test_no_suite_lists_it(self, name):
        entries = load_suite(name).entries
        assert EXTERNAL not in {entry.base for entry in entries}

    @pytest.mark.parametrize("name", ["wmdd", "ours+"])
    def test_it_does_not_take_the_name_of_another_method(self, name, tmp_path, info, pixels):
        external = read(saved(tmp_path / "a.pt", pixels), info)
        ours = {"base": "noise", "method": "ours+", "set": {}}
        with pytest.raises(BenchmarkError, match="is taken by a method"):
            suite_entry(external, name, suite({"methods": [ours]}))
        assert suite_entry(external, "theirs", suite()).overrides == {"checksum": external.checksum}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A store with random real digits, and the same set as files."""
    folder = tmp_path_factory.mktemp("original")
    opened = campaign(folder, {"seeds": 2})
    finish(opened)
    key = next(cell.nodes["distill"][0] for cell in opened.plan.cells if cell.cell.draw == 0)
    images = SyntheticSet.load(opened.store.folder(key) / IMAGES)
    digits = info_of(load_dataset("digits"), folder)
    export.export(images, digits, "imagefolder", folder / "folder", "", {})
    export.export(images, digits, "dcbench", folder / "file.pt", "", {})
    return folder


@pytest.fixture
def command(original, monkeypatch, capsys):
    """Evaluate by the command line; returns status and output."""

    def run(path: str, *words: str) -> tuple[int, str]:
        given = ["evaluate", str(original / path), "--dataset", "digits", "--ipc", "1", "--runner", "serial"]
        place = ["--suite", str(original / "tiny.yaml"), "--runs", str(original / "runs"), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["benchmark", *given, *place, *words])
        return ended(capsys)

    return run


def ended(capsys) -> tuple[int, str]:
    """Run the command line; return its status and output."""
    try:
        main.main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def without_commit(store: Store) -> None:
    """Write the records of external sets as earlier versions did."""
    for record in store.records():
        if record["identity"]["component"]["name"] == EXTERNAL:
            provenance = {name: value for name, value in record["provenance"].items() if name != "commit"}
            store.write_text(f"{record['key']}/{RECORD}", json.dumps(sealed({**record, "provenance": provenance})))


class TestEndToEnd:
    def test_a_copy_of_our_own_set_is_worth_what_it_is_worth(self, original, command):
        status, shown = command("folder", "--method-name", "theirs")
        assert status == 0, shown
        cells = records.rows_of(cells_table(records.read(str(original / "runs"), "tiny")))
        top1 = {(cell["method"], cell["draw"], cell["seed"]): cell["top1"] for cell in cells}
        assert top1["theirs", 0, 0] == top1["random_real", 0, 0]
        assert ("theirs", 0, 1) in top1, "one set, judged by as many students as the suite has seeds"
        theirs = next(cell for cell in cells if cell["method"] == "theirs")
        assert theirs["distill_seconds"] != theirs["distill_seconds"], "what it cost is not known"
        assert theirs["evaluate_seconds"] > 0
        assert "theirs" in shown
        assert "random_real" in shown

    def test_the_same_set_in_another_file_is_not_judged_again(self, original, command, monkeypatch):
        command("folder", "--method-name", "theirs")
        before = {record["key"] for record in Store(str(original / "runs")).records()}
        monkeypatch.setattr("benchmark.run.campaign.RayRunner", None)  # no work, so no cluster
        status, shown = command("file.pt", "--method-name", "as a file", "--runner", "ray")
        assert status == 0
        assert "as a file" in shown
        assert {record["key"] for record in Store(str(original / "runs")).records()} == before

    def test_it_stays_on_the_board_when_the_suite_runs_again(self, original, command):
        command("folder", "--method-name", "theirs")
        opened = campaign(original, {"seeds": 2})
        assert not opened.todo
        opened.write_manifest()
        cells = records.rows_of(cells_table(records.read(str(original / "runs"), "tiny")))
        assert [cell["status"] for cell in cells if cell["method"] == "theirs"] == ["ok", "ok"]

    @pytest.mark.parametrize("earlier", [False, True])
    def test_it_is_exported_and_compared_as_any_other_set(
        self, original, command, monkeypatch, capsys, tmp_path, earlier
    ):
        command("folder", "--method-name", "theirs")
        store = Store(str(original / "runs"))
        if earlier:
            without_commit(store)
        place = ["--suite", str(original / "tiny.yaml"), "--runs", store.files.path]
        which = ["--dataset", "digits", "--ipc", "1", "--method", "theirs", "--data", str(original)]
        for words in (
            ["export", str(tmp_path / "set"), *place, *which, "--format", "huggingface"],
            ["report", "--compare", store.files.path, store.files.path, *place[:2]],
        ):
            monkeypatch.setattr(sys, "argv", ["benchmark", *words])
            status, shown = ended(capsys)
            assert status == 0, shown
        assert "| made with | unknown |" in (tmp_path / "set" / "README.md").read_text()

    @pytest.mark.parametrize(
        ("path", "words", "said"),
        [
            ("nowhere", ["--method-name", "theirs"], "nowhere: does not exist"),
            ("folder", ["--method-name", "wmdd"], "--method-name 'wmdd': is taken by a method"),
            ("folder", ["--method-name", ""], "--method-name: is blank"),
            ("folder", ["--method-name", "a\x1b[2J"], "--method-name: method: 'a\\x1b[2J' cannot be a part of a path"),
            ("folder", ["--method-name", "a\x1b[2J"], "no control character"),
            ("folder", ["--method-name", "=1+1"], "--method-name: '=1+1': a name does not begin with ="),
            ("folder", ["--method-name", "@sum"], "--method-name: '@sum': a name does not begin with ="),
            ("folder", ["--method-name", "a/b"], "--method-name: method: 'a/b' cannot be a part of a path"),
            ("folder", ["--method-name", "theirs", "--ipc", "2"], "not --ipc 2: 10 of 10 classes have another number"),
            ("folder", ["--method-name", "theirs", "--protocols", "hart"], "unknown protocol 'hart'"),
        ],
    )
    def test_a_mistake_is_one_message_and_status_2(self, command, path, words, said):
        status, shown = command(path, *words)
        assert status == 2
        assert said in " ".join(shown.split())
