"""Hostile distilled sets: every format with every kind of wrong content, and files that are no sets at all."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from hostile import Case
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file
from toy_folder import toy

from benchmark.api import DatasetInfo
from benchmark.formats import artifact, files
from benchmark.formats.pt import Normalisation

IPC, SIZE, CLASSES = 2, 16, ("ant", "bee", "cat")
INFO = DatasetInfo(
    name="toy",
    class_names=("Ant", "bee", "cat"),
    train_counts=(20, 20, 20),
    resolution=SIZE,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    fingerprint="toy",
)
LABELS = torch.arange(3).repeat_interleave(IPC)
ONE_HOT = torch.eye(3)[LABELS]
Content = Mapping[str, Any]


def pixels() -> torch.Tensor:
    """Return dark images with a bright square, [6, 3, 16, 16] in [0, 1]."""
    images = torch.rand(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.3
    images[:, :, 4:12, 4:12] += 0.6
    return images


def read(path: Path, **options: Any) -> artifact.Artifact:
    """Read a set as `evaluate` does."""
    return artifact.of_set(artifact.read(path, toy(), INFO), str(path), INFO, IPC, **options)


def with_pixel(value: float) -> torch.Tensor:
    images = pixels()
    images[1, 1, 2, 3] = value
    return images


def wrong_tensors() -> dict[str, Content]:
    """Return wrong images, labels and weights by name; what is not named is sound."""
    images, bytes_ = pixels(), (pixels() * 255).byte()
    return {
        "fractional labels": {"labels": LABELS + 0.5},
        "labels of NaN": {"labels": LABELS / 0 * 0},
        "labels that overflow": {"labels": LABELS.float() + 1e25},
        "negative labels": {"labels": LABELS - 1},
        "labels wrapped at 256": {"labels": (LABELS + 254).to(torch.uint8)},
        "labels of another dataset": {"labels": LABELS + 7},
        "labels all 0": {"labels": LABELS * 0},
        "complex labels": {"labels": LABELS + 1j},
        "boolean labels": {"labels": LABELS > 0},
        "labels of rank 0": {"labels": torch.tensor(1)},
        "labels of rank 3": {"labels": ONE_HOT[None]},
        "labels as a column": {"labels": LABELS[:, None]},
        "too few labels": {"labels": LABELS[:5]},
        "no labels": {"labels": LABELS[:0]},
        "soft labels of two classes": {"labels": ONE_HOT[:, :2]},
        "soft labels of NaN": {"labels": ONE_HOT / 0},
        "NaN": {"images": with_pixel(torch.nan)},
        "infinity": {"images": with_pixel(torch.inf)},
        "minus infinity": {"images": with_pixel(-torch.inf)},
        "a pixel of 1e30": {"images": with_pixel(1e30)},
        "a pixel of -1e30": {"images": with_pixel(-1e30)},
        "pixels of 1e30": {"images": images * 1e30},
        "doubles beyond floats": {"images": images.double() * 1e300},
        "16-bit values": {"images": (images * 65535).int()},
        "bytes of 0 and 1": {"images": (images > 0.5).byte()},
        "complex images": {"images": images + 1j},
        "boolean images": {"images": images > 0.5},
        "images of rank 3": {"images": images[:, 0]},
        "images of rank 5": {"images": images[None]},
        "flat images": {"images": images.flatten(1)},
        "one image": {"images": images[0]},
        "no images": {"images": images[:0], "labels": LABELS[:0]},
        "one channel": {"images": images[:, :1]},
        "four channels": {"images": torch.cat([images, images[:, :1]], 1)},
        "half the size": {"images": images[..., ::2, ::2]},
        "not square": {"images": images[..., ::2]},
        "too many images": {"images": torch.cat([images] * 2), "labels": torch.cat([LABELS] * 2)},
        "a class is missing": {"images": images[:4], "labels": LABELS[:4]},
        "an extra image": {"images": torch.cat([images, images[:1]]), "labels": torch.cat([LABELS, LABELS[:1]])},
        "bytes of another size": {"images": bytes_[..., ::2, ::2]},
        "normalised": {"images": Normalisation(INFO.mean, INFO.std).apply(images)},
        "whitened": {"images": whitened()},
    }


def whitened() -> torch.Tensor:
    """Return images whose neighbours are a little alike and whose distant pixels are not, with mean 0."""
    noise = torch.randn(6, 3, SIZE + 1, SIZE + 1, generator=torch.Generator().manual_seed(3)) * 0.45
    return (noise[..., 1:, 1:] + 0.9 * noise[..., 1:, :-1]) / 1.35


def pt_layouts() -> dict[str, Callable[[Path, Any, Any], Path]]:
    def put(layout: Callable[[Any, Any], Any], folder: Path, images: Any, labels: Any) -> Path:
        torch.save(layout(images, labels), folder / "set.pt")
        return folder / "set.pt"

    def beside(folder: Path, images: Any, labels: Any) -> Path:
        torch.save(images, folder / "images.pt")
        torch.save(labels, folder / "labels.pt")
        return folder / "images.pt"

    layouts = {
        ".pt as DC": lambda x, y: {"data": [[x, y]], "accs_all_exps": {"ConvNet": [np.float64(0.5)]}},
        ".pt of images and labels": lambda x, y: {"images": x, "labels": y},
        ".pt of a pair": lambda x, y: (x, y),
    }
    return {name: partial(put, layout) for name, layout in layouts.items()} | {".pt beside labels": beside}


def write_npz(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> Path:
    np.savez(folder / "set.npz", images=images.numpy(), labels=labels.numpy())
    return folder / "set.npz"


def write_npy(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> Path:
    np.save(folder / "images.npy", images.numpy())
    np.save(folder / "labels.npy", labels.numpy())
    return folder / "images.npy"


def write_safetensors(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> Path:
    save_file({"images": images.contiguous(), "targets": labels.contiguous()}, folder / "set.safetensors")
    return folder / "set.safetensors"


def tensor_cases() -> Iterator[Case]:
    writers = {
        **pt_layouts(),
        ".npz": write_npz,
        ".npy": write_npy,
        ".safetensors": write_safetensors,
    }
    for form, write in writers.items():
        for name, change in wrong_tensors().items():
            content = {"images": pixels(), "labels": LABELS, **change}
            if form == ".safetensors" and any(tensor.is_complex() for tensor in content.values()):
                continue  # safetensors cannot hold them

            def run(folder: Path, write: Any = write, content: Any = content) -> None:
                read(write(folder, content["images"], content["labels"]))

            yield Case(f"set: {form}", name, run)


def pt_contents() -> dict[str, Any]:
    """Return contents of ``.pt`` files that are no images with labels, or whose facts are wrong."""
    sound, normal = {"images": pixels(), "labels": LABELS}, Normalisation(INFO.mean, INFO.std).apply(pixels())
    facts = {"images": normal, "labels": LABELS, "mean": list(INFO.mean), "std": list(INFO.std)}
    return {
        "data is a tensor": {"data": pixels()},
        "data is empty": {"data": []},
        "data is None": {"data": None},
        "data is a number": {"data": 3},
        "data is text": {"data": "images"},
        "data is a pair, not a list of pairs": {"data": [pixels(), LABELS]},
        "a list": [1, 2, 3],
        "nothing": None,
        "a number": 5,
        "text": "images",
        "a nested dict": {"a": {"b": {"images": pixels()}}},
        "weights of a network": {"conv.weight": torch.zeros(3, 3), "conv.bias": torch.zeros(3)},
        "images are a list": {"images": [[1.0, 2.0]], "labels": LABELS},
        "images are text": {"images": "none", "labels": LABELS},
        "labels are text": {"images": pixels(), "labels": ["ant"] * 6},
        "labels are None": {"images": pixels(), "labels": None},
        "labels have a None": {"images": pixels(), "labels": [0, 0, 1, 1, 2, None]},
        "weights are a list": {**sound, "weights": [1.0] * 6},
        "weights are text": {**sound, "weights": "equal"},
        "weights of another number": {**sound, "weights": torch.ones(5)},
        "weights are negative": {**sound, "weights": -torch.ones(6)},
        "weights are NaN": {**sound, "weights": torch.ones(6) / 0 * 0},
        "weights are all 0": {**sound, "weights": torch.zeros(6)},
        "weights are complex": {**sound, "weights": torch.ones(6) + 1j},
        "std is 0": {**facts, "std": [0, 0.2, 0.2]},
        "std is negative": {**facts, "std": [-0.2, 0.2, 0.2]},
        "std is NaN": {**facts, "std": [float("nan"), 0.2, 0.2]},
        "std is infinite": {**facts, "std": [float("inf"), 0.2, 0.2]},
        "std is a number": {**facts, "std": 0.2},
        "std is text": {**facts, "std": "0.2"},
        "std has two values": {**facts, "std": [0.2, 0.2]},
        "std is missing": {name: value for name, value in facts.items() if name != "std"},
        "mean is NaN": {**facts, "mean": [float("nan"), 0.4, 0.4]},
        "mean is None": {**facts, "mean": None},
        "NaN marked as bytes": {**facts, "pixels": "uint8", "images": normal / 0 * 0},
        "one NaN marked as bytes": {**facts, "pixels": "uint8", "images": with_pixel(torch.nan)},
        "sparse images": {"images": pixels().to_sparse(), "labels": LABELS},
        "images without values": {"images": pixels().to("meta"), "labels": LABELS},
        "soft labels that are logits": {"images": pixels(), "labels": ONE_HOT * 9 - 4},
    }


class Payload:
    """Runs code when it is unpickled by a careless reader."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        """Make a folder."""
        return os.mkdir, (self.folder,)


def pt_cases() -> Iterator[Case]:
    for name, content in pt_contents().items():

        def run(folder: Path, content: Any = content) -> None:
            torch.save(content, folder / "set.pt")
            read(folder / "set.pt")

        yield Case("set: contents of .pt", name, run)

    def code(folder: Path, place: str, legacy: bool) -> None:
        bait = Payload(str(folder / "pwned"))
        content = {"data": [[pixels(), LABELS]], place: bait} if place != "top" else bait
        torch.save(content, folder / "set.pt", _use_new_zipfile_serialization=not legacy)
        try:
            read(folder / "set.pt")
        finally:
            assert not (folder / "pwned").exists(), "code was executed"

    def raw_pickle(folder: Path) -> None:
        (folder / "set.pt").write_bytes(pickle.dumps({"images": pixels().numpy(), "labels": LABELS.numpy()}))
        read(folder / "set.pt")

    def objects(folder: Path) -> None:
        scalar = {"images": pixels(), "labels": LABELS, "extra": np.array([Payload(str(folder / "pwned"))], object)}
        torch.save(scalar, folder / "set.pt")
        try:
            read(folder / "set.pt")
        finally:
            assert not (folder / "pwned").exists(), "code was executed"

    for place in ("top", "accs_all_exps"):
        for legacy in (False, True):
            yield Case(
                "set: code in a file",
                f"{place} {'legacy' if legacy else 'zip'}",
                partial(code, place=place, legacy=legacy),
            )
    yield Case("set: code in a file", "pickle of arrays", raw_pickle)
    yield Case("set: code in a file", "array of objects", objects)


def npz_cases() -> Iterator[Case]:
    images, labels = pixels().numpy(), LABELS.numpy()

    def put(folder: Path, **arrays: Any) -> None:
        np.savez(folder / "set.npz", **arrays)
        read(folder / "set.npz")

    def objects(folder: Path) -> None:
        np.savez(folder / "set.npz", images=images, labels=np.array([Payload(str(folder / "pwned"))] * 6, object))
        try:
            read(folder / "set.npz")
        finally:
            assert not (folder / "pwned").exists(), "code was executed"

    def huge_header(folder: Path) -> None:
        np.save(folder / "images.npy", images)
        np.save(folder / "labels.npy", labels)
        data = (folder / "images.npy").read_bytes()
        (folder / "images.npy").write_bytes(data.replace(b"(6, 3, 16, 16)", b"(6000000,3,9,9)"))
        read(folder / "images.npy")

    def bomb(folder: Path) -> None:
        np.savez_compressed(folder / "set.npz", images=np.zeros((6, 3, 1000, 1000), np.uint8), labels=labels)
        with mock.patch.object(files, "MOST_BYTES", 2**20):  # as if the bomb were a thousand times larger
            read(folder / "set.npz")

    group = "set: contents of .npz and .npy"
    yield Case(group, "other names", partial(put, pictures=images, classes=labels), "it has pictures, classes")
    yield Case(group, "only images", partial(put, images=images))
    yield Case(group, "nothing", put)
    yield Case(group, "labels are text", partial(put, images=images, labels=np.array(["ant"] * 6)))
    yield Case(group, "labels are dates", partial(put, images=images, labels=labels.astype("M8[s]")))
    yield Case(group, "labels are records", partial(put, images=images, labels=np.zeros(6, [("a", int)])))
    yield Case(group, "labels are unsigned and huge", partial(put, images=images, labels=labels.astype("u8") + 2**63))
    yield Case(group, "soft labels of infinity", partial(put, images=images, labels=(ONE_HOT / 0).numpy()))
    yield Case(group, "objects", objects)
    yield Case(group, "a header of 1.4 GB", huge_header)
    yield Case(group, "a bomb", bomb, "fill the memory")

    def alone(folder: Path, name: str) -> None:
        np.save(folder / name, images)
        read(folder / name)

    yield Case(group, "images without labels", partial(alone, name="images.npy"), "labels.npy: does not exist")
    yield Case(group, "an array alone", partial(alone, name="set.npy"), "no labels*.npy belongs to it")


def png(size: tuple[int, int] = (SIZE, SIZE), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, (200, 90, 30) if mode == "RGB" else 30_000).save(buffer, "PNG")
    return buffer.getvalue()


def png_bomb(side: int = 60_000) -> bytes:
    """Return a small PNG that says it has side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


