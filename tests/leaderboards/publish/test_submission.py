"""What a submission says to the people who check it."""

from __future__ import annotations

import zipfile

import pytest
from fake_store import FakeStore

from benchmark.cli import packing
from benchmark.files import Folder
from leaderboards.publish import publication, submission
from leaderboards.results import records


@pytest.mark.parametrize(("dataset", "said"), [("imagenet100", True), ("cifar10", False), ("digits", False)])
def test_images_that_nobody_else_can_download_are_named(tmp_path, monkeypatch, dataset, said):
    run = FakeStore(str(tmp_path))
    run.done(run.cell(), 60.0)
    run.write_manifest()
    known = records.read(run.root, "main").nodes.records
    published = publication.of_run(run.root, "main", {key: known[key] for key in publication.done(run.root, "main")})
    monkeypatch.setattr(submission, "checksums", lambda _: {})  # the store has records only
    remarks = packing.without_address(["methods/mine.py", f"configs/datasets/{dataset}.yaml"])
    submission.pack(published, Folder(run.root), {}, tmp_path / "a.zip", remarks=remarks)
    text = zipfile.ZipFile(tmp_path / "a.zip").read("SUBMISSION.md").decode()
    assert (f"The images of {dataset} have no public address" in text) == said
