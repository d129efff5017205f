"""Formats of other tools: a set is read back as it was written, and a wrong file gives a clear message."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from torchvision.datasets import ImageFolder

from benchmark.errors import BenchmarkError
from benchmark.formats import export, huggingface, pt
from benchmark.synthetic import CLASSES, SyntheticSet

SIZE = 8


def distilled(count: int = 6, **changes) -> SyntheticSet:
    """Return random pixels of three classes in order."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return SyntheticSet(**{"images": images, "targets": torch.arange(count) * 3 // count, **changes})


def soft(count: int = 6) -> torch.Tensor:
    return torch.softmax(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)), 1)


@pytest.fixture
def exported(tmp_path, toy_info):
    def write(images: SyntheticSet, form: str) -> tuple[Path, list[str]]:
        path = tmp_path / ("set.pt" if form == "dcbench" else "set")
        return path, export.export(images, toy_info, form, path, "WMDD on toy", {"method": "wmdd"})

    return write


def same(read_back: SyntheticSet, images: SyntheticSet) -> bool:
    assert read_back.images.dtype == images.images.dtype
    return torch.equal(read_back.images, images.images) and torch.equal(read_back.targets, images.targets)


@pytest.mark.parametrize("form", export.FORMATS)
def test_what_is_written_reads_back_as_it_was(exported, toy_info, form):
    path, lost = exported(distilled(), form)
    assert lost == []
    assert same(export.read_images(path, toy_info.class_names), distilled())


def test_our_own_files_are_read_too(tmp_path, toy_info):
    distilled().save(tmp_path / "images.safetensors")
    assert same(export.read_images(tmp_path / "images.safetensors", toy_info.class_names), distilled())


@pytest.mark.parametrize("form", ["dcbench", "huggingface"])
def test_soft_labels_and_weights_are_kept(exported, toy_info, form):
    images = distilled(targets=soft(), weights=torch.rand(6))
    path, lost = exported(images, form)
    read_back = export.read_images(path, toy_info.class_names)
    assert lost == []
    assert same(read_back, images)
    assert torch.equal(read_back.weights, images.weights)


@pytest.mark.parametrize("form", export.FORMATS)
def test_the_classes_that_learned_labels_no_longer_say_are_kept(exported, toy_info, form):
    classes = distilled().targets
    path, lost = exported(distilled(targets=torch.eye(3)[classes * 0], extras={CLASSES: classes}), form)
    read_back = export.read_images(path, toy_info.class_names)
    assert torch.equal(read_back.classes, classes)
    assert lost == (["soft labels (the class of an image is kept)"] if form == "imagefolder" else [])


def test_classes_in_the_tensors_of_others_may_be_anything(tmp_path, toy_info):
    content = {"images": torch.rand(6, 3, SIZE, SIZE), "labels": soft(), CLASSES: 3}
    torch.save(content, tmp_path / "set.pt")
    assert torch.equal(export.read_images(tmp_path / "set.pt", toy_info.class_names).classes, soft().argmax(1))


@pytest.mark.parametrize("form", export.FORMATS)
def test_tensors_that_no_format_holds_are_said(exported, form):
    extras = {"snapshots": torch.zeros(6, 2, 3, SIZE, SIZE), "atoms": torch.zeros(6, 4)}
    assert exported(distilled(extras=extras), form)[1] == ["further tensors of the set (atoms, snapshots)"]


def test_what_a_folder_cannot_hold_is_said(exported):
    images = distilled(targets=soft(), weights=torch.rand(6), images=torch.rand(6, 3, SIZE, SIZE))
    _, lost = exported(images, "imagefolder")
    assert [part.partition(" (")[0] for part in lost] == [
        "pixels that are not 8-bit",
        "weights of images",
        "soft labels",
    ]


def test_tensors_keep_pixels_beyond_the_range_of_8_bit(exported, toy_info):
    images = distilled(images=torch.randn(6, 3, SIZE, SIZE))
    path, lost = exported(images, "dcbench")
    assert lost == []
    assert torch.allclose(export.read_images(path, toy_info.class_names).images, images.images, atol=1e-6)