WRONG_IMAGES = {
    "truncated": png()[:60],
    "empty": b"",
    "text": b"this is no image\n",
    "a web page": b"<!DOCTYPE html><html></html>",
    "a Git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "only a signature": b"\x89PNG\r\n\x1a\n",
    "a bomb of 60,000 x 60,000": png_bomb(),
    "a bomb of 9,000 x 9,000": png_bomb(9_000),
    "no pixels": png_bomb(0),
    "of another size": png((SIZE, 2 * SIZE)),
    "16 bits deep": png(mode="I;16"),
}


def parquet_cases() -> Iterator[Case]:
    def put(folder: Path, **columns: Any) -> None:
        default = {"image": [{"bytes": png(), "path": None}] * 6, "label": LABELS.tolist()}
        chosen = {name: value for name, value in {**default, **columns}.items() if value is not None}
        parquet.write_table(pa.table(chosen), folder / "set.parquet")
        read(folder / "set.parquet")

    def names(folder: Path, metadata: bytes) -> None:
        table = pa.table({"image": [{"bytes": png(), "path": None}] * 6, "label": LABELS.tolist()})
        parquet.write_table(table.replace_schema_metadata({"huggingface": metadata}), folder / "set.parquet")
        read(folder / "set.parquet")

    group = "set: contents of .parquet"
    for name, data in WRONG_IMAGES.items():
        rows = [{"bytes": data if i == 3 else png(), "path": None} for i in range(6)]
        yield Case(group, f"an image: {name}", partial(put, image=rows))
    columns: dict[str, dict[str, Any]] = {
        "null labels": {"label": [0, 0, 1, 1, 2, None]},
        "negative labels": {"label": [0, 0, 1, 1, -1, -1]},
        "labels beyond the classes": {"label": [0, 0, 1, 1, 3, 3]},
        "fractional labels": {"label": [0.5, 0, 1, 1, 2, 2]},
        "text labels": {"label": ["ant"] * 6},
        "boolean labels": {"label": [True] * 6},
        "no labels": {"label": None},
        "no images": {"image": None},
        "images are paths": {"image": [{"bytes": None, "path": "/etc/passwd"}] * 6},
        "images are text": {"image": ["a"] * 6},
        "images are null": {"image": [None] * 6},
        "images are bytes": {"image": [png()] * 6},
        "no rows": {"image": pa.array([], pa.struct({"bytes": pa.binary()})), "label": pa.array([], pa.int64())},
        "soft labels of two lengths": {"soft_label": [[1.0, 0, 0]] * 5 + [[1.0]]},
        "soft labels of two classes": {"soft_label": [[1.0, 0.0]] * 6},
        "soft labels are null": {"soft_label": [None] * 6},
        "soft labels that sum to 2": {"soft_label": [[1.0, 1.0, 0.0]] * 6},
        "weights are null": {"weight": [None] * 6},
        "weights are text": {"weight": ["1"] * 6},
        "weights are negative": {"weight": [-1.0] * 6},
    }
    for name, change in columns.items():
        yield Case(group, name, partial(put, **change))
    for name, metadata in {
        "a list": b"[1]",
        "no JSON": b"{",
        "other classes": json.dumps({"info": {"features": {"label": {"names": ["x", "y", "z"]}}}}).encode(),
    }.items():
        yield Case(group, f"metadata: {name}", partial(names, metadata=metadata))


