"""Splits that never meet, fingerprints that miss nothing, and faults with a name."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from toy_folder import all_images, hashes, lay_down, toy, write_image

from benchmark import config_files
from benchmark.api import TeacherSpec, TestData, TrainData
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan.nodes import teacher_identity
from benchmark.vision import layouts
from benchmark.vision.datasets import (
    DatasetConfig,
    TrainPart,
    fetch,
    info,
    list_datasets,
    load_dataset,
    open_test,
    open_train,
    status,
)

FETCHED = ("cifar10", "cifar100", "imagenette64", "imagenette", "imagewoof", "tiny_imagenet")
BY_HAND = ("imagenet100", "imagenet1k")
NAMES = ("digits", *FETCHED, *BY_HAND)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_down(tmp_path)


def reachable(thing: object) -> list[object]:
    """Return all objects that can be reached from one, classes, modules and functions left out."""
    seen: dict[int, object] = {}
    queue = [thing]
    while queue:
        item = queue.pop()
        if id(item) not in seen and not isinstance(item, type) and type(item).__name__ not in ("module", "function"):
            seen[id(item)] = item
            queue += gc.get_referents(item)
    return list(seen.values())


@pytest.mark.parametrize("part", ["full", "holdout"])
@pytest.mark.parametrize("streaming", [False, True])
def test_train_and_test_share_no_image(root: Path, tmp_path: Path, part: TrainPart, streaming: bool) -> None:
    config = toy(streaming=streaming)
    train, test = (opener(config, root, tmp_path / "cache", part) for opener in (open_train, open_test))
    assert isinstance(train, TrainData) and isinstance(test, TestData)
    assert not set(hashes(train)) & set(hashes(test))
    assert torch.bincount(train.labels).tolist() == list(train.info.train_counts)
    assert torch.bincount(test.labels).tolist() == ([4] * 3 if part == "full" else [2] * 3)


@pytest.mark.parametrize("streaming", [False, True])
def test_training_data_lead_to_no_test_image(root: Path, tmp_path: Path, streaming: bool) -> None:
    train = open_train(toy(streaming=streaming), root, tmp_path / "cache")
    texts = [item for item in reachable(train) if isinstance(item, str)]
    assert not [text for text in texts if "/val" in text]
    if streaming:
        assert [text for text in texts if "/train/" in text], "the search looks where paths are"
    else:
        assert len([item for item in reachable(train) if isinstance(item, np.memmap) and item.ndim == 4]) == 1


@pytest.mark.parametrize("part", ["full", "holdout"])
def test_no_array_holds_more_than_its_own_image(tmp_path: Path, part: TrainPart) -> None:
    config = load_dataset("digits").model_copy(update={"streaming": True})
    arrays = [item for item in reachable(open_train(config, tmp_path, tmp_path, part)) if isinstance(item, np.ndarray)]
    assert len(arrays) >= 1290 and all(array.base is None and array.shape == (8, 8) for array in arrays)


def test_tuning_never_opens_the_test_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    listed = layouts.list_split
    monkeypatch.setattr(
        layouts, "list_split", lambda folder, split, **k: asked.append(split) or listed(folder, split, **k)
    )
    config, cache = toy(), tmp_path / "cache"
    real = hashes(open_train(config, root, cache))
    asked.clear()
    carved = hashes(open_test(config, root, cache, "holdout"))
    rest = hashes(open_train(config, root, cache, "holdout"))
    assert set(asked) == {"train"}
    assert sorted(carved + rest) == sorted(real)


def test_streaming_reads_the_pixels_of_the_cache(root: Path, tmp_path: Path) -> None:
    some = torch.tensor([41, 3, 3, 17])
    cached = open_train(toy(), root, tmp_path / "cache")
    streamed = open_train(toy(streaming=True), root, tmp_path / "other")
    assert torch.equal(cached.read(some), streamed.read(some))
    assert cached.read(some).shape == (4, 3, 16, 16) and cached.read(some).dtype == torch.uint8
    assert torch.equal(cached.read(some), all_images(cached)[some])
    assert cached.info == streamed.info and not (tmp_path / "other").exists()


def test_what_is_read_cannot_change_the_cache(root: Path, tmp_path: Path) -> None:
    train = open_train(toy(), root, tmp_path / "cache")
    before = all_images(train)
    train.read(torch.arange(5)).zero_()
    assert torch.equal(all_images(train), before) and before.any()


def test_labels_belong_to_their_images(root: Path, tmp_path: Path) -> None:
    train = open_train(toy(), root, tmp_path / "cache")
    brightness = all_images(train).float().mean((1, 2, 3))
    for label in range(3):
        own = brightness[train.indices_of(label)]
        assert ((own > 60 * label) & (own < 60 * label + 40)).all()


# fingerprints


def test_a_fingerprint_names_all_that_decides_the_pixels(root: Path) -> None:
    first = info(toy(), root).fingerprint
    changed = [toy(resize=30), toy(resolution=12), toy(mean=(0.5, 0.5, 0.5)), toy(std=(1, 1, 1)), toy(flip=False)]
    changed += [toy(whole=20), toy(whole=24)]
    views = [info(config, root).fingerprint for config in changed] + [info(toy(), root, "holdout").fingerprint]
    write_image(root / "toy/val/cat/new.png", 199)
    grown = info(toy(), root).fingerprint
    write_image(root / "toy/train/ant/train00.png", 1, size=(80, 80))
    assert len({first, *views, grown, info(toy(), root).fingerprint}) == 11
    assert info(toy(title="other", streaming=True), root).fingerprint == info(toy(), root).fingerprint


def test_a_fingerprint_does_not_depend_on_where_the_files_lie(root: Path) -> None:
    first = info(toy(), root).fingerprint
    (root / "elsewhere").mkdir()
    (root / "toy").rename(root / "elsewhere" / "unpacked")
    assert info(toy(unpacked=["unpacked"]), root / "elsewhere").fingerprint == first


def test_info_opens_no_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    found = info(toy(), root)
    assert found.class_names == ("Ant", "bee", "cat") and found.train_counts == (20, 20, 20)


# faults on disk


def test_wrong_classes_are_named_all_at_once(root: Path) -> None:
    (root / "toy/val/cat").rename(root / "toy/val/dog")
    for path in (root / "toy/train/bee").iterdir():
        path.unlink()
    with pytest.raises(Faults) as caught:
        info(toy(classes=4, class_names={"atn": "Ant", "bee": "Bee", "dog": "Dog"}), root)
    text = str(caught.value)
    for words in (
        "3 training classes, where toy has 4",
        "toy: class_names: no folder is called atn\n",
        "no training folder for class dog",
        "no test folder for class cat",
    ):
        assert words in text
    assert "no training images of class bee" in text


def test_a_name_of_a_class_may_not_be_that_of_another_folder(root: Path) -> None:
    with pytest.raises(BenchmarkError, match="class_names: two folders have the name bee"):
        info(toy(class_names={"ant": "bee"}), root)


def test_missing_data_say_how_to_get_them(tmp_path: Path) -> None:
    for name in FETCHED:
        reason = status(load_dataset(name), tmp_path)
        assert reason == f"not on disk: python -m benchmark data fetch {name} --data {tmp_path}"
    for name in BY_HAND:
        by_hand = load_dataset(name)
        assert f"{tmp_path}/{name}" in (status(by_hand, tmp_path) or "")
    with pytest.raises(BenchmarkError, match="data fetch cifar10"):
        open_train(load_dataset("cifar10"), tmp_path, tmp_path)
    with pytest.raises(BenchmarkError, match="Register"):
        fetch(by_hand, tmp_path)
    assert status(load_dataset("digits"), tmp_path) is None


# descriptions


def test_the_promised_datasets_are_described() -> None:
    assert set(NAMES) <= set(list_datasets())
    for name in list_datasets():
        config = load_dataset(name)
        assert config.name == name and config.title and config.description
        assert config.source == "digits" or config.fetch or config.by_hand
        assert config.teacher.flip == config.flip
        assert not config.class_names or len(config.class_names) == config.classes


def test_teachers_of_every_architecture_are_trained() -> None:
    for name in list_datasets():
        for spec in (TeacherSpec(), TeacherSpec(neutral=True), TeacherSpec(arch="resnet50")):
            recipe = teacher_identity(load_dataset(name), spec, 0)["component"]["params"]["recipe"]
            assert recipe["pretrained"] or recipe["epochs"] > 0, f"{recipe['arch']} on {name} would have random weights"
    with pytest.raises(ValueError, match="would stay untrained"):
        toy(teacher={"arch": "resnet18", "epochs": 0, "pretrained": "torchvision:IMAGENET1K_V1"})


@pytest.mark.parametrize(
    "wrong",
    [{"crop_scale": (5, 1)}, {"momentum": -1}, {"weight_decay": -1}, {"label_smoothing": 3}, {"nesterov": True}],
    ids=str,
)
def test_teachers_that_cannot_be_trained_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        toy(teacher={"arch": "resnet18", "epochs": 1, "momentum": 0, **wrong})


def test_two_resolutions_share_their_files() -> None:
    small, large = load_dataset("imagenette64"), load_dataset("imagenette")
    assert small.folder == large.folder and small.fetch == large.fetch and small.class_names == large.class_names


def test_five_keys_are_enough() -> None:
    values = {"name": "mine", "title": "Mine", "folder": "mine", "classes": 3, "resize": 64, "resolution": 64}
    mine, usual = DatasetConfig.model_validate(values), load_dataset("imagenette64")
    same = ("mean", "std", "teacher", "student")
    assert [getattr(mine, name) for name in same] == [getattr(usual, name) for name in same]
    assert status(mine, Path("data")) == "not on disk: copy its images to data/mine/train/CLASS and data/mine/val/CLASS"
    for key in ("title", "folder", "classes", "resize", "resolution"):
        with pytest.raises(ValueError, match=f"(?s){key}.*(required|needed)"):
            DatasetConfig.model_validate({name: value for name, value in values.items() if name != key})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_names": {str(i): str(i) for i in range(4)}}, "4 names for 3 classes"),
        ({"class_names": {"ant": "Ant", "bee": "Ant"}}, "two classes have the name Ant"),
        ({"class_names": {"ant": "../ant"}}, "class_names.ant\n.*cannot be a part of a path"),
        ({"class_names": {"ant": "ant/worker"}}, "class_names.ant\n.*cannot be a part of a path"),
        ({"folder": "../../etc"}, "below the data directory"),
        ({"folder": "/etc"}, "below the data directory"),
        ({"folder": "a\0b"}, "below the data directory"),
        ({"folder": "~root"}, "below the data directory"),
        ({"unpacked": ["../x"]}, "below the data directory"),
        ({"mean": [127, 127, 127]}, "mean.0\n.*less than or equal to 1"),
        ({"std": [58, 57, 57]}, "std.0\n.*less than or equal to 1"),
        ({"fetch": {"url": "file:///etc/passwd", "md5": "0" * 32}}, "fetch.url\n.*should match pattern"),
        ({"fetch": {"url": "data.org/x.zip", "md5": "0" * 32}}, "fetch.url\n.*should match pattern"),
    ],
)
def test_what_a_description_cannot_say(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy(**changes)


def test_imagenet100_lists_100_classes_of_imagenet() -> None:
    folders = load_dataset("imagenet100").class_names
    assert len(folders) == len(set(folders.values())) == 100
    assert set(folders) <= set(ImageNetInfo().label_names())


def test_a_wrong_description_is_told_by_file_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_files, "CONFIGS", tmp_path)
    (tmp_path / "datasets").mkdir()
    text = (Path(__file__).parents[3] / "configs/datasets/digits.yaml").read_text()
    text = text.replace("source: digits", "source: folder").replace("resize: 32", "resize: 16")
    text = text.replace("flip: false #", "flipp: false #").replace("epochs: 150", "epochs: none")
    (tmp_path / "datasets/bad.yaml").write_text(text)
    with pytest.raises(Faults) as caught:
        load_dataset("bad")
    lines = str(caught.value).splitlines()
    assert all("datasets/bad.yaml: " in line for line in lines)
    for words in (
        "flipp: unknown key. Did you mean 'flip'?",
        "student.epochs: ",
        "folder: needed",
        "resolution: the crop",
    ):
        assert any(words in line for line in lines), words
    with pytest.raises(BenchmarkError, match=r"unknown dataset 'bda'\. Did you mean 'bad'"):
        load_dataset("bda")


@pytest.mark.data
@pytest.mark.skipif("BENCHMARK_DATA" not in os.environ, reason="BENCHMARK_DATA names no data directory")
def test_imagenette_is_the_split_of_wmdd(tmp_path: Path) -> None:
    config, root = load_dataset("imagenette64"), Path(os.environ["BENCHMARK_DATA"])
    assert sum(info(config, root).train_counts) == 9469
    assert len(open_test(config, root, tmp_path)) == 3925