def test_tensors_are_what_a_network_sees(exported, toy_info):
    path, _ = exported(distilled(), "dcbench")
    images, labels = torch.load(path, weights_only=True)["data"][-1]  # as DC-BENCH reads it
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (toy_info.mean, toy_info.std))
    assert torch.allclose(images, (distilled().images.float() / 255 - mean) / std)
    assert torch.equal(labels, distilled().targets)


def test_torchvision_reads_the_folder(exported):
    path, _ = exported(distilled(), "imagefolder")
    read = ImageFolder(path)
    assert read.classes == ["blue", "green", "red"], "it sorts classes by name; the order of the dataset is another"
    assert [read.classes[label] for _, label in read.samples] == ["blue"] * 2 + ["green"] * 2 + ["red"] * 2


def test_the_card_describes_the_columns(exported, toy_info):
    path, _ = exported(distilled(weights=torch.rand(6)), "huggingface")
    _, head, body = (path / "README.md").read_text().split("---\n", 2)
    info = yaml.safe_load(head)["dataset_info"]
    assert [feature["name"] for feature in info["features"]] == ["image", "label", "weight"]
    assert list(info["features"][1]["dtype"]["class_label"]["names"].values()) == list(toy_info.class_names)
    (split,) = info["splits"]
    assert (split["name"], split["num_examples"]) == ("train", 6)
    assert "| method | wmdd |" in body


def test_classes_are_matched_by_name_where_a_file_names_them(exported):
    path, _ = exported(distilled(), "huggingface")
    read_back = export.read_images(path, ("blue", "green", "red"))
    assert read_back.targets.tolist() == [2 - label for label in distilled().targets.tolist()]


def test_soft_labels_are_matched_by_name_too(exported):
    path, _ = exported(distilled(targets=soft()), "huggingface")
    read_back = export.read_images(path, ("green", "red", "blue"))  # written as red, green, blue
    assert torch.equal(read_back.targets, soft()[:, [1, 0, 2]])