def folder_with(folder: Path, name: str, data: bytes) -> Path:
    """Write a sound ImageFolder, and one more file."""
    for label in CLASSES:
        for i in range(IPC):
            path = folder / "set" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png())
    (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "set" / name).write_bytes(data)
    return folder / "set"


def folder_cases() -> Iterator[Case]:
    group = "set: ImageFolder"
    for name, data in WRONG_IMAGES.items():
        yield Case(group, f"an image: {name}", lambda folder, data=data: read(folder_with(folder, "ant/0.png", data)))
    yield Case(
        group, "eleven class folders", lambda folder: read(folder_with(folder, "dog/0.png", png())), "no class: dog"
    )
    yield Case(group, "an extra image", lambda folder: read(folder_with(folder, "ant/9.png", png())), "'Ant' has 3")
    yield Case(group, "an archive in a class", lambda folder: read(folder_with(folder, "ant/a.zip", b"PK\x03\x04")))
    yield Case(group, "a folder in a class", lambda folder: read(folder_with(folder, "ant/more/0.png", png())))
    yield Case(group, "an array in a class", lambda folder: read(folder_with(folder, "ant/a.npy", b"\x93NUMPY")))
    changes: dict[str, Callable[[Path], object]] = {
        "a dangling link": lambda path: (path / "ant" / "1.png").symlink_to("nowhere.png"),
        "a link to itself": lambda path: (path / "ant" / "1.png").symlink_to(path / "ant" / "1.png"),
        "a pipe": lambda path: os.mkfifo(path / "ant" / "1.png"),
        "a link to a device": lambda path: (path / "ant" / "1.png").symlink_to("/dev/zero"),
        "a folder called image": lambda path: (path / "ant" / "1.png").mkdir(),
        "an image is missing": lambda path: None,
    }
    for name, change in changes.items():

        def run(folder: Path, change: Callable[[Path], object] = change) -> None:
            path = folder_with(folder, "cat/0.png", png())
            (path / "ant" / "1.png").unlink()
            change(path)
            read(path)

        yield Case(group, name, run)

    def emptied(folder: Path, parts: tuple[str, ...]) -> None:
        path = folder_with(folder, "cat/0.png", png())
        for part in parts:
            for file in (path / part).iterdir():
                file.unlink()
        read(path)

    yield Case(group, "an empty class", partial(emptied, parts=("ant",)))
    yield Case(group, "only empty classes", partial(emptied, parts=CLASSES))
    yield Case(group, "an empty folder", lambda folder: read(folder))
    yield Case(
        group, "images without class folders", lambda folder: ((folder / "a.png").write_bytes(png()), read(folder))
    )


