"""Computing one node in this process: read the results of its parents, run its stage, commit the files to the store."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.api import Context, DatasetInfo, LabeledSet, Labels, SyntheticSet, TestData, TrainData, Unit
from benchmark.errors import BenchmarkError
from benchmark.identity import Stage, digest, precision_of, seed_of
from benchmark.plan.discovery import PACKAGES, load_evaluator, load_labels, load_measure, load_method, load_preparation
from benchmark.plan.label_bytes import label_bytes
from benchmark.record import ACCURACIES, accuracy_fault, is_number
from benchmark.run import provenance, returned
from benchmark.run.heartbeat import Heartbeat
from benchmark.run.options import NodeOptions
from benchmark.run.store import Store
from benchmark.run.teachers import Teachers
from benchmark.settings import restored, seeded
from benchmark.sources import checksum_at_import, component_files, parts
from benchmark.synthetic import TensorFile
from benchmark.vision import datasets
from benchmark.vision.models import Stem, create_model, images_forwarded, load_pretrained
from benchmark.vision.training import TeacherTraining, accuracy, train_classifier

MODEL, TENSORS, IMAGES = "model.safetensors", "tensors.safetensors", "images.safetensors"
METRIC = "metric."  # how the names of scalars start that a preparation gives for its record


class NodeRun:
    """The run of one node; data and parents are loaded when a stage first uses them."""

    def __init__(
        self,
        key: str,
        identity: Mapping[str, Any],
        options: NodeOptions,
        store: Store,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.key, self.identity, self.options, self.store = key, identity, options, store
        self.device = torch.device(options.device)
        self.params: Mapping[str, Any] = identity["component"]["params"]
        self.config = datasets.load_dataset(identity["dataset"]["name"])
        self.train_part: datasets.TrainPart = identity["dataset"].get("view", "full")
        self.metrics: dict[str, Any] = {}
        self.bytes: dict[str, int] = {}
        self.parts: dict[str, float] = {}
        self.saved: Path | None = None  # the scratch folder, where an earlier attempt had saved something in it
        self.heartbeat = heartbeat or Heartbeat(store, key, options.owner)

    def run(self) -> None:
        """Run the stage, measure what it costs, and commit its files and its record."""
        if self.options.threads and self.device.type == "cpu":
            torch.set_num_threads(self.options.threads)
        start_time, forwarded = provenance.now(), images_forwarded()
        self.heartbeat(0, 1, {})
        with self.store.writing(self.key) as folder:
            with provenance.measured(self.device) as cost, restored(), seeded(self.key):
                getattr(self, self.identity["stage"])(folder)
            if reason := accuracy_fault(self.identity["stage"], self.metrics):
                raise BenchmarkError(f"{self._name} returned {reason}")
            cost |= {
                "gpus": self.config.resources.gpus if self.device.type == "cuda" else 0,
                "images_forwarded": images_forwarded() - forwarded,
                "exclusive": self.heartbeat.check_alone(),
                "bytes": self.bytes,
                "parts": {name: round(seconds, 3) for name, seconds in self.parts.items()},
                "precision": str(self.precision).removeprefix("torch."),
            }
            record = {
                "stage": self.identity["stage"],
                "identity": self.identity,
                "metrics": self.metrics,
                "cost": provenance.of_last_attempt(cost) if self.saved else cost,
                "provenance": provenance.facts(start_time, self.identity),
            }
            self.store.commit(self.key, folder, record)
        self.store.clear_scratch(self.key)

    # The stages: each method has the name of its stage

    def teacher(self, folder: Path) -> None:
        """Train a teacher on the real training set (squeeze) and test it once, at the end."""
        training, context = TeacherTraining(**self.params["recipe"]), self.context()
        if training.pretrained:
            model = load_pretrained(training.arch, training.pretrained, stem=Stem(**self.params["stem"]), **self._sizes)
            model = model.to(self.device)
        else:
            model = self._network(training.arch, self.params["stem"], context.seed)
            train_classifier(model, self.train, training, context)
        self.metrics |= accuracy(model, self.test(), context)
        state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / MODEL)

    def prepare(self, folder: Path) -> None:
        """Run a preparation, whose tensors several methods may share."""
        preparation = load_preparation(self._name)(**self.params)
        tensors = dict(preparation.prepare(self.train, self.context()))
        names = [name for name in tensors if name.startswith(METRIC)]
        self.metrics |= {name.removeprefix(METRIC): float(tensors.pop(name)) for name in names}
        self._refuse_no_numbers(self.metrics)
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / TENSORS)

    def distill(self, folder: Path) -> None:
        """Distill one unit of a synthetic set."""
        method = load_method(self._name)(**self.params)
        images = method.distill(self.train, Unit(**self.identity["unit"]), self.context())
        unit = Unit(**self.identity["unit"])  # a method may have changed its own
        images = returned.check(images, method, unit, self.train.info)
        images.save(folder / IMAGES)
        self.bytes = images.sizes
        self.metrics |= {**images.metadata, "images": len(images)}

    def relabel(self, folder: Path) -> None:
        """Label the images of a synthetic set."""
        regime = load_labels(self._name)(**self.params)
        images, context = self.images(), self.context()
        labels = regime.label(images, self.info, context, folder)
        labels.save(folder)
        sizes = label_bytes(regime, labels, len(images), self.info.classes, context.teachers, images.soft_bytes)
        self.bytes |= sizes

    def evaluate(self, _folder: Path) -> None:
        """Train a student on the labelled set and test it on the test split."""
        context = self.context()
        train = LabeledSet(self.images(), Labels.load(self.parents("labels")[0]))
        student = self._network(self.identity["student"]["arch"], self.identity["student"]["stem"], context.seed)
        evaluator = load_evaluator(self._name)(**self.params)
        numbers = evaluator.evaluate(train, self.test(), student, context)
        shown = {column.name for column in evaluator.columns} - ACCURACIES  # `accuracy_fault` is stricter with these
        self._refuse_no_numbers({name: numbers.get(name) for name in sorted(shown)})
        self.metrics |= numbers

    def measure(self, folder: Path) -> None:
        """Measure the synthetic set without a student; the test split is not opened."""
        measure = load_measure(self._name)(**self.params)
        numbers = measure.measure(self.images(), self.train, self.context(), folder)
        self._refuse_no_numbers(numbers)
        self.metrics |= numbers

    # What the stages use

    @cached_property
    def train(self) -> TrainData:
        """The real training split."""
        train = datasets.open_train(*self._dataset)
        self._refuse_other_data(train.info)
        return train

    def test(self) -> TestData:
        """Return the test split; only the stages teacher and evaluate open it."""
        test = datasets.open_test(*self._dataset)
        self._refuse_other_data(test.info)
        return test

    def _refuse_no_numbers(self, numbers: Mapping[str, object]) -> None:
        for name, value in numbers.items():
            if not (value is None or is_number(value)):
                raise BenchmarkError(f"{self._name}: '{name}' is neither a number nor None (given: {value!r})")

    @cached_property
    def info(self) -> DatasetInfo:
        """What is known of the dataset without decoding an image."""
        info = datasets.info(self.config, Path(self.options.data), self.train_part, quick=True, report=self._report)
        self._refuse_other_data(info)
        return info

    @property
    def _dataset(self) -> tuple[datasets.DatasetConfig, Path, Path, datasets.TrainPart, datasets.Report]:
        root = Path(self.options.data)
        return self.config, root, datasets.cache_folder(root), self.train_part, self._report

    def _report(self, done: int, total: int) -> None:
        """Show in the heartbeat how far a dataset's files are hashed, or its cache is written."""
        self.heartbeat(done, total, {})

    def parents(self, role: str) -> list[Path]:
        """Return the folders of the parents in a role ("images", "labels", ...), every checksum verified."""
        return [self.store.folder(key) for key in self.identity["parents"].get(role, ())]

    def images(self) -> SyntheticSet:
        """Return the whole synthetic set, joined from its units."""
        return SyntheticSet.merge([SyntheticSet.load(folder / IMAGES) for folder in self.parents("images")])

    def context(self) -> Context:
        """Return the context of a component; its seed is a hash of axes without the method, so methods share it."""
        identity = self.identity
        # Distilled sets share their random numbers across IPC, so that a larger random subset extends a smaller one.
        ipc = 0 if identity["stage"] == "distill" else identity.get("ipc", 0)
        axes = [identity["dataset"]["name"], ipc, identity.get("unit", {}).get("index", 0)]
        prepared = [TensorFile(folder / TENSORS) for folder in self.parents("prepared")]
        scratch = self.store.scratch(self.key, code_of(identity["stage"], self._name))
        self.saved = scratch if any(scratch.glob("[!.]*")) else None  # a half-written file begins with a dot
        return Context(
            device=self.device,
            precision=self.precision,
            seed=seed_of(identity["stage"], *axes, identity.get("seed", 0)),
            scratch=scratch,
            teachers=Teachers(identity["parents"].get("teachers", ()), self._teacher),
            prepared=prepared[0] if prepared else {},
            report=self.heartbeat,
            parts=self.parts,
        )

    def _refuse_other_data(self, info: DatasetInfo) -> None:
        if info.fingerprint != self.identity["dataset"]["fingerprint"]:
            raise BenchmarkError(f"dataset {info.name}: its files changed after the run was planned; run again")

    @property
    def precision(self) -> torch.dtype:
        """The type of mixed-precision forward passes, as the component or the teacher recipe says."""
        return autocast_type(precision_of(self.identity), self.device)

    @property
    def _name(self) -> str:
        return str(self.identity["component"]["name"])

    @property
    def _sizes(self) -> dict[str, int]:
        return {"classes": self.info.classes, "resolution": self.info.resolution, "channels": self.info.channels}

    def _network(self, arch: str, stem: Mapping[str, Any], seed: int) -> nn.Module:
        return create_model(arch, **self._sizes, stem=Stem(**stem), seed=seed).to(self.device)

    def _teacher(self, key: str) -> nn.Module:
        folder, record = self.store.folder(key), self.store.record(key)
        params = (record or {})["identity"]["component"]["params"]
        model = self._network(params["recipe"]["arch"], params["stem"], seed=0)
        model.load_state_dict(load_file(folder / MODEL, device=str(self.device)))
        return model.eval().requires_grad_(False)


def code_of(stage: Stage, component: str) -> str:
    """Return a checksum of a component's file and of the parts in folders of the user: the code of this process."""
    files = (component_files(package).get(component) for package in PACKAGES[stage])
    return digest([checksum_at_import(path) for path in (*files, *parts().values()) if path])[:12]


def autocast_type(precision: str, device: torch.device) -> torch.dtype:
    """Return the autocast type; ``auto`` is bfloat16 on a device that has bfloat16 arithmetic, else float32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else torch.float32