class TestFilesOfOthers:
    """Images and labels as other codes save them."""

    names = ("red", "green", "blue")

    @pytest.mark.parametrize("shape", [lambda x, y: {"data": [[x * 0, y], [x, y]]}, lambda x, y: [x, y]])
    def test_the_last_pair_of_tensors(self, tmp_path, shape):
        images, labels = torch.rand(6, 3, SIZE, SIZE), distilled().targets
        torch.save(shape(images, labels), tmp_path / "res.pt")
        read_back = export.read_images(tmp_path / "res.pt", self.names)
        assert torch.equal(read_back.images, images)
        assert torch.equal(read_back.targets, labels)

    def test_labels_beside_images(self, tmp_path):
        torch.save(torch.rand(6, 3, SIZE, SIZE), tmp_path / "images_best.pt")
        with pytest.raises(BenchmarkError, match=r"no labels\*\.pt lies beside it"):
            export.read_images(tmp_path / "images_best.pt", self.names)
        torch.save(distilled().targets, tmp_path / "labels_best.pt")
        assert len(export.read_images(tmp_path / "images_best.pt", self.names)) == 6

    def test_normalised_tensors_stay_as_they_are_unless_the_file_says_how(self, tmp_path):
        pixels, facts = torch.rand(6, 3, SIZE, SIZE), {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}
        images = pt.Normalisation(*map(tuple, facts.values())).apply(pixels)
        content = {"images": images, "labels": distilled().targets}
        torch.save(content, tmp_path / "set.pt")
        assert torch.equal(export.read_images(tmp_path / "set.pt", self.names).images, images)
        torch.save(content | facts, tmp_path / "set.pt")
        assert torch.allclose(export.read_images(tmp_path / "set.pt", self.names).images, pixels, atol=1e-6)

    def test_bytes_are_pixels_even_beside_a_mean(self, tmp_path):
        facts = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}
        torch.save({"images": distilled().images, "labels": distilled().targets, **facts}, tmp_path / "set.pt")
        assert torch.equal(export.read_images(tmp_path / "set.pt", self.names).images, distilled().images)

    def test_a_file_that_carries_code_is_refused(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "pwned"),)

        torch.save({"data": Payload()}, tmp_path / "set.pt")
        with pytest.raises(BenchmarkError, match="damaged, or holds more than tensors"):
            export.read_images(tmp_path / "set.pt", self.names)
        assert not (tmp_path / "pwned").exists()

    def test_a_table_without_class_names(self, tmp_path, toy_info):
        huggingface.write(distilled(), toy_info, tmp_path / "set", "title", {})
        (path,) = tmp_path.glob("set/data/*.parquet")
        parquet.write_table(parquet.read_table(path).replace_schema_metadata({}), path)
        assert same(export.read_images(path, self.names), distilled())

    @pytest.mark.parametrize("row", [0, 5])
    def test_a_row_without_a_label(self, tmp_path, toy_info, row):
        huggingface.write(distilled(), toy_info, tmp_path / "set", "title", {})
        table = parquet.read_table(tmp_path / "set" / huggingface.FILE)
        labels = pa.array([None if i == row else 0 for i in range(6)], pa.int64())
        place = table.column_names.index("label")
        parquet.write_table(table.set_column(place, "label", labels), tmp_path / "set.parquet")
        with pytest.raises(BenchmarkError, match=f"row {row} has no label"):
            export.read_images(tmp_path / "set.parquet", self.names)

    def test_other_columns(self, tmp_path):
        parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "set.parquet")
        with pytest.raises(BenchmarkError, match="not a table with images of one size in the column 'image'"):
            export.read_images(tmp_path / "set.parquet", self.names)

    @pytest.mark.parametrize("content", [torch.zeros(3), {"data": [[torch.zeros(2, 3), torch.zeros(2)]]}, {}])
    def test_tensors_of_another_kind(self, tmp_path, content):
        torch.save(content, tmp_path / "set.pt")
        with pytest.raises(BenchmarkError, match=r"set\.pt: (holds no pair|not images)"):
            export.read_images(tmp_path / "set.pt", self.names)

    @pytest.mark.parametrize("name", ["set.pt", "set.parquet", "set.safetensors"])
    def test_damaged_files(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(BenchmarkError, match=name):
            export.read_images(tmp_path / name, self.names)


@pytest.mark.parametrize(
    ("names", "said"),
    [(("red", "green"), "labels are not those of 2 classes"), (("a", "b", "c"), "its classes are red, green, blue")],
)
def test_another_datasets_labels_are_refused(exported, names, said):
    form = "dcbench" if len(names) == 2 else "huggingface"
    path, _ = exported(distilled(), form)
    with pytest.raises(BenchmarkError, match=said):
        export.read_images(path, names)


def test_mistakes_are_named(tmp_path, exported, toy_info):
    with pytest.raises(BenchmarkError, match="nowhere: does not exist"):
        export.read_images(tmp_path / "nowhere", toy_info.class_names)
    (tmp_path / "set.txt").write_text("")
    with pytest.raises(BenchmarkError, match="give a folder"):
        export.read_images(tmp_path / "set.txt", toy_info.class_names)
    with pytest.raises(BenchmarkError, match="Did you mean 'imagefolder'"):
        exported(distilled(), "imagefolders")
    exported(distilled(), "imagefolder")
    with pytest.raises(BenchmarkError, match="exists already"):
        exported(distilled(), "imagefolder")


@pytest.mark.parametrize("form", export.FORMATS)
def test_an_export_that_fails_leaves_nothing(form, tmp_path, exported, monkeypatch):
    def full(*_args, **_kwargs):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(huggingface, "write", full)
    monkeypatch.setattr(SyntheticSet, "export_folder", full)
    with pytest.raises(BenchmarkError, match=r"cannot be written \(the disk is full\)"):
        exported(distilled(), form)
    assert not list(tmp_path.iterdir())


def test_a_damaged_archive_is_named(tmp_path, toy_info):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.zeros((3, 4, 4, 3), np.uint8), labels=np.arange(3))
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[:directory] + b"XXXX" + content[directory + 4 :])
    with pytest.raises(BenchmarkError, match=r"set.npz: cannot be read as a distilled set \(BadZipFile"):
        export.read_images(path, toy_info.class_names)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3), st.lists(st.floats(0.02, 0.5), min_size=3, max_size=3))
def test_every_pixel_survives_any_normalisation(mean, std):
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    how = pt.Normalisation(tuple(mean), tuple(std))
    back = pt.to_uint8(how.undo(how.apply(pixels.float() / 255)))
    assert torch.equal(back, pixels)