def file_cases() -> Iterator[Case]:
    """Files that are no set, under every ending."""
    contents = {
        name: data for name, data in WRONG_IMAGES.items() if not name.startswith(("a bomb", "of ", "16", "no "))
    }
    contents |= {"zeros": bytes(4096), "a zip of nothing": b"PK\x05\x06" + bytes(18), "an image": png()}
    for suffix in (".pt", ".pth", ".npz", ".npy", ".safetensors", ".parquet"):
        group = f"set: a file {suffix}"
        path = f"images{suffix}"
        for name, data in contents.items():
            yield Case(
                group,
                name,
                lambda folder, path=path, data=data: ((folder / path).write_bytes(data), read(folder / path)),
            )
        yield Case(group, "a pipe", lambda folder, path=path: (os.mkfifo(folder / path), read(folder / path)))
        yield Case(
            group,
            "a dangling link",
            lambda folder, path=path: ((folder / path).symlink_to("nowhere"), read(folder / path)),
        )
        yield Case(group, "a folder", lambda folder, path=path: ((folder / path).mkdir(), read(folder / path)))
        yield Case(group, "nothing", lambda folder, path=path: read(folder / path))
        yield Case(
            group,
            "a device",
            lambda folder, path=path: ((folder / path).symlink_to("/dev/zero"), read(folder / path)),
        )
    for suffix in (".zip", ".tar.gz", ".pkl", ".jpg", ""):
        path = f"set{suffix}"
        yield Case(
            "set: a file of another kind",
            suffix or "without an ending",
            lambda folder, path=path: ((folder / path).write_bytes(b"PK"), read(folder / path)),
        )


