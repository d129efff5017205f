"""The same data in whatever layout they came."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100
from toy_folder import CLASSES, all_images, hashes, lay_down, toy, write_image

from benchmark.errors import BenchmarkError
from benchmark.vision.datasets import (
    info,
    load_dataset,
    open_test,
    open_train,
    status,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_down(tmp_path)


@pytest.mark.parametrize("place", ["toy", "toy/unpacked", "unpacked"])
def test_a_dataset_is_found_where_archives_put_it(root: Path, place: str) -> None:
    (root / "toy").rename(root / "was")
    (root / place).parent.mkdir(exist_ok=True)
    (root / "was").rename(root / place)
    assert status(toy(unpacked=["unpacked"]), root) is None
    assert info(toy(unpacked=["unpacked"]), root).train_counts == (20, 20, 20)


def test_tiny_imagenet_is_the_same_in_both_layouts(tmp_path: Path) -> None:
    original, flat = tmp_path / "a/toy/tiny-imagenet-200", tmp_path / "b/toy"
    notes = []
    for label, name in enumerate(CLASSES):
        for i in range(3):
            write_image(original / f"train/{name}/images/{name}_{i}.JPEG", 60 * label + i)
            write_image(flat / f"train/{name}/{name}_{i}.JPEG", 60 * label + i)
        image = f"val_{2 - label}.JPEG"  # not in the order of the classes
        write_image(original / "val/images" / image, 100 + 60 * label)
        write_image(flat / "val" / name / image, 100 + 60 * label)
        (original / f"train/{name}/{name}_boxes.txt").write_text("0 0 1 1")
        notes.append(f"{image}\t{name}\t0\t0\t1\t1\n")
    (original / "val/val_annotations.txt").write_text("".join(notes))
    config = toy(unpacked=["tiny-imagenet-200"])
    sets = [open_test(config, tmp_path / place, tmp_path / "cache" / place) for place in ("a", "b")]
    assert sets[0].info == sets[1].info and sets[0].labels.tolist() == [0, 1, 2]
    assert torch.equal(all_images(sets[0]), all_images(sets[1]))
    write_image(original / "val/images/stranger.JPEG", 0)
    with pytest.raises(BenchmarkError, match=r"stranger\.JPEG"):
        info(config, tmp_path / "a")


CIFARS = {  # torchvision's class, and the names of files and of labels
    "cifar10": (CIFAR10, ("data_batch_1", "data_batch_2"), "test_batch", "batches.meta", "label"),
    "cifar100": (CIFAR100, ("train",), "test", "meta", "fine_label"),
}


@pytest.mark.parametrize("name", CIFARS)
def test_cifar_is_read_as_torchvision_lays_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original, train, test, meta, labels = CIFARS[name]
    config = load_dataset(name)
    place, classes = tmp_path / name / original.base_folder, [f"c{i:02d}" for i in range(config.classes)]
    place.mkdir(parents=True)
    n = 2 * config.classes
    pixels = np.random.default_rng(0).integers(0, 256, (n * (len(train) + 1), 3, 32, 32), dtype=np.uint8)

    def lay(file: str, content: dict[str, object]) -> list[str]:
        (place / file).write_bytes(pickle.dumps(content))
        return [file, hashlib.md5((place / file).read_bytes()).hexdigest()]

    own = {f"{labels}s": list(range(config.classes)) * 2, "coarse_labels": [0] * n}
    parts = [{"data": part.reshape(n, -1), **own} for part in np.split(pixels, len(train) + 1)]
    monkeypatch.setattr(original, "train_list", [lay(file, parts[i]) for i, file in enumerate(train)])
    monkeypatch.setattr(original, "test_list", [lay(test, parts[-1])])
    file, md5 = lay(meta, {f"{labels}_names": classes})
    monkeypatch.setattr(original, "meta", {"filename": file, "key": f"{labels}_names", "md5": md5})

    split, held = (opener(config, tmp_path, tmp_path / "cache") for opener in (open_train, open_test))
    assert np.array_equal(all_images(split), pixels[:-n]) and np.array_equal(all_images(held), pixels[-n:])
    assert split.info.class_names == tuple(classes)
    assert split.labels.tolist() == list(range(config.classes)) * 2 * len(train)
    (place / test).write_bytes(b"damaged")
    with pytest.raises(BenchmarkError, match="fetch it again"):
        info(config, tmp_path)


def test_digits_are_split_within_every_class(tmp_path: Path) -> None:
    config = load_dataset("digits")
    train, test = (opener(config, tmp_path, tmp_path / "cache") for opener in (open_train, open_test))
    assert (len(train), len(test)) == (1442, 355)
    assert torch.bincount(test.labels).min() >= 34
    assert not set(hashes(train)) & set(hashes(test))
    pixels = all_images(train).float() / 255
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.tensor(config.mean), atol=2e-3, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3)), torch.tensor(config.std), atol=2e-3, rtol=0)
