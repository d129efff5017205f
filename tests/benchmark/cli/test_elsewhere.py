"""A cluster elsewhere knows whether it has graphics cards: every command that runs nodes asks it before it plans."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from benchmark import interface
from benchmark.api import SyntheticSet
from benchmark.cli import main
from benchmark.run import campaign as campaigns
from benchmark.run import taken

ADDRESS = "10.0.0.1:6379"
COMMANDS = (
    "run --datasets digits",
    "evaluate set.safetensors --dataset digits --ipc 1 --method-name mine",
    "tune --search digits",
    "reproduce --suite barycenter",
    "rescore . --suite barycenter",
)


class Planned(Exception):
    """Ends a command at the point where it knows the device."""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Put a cluster with graphics cards at the address; returns which address was asked, and whether insecurely."""
    asked = []

    def connect(address: str, device: str, *, insecure: bool) -> SimpleNamespace:
        asked.append((address, insecure))
        return SimpleNamespace(has_gpu=True, close=lambda: None)

    def plan(options, store, *, has_gpu):
        raise Planned(has_gpu)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(campaigns, "RayRunner", connect)
    monkeypatch.setattr(campaigns, "node_options", plan)
    monkeypatch.setattr("benchmark.run.tune.node_options", plan)
    monkeypatch.setattr(taken, "import_sets", lambda *_: set())
    images = torch.arange(256).byte().expand(10, 3, 4, 256).reshape(10, 3, 32, 32)
    SyntheticSet(images, torch.arange(10)).save(tmp_path / "set.safetensors")
    return asked


def planned(monkeypatch: pytest.MonkeyPatch, *words: str) -> bool | None:
    """Return whether a command plans for a graphics card; None: it looks for one on this machine."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    with pytest.raises(Planned) as ended:
        main.app(standalone_mode=False)
    return ended.value.args[0]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_plans_for_the_cards_of_the_cluster(asked, monkeypatch, words):
    assert planned(monkeypatch, *words.split(), "--ray", ADDRESS) is True
    assert planned(monkeypatch, *words.split(), "--ray", ADDRESS, "--insecure") is True
    assert asked == [(ADDRESS, False), (ADDRESS, True)]


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("here", ["--ray local", f"--runner serial --ray {ADDRESS}"])
def test_no_cluster_starts_before_there_is_work(asked, monkeypatch, words, here):
    assert planned(monkeypatch, *words.split(), *here.split()) is None
    assert not asked


def test_a_suite_from_python_is_planned_in_the_same_way(asked):
    with pytest.raises(Planned, match="True"):
        interface.run_suite("main", selection={"datasets": ["digits"]}, runner="ray", ray=ADDRESS, insecure=True)
    assert asked == [(ADDRESS, True)]