def scale_cases() -> Iterator[Case]:
    """Scales that contradict the values, and normalisations that are none."""
    normal = Normalisation(INFO.mean, INFO.std).apply(pixels())
    values = {
        "pixels as normalised": (pixels(), {"value_range": "normalised"}),
        "pixels as 0-255": (pixels(), {"value_range": "0-255"}),
        "bytes as 0-1": (pixels() * 255, {"value_range": "0-1"}),
        "bytes as normalised": (pixels() * 255, {"value_range": "normalised"}),
        "values beyond pixels as 0-1": (pixels() * 30 - 15, {"value_range": "0-1"}),
        "two channels of three": (normal, {"normalisation": Normalisation((0.5, 0.5), (0.2, 0.2))}),
        "a deviation that cannot be": (normal, {"normalisation": Normalisation((0.5,) * 3, (99.0,) * 3)}),
        "whitened and said to be bytes": (whitened(), {"value_range": "0-255"}),
    }
    for name, (images, options) in values.items():

        def run(folder: Path, images: Any = images, options: Any = options) -> None:
            read(write_npz(folder, images, LABELS), **options)

        yield Case("set: scale of values", name, run)


def cases() -> list[Case]:
    """Return all cases of this module."""
    parts = (tensor_cases, pt_cases, npz_cases, parquet_cases, folder_cases, file_cases, scale_cases)
    return [case for part in parts for case in part()]
