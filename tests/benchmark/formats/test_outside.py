"""Sets as the code of the field saves them are read: their files, normalisations, label scales and stray files."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
import torch
from hostile_sets import CLASSES, INFO, IPC, LABELS, ONE_HOT, SIZE, folder_with, pixels, read, whitened, write_npz
from PIL import EpsImagePlugin, Image
from safetensors.torch import load_file, save_file

from benchmark.cli.evaluate import _normalisation
from benchmark.errors import BenchmarkError
from benchmark.formats import artifact, scale
from benchmark.formats.files import read_folder
from benchmark.formats.pt import Normalisation
from benchmark.formats.tensors import LABELS as LABEL_MATRIX
from benchmark.vision.datasets import load_dataset

EIGHT_BIT = (pixels() * 255).round() / 255
CIFAR = INFO.model_copy(update={"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)})
FIELD = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def condensed(path, *, numpy_1: bool = False, sets: int = 1):
    """Write a file as DC and DSA do, with accuracies as NumPy numbers beside the sets."""
    data = [[pixels() * (i == sets - 1), LABELS] for i in range(sets)]
    accuracies = {"ConvNet": [np.float64(0.5), np.float32(0.25)], "count": np.int64(3)}
    torch.save({"data": data, "accs_all_exps": accuracies}, path, _use_new_zipfile_serialization=not numpy_1)
    if numpy_1:  # which called its module otherwise
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return path


class TestFilesOfTheField:
    @pytest.mark.parametrize("numpy_1", [False, True])
    def test_condensed_sets_with_accuracies(self, tmp_path, numpy_1):
        external = read(condensed(tmp_path / "res_DSA.pt", numpy_1=numpy_1))
        assert torch.equal(external.images.images, pixels())
        assert external.notes == ()

    def test_of_several_sets_the_last_one_is_taken_and_named(self, tmp_path):
        external = read(condensed(tmp_path / "res_DC.pt", sets=5))
        assert torch.equal(external.images.images, pixels())
        assert external.notes == ("it holds 5 sets; the last one is taken",)

    def test_arrays_are_the_same_set_as_tensors(self, tmp_path):
        np.save(tmp_path / "images.npy", pixels().numpy())
        np.save(tmp_path / "labels.npy", LABELS.numpy())
        torch.save((pixels(), LABELS), tmp_path / "set.pt")
        paths = (write_npz(tmp_path, pixels(), LABELS), tmp_path / "images.npy", tmp_path / "set.pt")
        assert len({read(path).checksum for path in paths}) == 1

    @pytest.mark.parametrize("suffix", ["pt", "npz"])
    def test_the_class_of_an_image_may_not_be_its_largest_soft_label(self, tmp_path, suffix):
        soft = ONE_HOT.roll(1, 1) * 0.7 + ONE_HOT * 0.3
        soft[0] = ONE_HOT[0].roll(2)
        path, arrays = tmp_path / f"set.{suffix}", {"images": pixels(), "labels": soft}

        def saved(**more):
            torch.save(arrays | more, path) if suffix == "pt" else np.savez(
                path, **{name: value.numpy() for name, value in (arrays | more).items()}
            )
            return path

        with pytest.raises(BenchmarkError, match="the largest soft labels; save the true ones as 'classes'"):
            read(saved())
        external = read(saved(classes=LABELS))
        assert (external.images.classes.tolist(), external.notes) == (LABELS.tolist(), ())
        assert torch.equal(external.images.targets, soft)
        with pytest.raises(BenchmarkError, match="the largest soft labels"):
            read(saved(classes=torch.tensor(3)))  # a number of classes

    def test_a_folder_without_classes_names_them_and_the_layout(self, tmp_path):
        names = [f"class {i}" for i in range(8)]
        with pytest.raises(BenchmarkError, match=r"class 4 and 3 more; images lie in CLASS/\*\.png"):
            read_folder(tmp_path, names)

    def test_a_matrix_of_labels_keeps_its_scale(self, tmp_path):
        labels = ONE_HOT - 1 / 3 + 0.1 * torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
        external = read(write_npz(tmp_path, pixels(), labels))
        assert torch.equal(external.images.targets, LABELS)
        assert torch.equal(external.images.extras[LABEL_MATRIX], labels)
        assert "are no probabilities; they are kept with their scale" in external.notes[0]
        external.images.save(tmp_path / "stored.safetensors")
        assert torch.equal(load_file(tmp_path / "stored.safetensors")[f"extra.{LABEL_MATRIX}"], labels)
        other = read(write_npz(tmp_path, pixels(), labels * 2))
        assert other.checksum != external.checksum, "the scale is part of the set"

    def test_probabilities_are_soft_labels(self, tmp_path):
        soft = (3 * ONE_HOT).softmax(1)
        external = read(write_npz(tmp_path, pixels(), soft))
        assert torch.equal(external.images.targets, soft)
        assert external.images.extras == {}

    def test_channels_may_come_last(self, tmp_path):
        external = read(write_npz(tmp_path, pixels().permute(0, 2, 3, 1), LABELS))
        assert torch.equal(external.images.images, pixels())
        assert external.notes == ("its images are [N, H, W, C]; they are taken as [N, C, H, W]",)

    @pytest.mark.parametrize(
        "name", ["Thumbs.db", ".DS_Store", "ant/Thumbs.db", "cat/.DS_Store", "README.md", ".git/x"]
    )
    def test_what_file_managers_leave_is_ignored(self, tmp_path, name):
        external = read(folder_with(tmp_path, name, b"\x00\x01"))
        assert len(external.images) == IPC * len(CLASSES)


class TestWhatIsNotTaken:
    """A file that says two things is refused, or a note says what is not read."""

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"pixels": "banana"}, "pixels are 'banana'"),
            ({"images": (pixels() * 127).to(torch.int8)}, r"images are torch\.int8"),
            ({"images": torch.zeros(6, 3, 16, 16, dtype=torch.uint8)}, "all values are 0; were values from 0 to 1 cut"),
        ],
    )
    def test_tensors(self, tmp_path, content, said):
        torch.save({"images": pixels(), "labels": LABELS, **content}, tmp_path / "set.pt")
        with pytest.raises(BenchmarkError, match=said):
            read(tmp_path / "set.pt")

    def test_what_is_not_read_is_named(self, tmp_path):
        more = {"labels": LABELS, "soft_labels": ONE_HOT, "targets": 2 - LABELS}
        torch.save({"images": pixels(), **more}, tmp_path / "a.pt")
        torch.save({"data": [[pixels(), LABELS]], "images": pixels() / 2}, tmp_path / "b.pt")
        np.savez(tmp_path / "c.npz", images=pixels().numpy(), labels=LABELS.numpy(), weights=np.full(6, np.nan))
        named = {"a.pt": "soft_labels, targets", "b.pt": "images", "c.npz": "weights"}
        for name, text in named.items():
            assert read(tmp_path / name).notes == (f"it holds {text} too, which are not read",)

    @pytest.mark.parametrize(
        ("more", "metadata", "said"),
        [
            ({}, "[1]", "its metadata are no mapping"),
            ({}, "{", "not a synthetic set"),
            ({"labels": 2 - LABELS}, "{}", "it has labels; known are images, targets, weights and extra.NAME"),
        ],
    )
    def test_safetensors(self, tmp_path, more, metadata, said):
        tensors = {"images": pixels(), "targets": LABELS, **more}
        save_file(tensors, tmp_path / "set.safetensors", metadata={"synthetic": metadata})
        with pytest.raises(BenchmarkError, match=said):
            read(tmp_path / "set.safetensors")

    @pytest.mark.parametrize("metadata", ['{"notes": 5}', '{"notes": "abc", "loss": NaN}'])
    def test_metadata_are_not_kept(self, tmp_path, metadata):
        tensors = {"images": pixels(), "targets": LABELS}
        save_file(tensors, tmp_path / "set.safetensors", metadata={"synthetic": metadata})
        external = read(tmp_path / "set.safetensors")
        assert (external.notes, external.images.metadata) == ((), {})

    @pytest.mark.parametrize(("suffix", "kind"), [("gif", "GIF"), ("tif", "TIFF"), ("webp", "WEBP"), ("png", "PNG")])
    def test_a_file_of_several_images(self, tmp_path, suffix, kind):
        pages = [Image.new("RGB", (SIZE, SIZE), (shade, 0, 0)) for shade in (10, 200)]
        content = io.BytesIO()
        pages[0].save(content, kind, save_all=True, append_images=pages[1:])
        with pytest.raises(BenchmarkError, match=f"more.{suffix}: holds 2 images"):
            read(folder_with(tmp_path, f"ant/more.{suffix}", content.getvalue()))

    def test_a_file_that_would_start_a_program(self, tmp_path, monkeypatch):
        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
        content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"
        with pytest.raises(BenchmarkError, match=r"evil.png: cannot be read as an image \(cannot identify image file"):
            read(folder_with(tmp_path, "ant/evil.png", content))

    def test_a_class_that_is_a_link_to_another_one(self, tmp_path):
        folder = folder_with(tmp_path, "README.md", b"")
        shutil.rmtree(folder / "bee")
        (folder / "bee").symlink_to("ant")
        with pytest.raises(BenchmarkError, match="the classes ant, bee are links to one folder"):
            read(folder)


class TestNormalisation:
    def normalised(self, tmp_path, how: Normalisation, images: torch.Tensor = EIGHT_BIT):
        return write_npz(tmp_path, how.apply(images), LABELS)

    def external(self, path, **options):
        return artifact.of_set(artifact.read(path, load_dataset("cifar10"), CIFAR), str(path), CIFAR, IPC, **options)

    def test_the_deviation_of_the_field_is_tried_and_named(self, tmp_path):
        path = self.normalised(tmp_path, FIELD)
        external = self.external(path, value_range="normalised")
        assert torch.equal(external.images.images, (EIGHT_BIT * 255).byte())
        (note,) = external.notes
        assert (
            note
            == "normalisation undone: std (0.2023, 0.1994, 0.201) (DC, DSA, DM and DC-BENCH on CIFAR-10) fits exactly"
        )
        with pytest.raises(BenchmarkError, match=r"std \(0.2023, 0.1994, 0.201\) .* fits exactly and undoes it"):
            self.external(path)

    def test_the_datasets_own_comes_first(self, tmp_path):
        external = self.external(
            self.normalised(tmp_path, Normalisation(CIFAR.mean, CIFAR.std)), value_range="normalised"
        )
        assert external.notes == ("normalisation undone",)
        assert torch.equal(external.images.images, (EIGHT_BIT * 255).byte())

    def test_images_that_were_clipped_to_the_range_fit_too(self, tmp_path):
        images = pixels()
        images[0, :, 0, 0], images[0, :, 0, 1] = 0, 1
        external = self.external(self.normalised(tmp_path, FIELD, images), value_range="normalised")
        assert torch.allclose(external.images.images, images, atol=1e-6)
        assert "fits exactly" in external.notes[0]

    def test_where_none_fits_the_user_is_asked(self, tmp_path):
        path = self.normalised(tmp_path, FIELD, pixels())
        with pytest.raises(
            BenchmarkError, match=r"no deviation fits exactly; .* --std 0.2023,0.1994,0.201 \(DC"
        ) as caught:
            self.external(path, value_range="normalised")
        assert "--std 0.247,0.2435,0.2616" in str(caught.value)
        external = self.external(path, normalisation=FIELD)
        assert torch.allclose(external.images.images, pixels(), atol=1e-6)
        assert "with mean (0.4914, 0.4822, 0.4465) and std (0.2023, 0.1994, 0.201)" in external.notes[0]

    @pytest.mark.parametrize(
        ("mean", "std", "said"),
        [
            ("", "0,0.2,0.2", "std is above 0"),
            ("", "nan,0.2,0.2", "both are finite"),
            ("inf,0,0", "", "both are finite"),
            ("", "0.2", "one value per channel"),
            ("a,b,c", "", "could not convert"),
        ],
    )
    def test_options_that_are_no_normalisation(self, mean, std, said):
        with pytest.raises(BenchmarkError, match=f"--mean, --std: .*{said}"):
            _normalisation(mean, std, load_dataset("cifar10"))

    def test_the_dataset_gives_what_the_options_leave_out(self):
        config = load_dataset("cifar10")
        assert _normalisation("", "", config) is None
        assert _normalisation("", "0.2023,0.1994,0.2010", config) == FIELD
        assert _normalisation("0.5,0.5,0.5", "", config) == Normalisation((0.5,) * 3, config.std)


class TestWhitening:
    def test_whitened_images_are_refused_in_words(self, tmp_path):
        with pytest.raises(BenchmarkError, match="its images look ZCA-whitened, and without the matrix"):
            read(write_npz(tmp_path, whitened(), LABELS))

    def test_what_is_normalised_only_can_be_said(self, tmp_path):
        assert (
            "normalisation undone" in read(write_npz(tmp_path, whitened(), LABELS), value_range="normalised").notes[0]
        )

    @pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
    def test_natural_images_with_noise_are_not_taken_for_whitened(self, power):
        """Images whose neighbours are as alike as CIFAR-10's; noise is what some methods start from."""
        generator = torch.Generator().manual_seed(0)
        frequency = torch.fft.fftfreq(32)[:, None].square() + torch.fft.rfftfreq(32).square()
        spectrum = (
            torch.randn(20, 3, 32, 17, generator=generator, dtype=torch.complex64) / (frequency.sqrt() + 1 / 32) ** 2
        )
        natural = torch.fft.irfft2(spectrum, s=(32, 32))
        natural = (natural - natural.mean()) / natural.std() + power * torch.randn(20, 3, 32, 32, generator=generator)
        assert not scale.look_whitened(natural)
        assert scale.look_whitened(_whitened_by_zca(natural)) == (power == 0)

    def test_noise_is_not_whitened_pixels(self):
        assert not scale.look_whitened(torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        assert not scale.look_whitened(pixels())


def _whitened_by_zca(images: torch.Tensor) -> torch.Tensor:
    """Whiten each frequency, which is ZCA where statistics are the same everywhere; 0.1 is added as in RFAD."""
    spectrum = torch.fft.rfft2(images)
    power = spectrum.abs().square().mean((0, 1))
    return torch.fft.irfft2(spectrum / (power + 0.1 * power.mean()).sqrt(), s=(32, 32))
