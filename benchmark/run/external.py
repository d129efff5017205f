"""Distilled sets from other code in a run: the entry of a set in a suite, its cells, and its record in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmark.config_files import validated
from benchmark.errors import BenchmarkError
from benchmark.formats.artifact import Artifact
from benchmark.plan.discovery import method_names
from benchmark.plan.suite import MethodEntry, Selection, Suite
from benchmark.record import EXTERNAL
from benchmark.run import provenance
from benchmark.run.campaign import Campaign
from benchmark.run.stages import IMAGES


def suite_entry(artifact: Artifact, name: str, suite: Suite) -> MethodEntry:
    """Return the entry by which a suite runs an external set.

    Raises:
        BenchmarkError: a method has this name already, or it cannot be a name.
    """
    if not name.strip():
        raise BenchmarkError("--method-name: is blank; give the set a name")
    if name in {*method_names(), *(entry.method for entry in suite.entries)}:
        raise BenchmarkError(f"--method-name {name!r}: is taken by a method of this suite; choose another one")
    values = {"method": name, "base": EXTERNAL, "set": {"checksum": artifact.checksum}}
    return validated(MethodEntry, values, "--method-name")


def selection(entry: MethodEntry, dataset: str, ipc: int, **axes: Any) -> Selection:
    """Return the cells of an external set: one draw, evaluated with every seed of the suite."""
    return Selection(datasets=(dataset,), ipc=(ipc,), entries=(entry,), draws=1, **axes)


def store_artifact(campaign: Campaign, artifact: Artifact) -> Campaign:
    """Write an external set into the store as the distilled set of its cells; return the campaign with it done.

    Its record has no seconds and no device: how it was distilled is not known.

    Raises:
        BenchmarkError: every cell is skipped, or the store cannot be written.
    """
    reasons = [planned.skipped for planned in campaign.plan.cells]
    if all(reasons):
        raise BenchmarkError(f"{artifact.name}: nothing can be evaluated: {reasons[0]}")
    keys = {key for key, node in campaign.todo.items() if node.stage == "distill"}
    for key in keys:
        start_time, identity = provenance.now(), campaign.plan.nodes[key].identity
        if key in campaign.corrupt:
            campaign.store.discard(key)
        with campaign.store.writing(key) as folder:
            artifact.images.save(folder / IMAGES)
            record = {
                "stage": "distill",
                "identity": identity,
                "metrics": {"images": len(artifact.images), "artifact": artifact.name, "notes": list(artifact.notes)},
                "cost": {"bytes": {"images": artifact.images.images_bytes}},
                "provenance": provenance.facts(start_time, identity),
            }
            campaign.store.commit(key, folder, record)
    return replace(campaign, done=campaign.done | keys, corrupt=campaign.corrupt - keys)
