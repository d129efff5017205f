"""Downloads from a server on this machine that breaks off, lies, refuses and resumes."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from benchmark.errors import BenchmarkError
from benchmark.vision import fetching
from benchmark.vision.datasets import DatasetConfig, fetch, info, load_dataset, status

CONTENT = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file; what it does wrong is set by attributes."""

    content = CONTENT
    cut_after: int | None = None  # bytes of an answer after which the connection is closed
    resumes = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range of every request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.server.status != 200:
            return self.send_error(self.server.status)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.resumes else 0
        if start >= len(self.server.content):
            return self.send_error(416)
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def get(server: Server, folder: Path, md5: str = MD5) -> list[tuple[int, int]]:
    reports: list[tuple[int, int]] = []
    path = fetching.download(server.url, folder, md5, lambda done, total: reports.append((done, total)))
    assert path == folder / "file.zip"
    return reports


def test_a_download_is_whole_and_reported(server: Server, tmp_path: Path) -> None:
    reports = get(server, tmp_path / "new")
    assert (tmp_path / "new/file.zip").read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), len(CONTENT)) and reports == sorted(reports)
    get(server, tmp_path / "new")
    assert server.asked == [None], "what is there is not asked for again"


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut_after = 120_000
    get(server, tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=120000-", "bytes=240000-"]


def test_a_killed_download_goes_on(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:200_000])
    get(server, tmp_path)
    assert server.asked == ["bytes=200000-"] and (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_download_killed_after_the_last_byte_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert get(server, tmp_path) == []
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.resumes = False
    (tmp_path / "file.zip.part").write_bytes(b"x" * 1000)
    get(server, tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=f"checksum is {MD5}, not 0000"):
        get(server, tmp_path, md5="0" * 32)
    assert not list(tmp_path.iterdir())


def test_no_progress_is_given_up_with_what_came_so_far(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.resumes = 100, False
    with pytest.raises(BenchmarkError, match="continues from there"):
        get(server, tmp_path)
    assert (tmp_path / "file.zip.part").stat().st_size == 100
    assert len(server.asked) == fetching.ATTEMPTS + 1


@pytest.mark.parametrize(("answer", "requests"), [(404, 1), (403, 1), (503, fetching.ATTEMPTS)])
def test_a_refusal_is_told_and_only_a_passing_one_tried_again(
    server: Server, tmp_path: Path, answer: int, requests: int
) -> None:
    server.status = answer
    with pytest.raises(BenchmarkError, match=f"the server answered {answer}"):
        get(server, tmp_path)
    assert len(server.asked) == requests


def test_no_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with Server() as stopped:
        url = stopped.url
    with pytest.raises(BenchmarkError, match=r"the connection failed .*refused"):
        fetching.download(url, tmp_path, MD5, lambda done, total: None)


def test_no_room_is_told_before_a_byte_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 1000}))
    with pytest.raises(BenchmarkError, match=r"1\.0 kB are free"):
        get(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_tar_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    archive, folder = tmp_path / "evil.tgz", tmp_path / "in"
    with tarfile.open(archive, "w:gz") as file:
        for name in ("good.txt", "../../evil.txt"):
            member = tarfile.TarInfo(name)
            member.size = 1
            file.addfile(member, io.BytesIO(b"x"))
    folder.mkdir()
    with pytest.raises(BenchmarkError, match="cannot be unpacked"):
        fetching.unpack(archive, folder)
    assert not list(folder.iterdir()) and not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("name", ["broken.zip", "broken.tgz"])
def test_a_broken_archive_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENT[:500])
    with pytest.raises(BenchmarkError, match="cannot be unpacked"):
        fetching.unpack(tmp_path / name, tmp_path)
    assert not list(tmp_path.iterdir()), "the next command would find the archive, and fail again"


def archive_of(suffix: str) -> bytes:
    """Return an archive of two classes with two images for each split, as ``inner/SPLIT/CLASS/N.png``."""
    image, whole = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    names = [f"inner/{split}/{label}/{i}.png" for split in ("train", "val") for label in "ab" for i in range(2)]
    if suffix == "zip":
        with zipfile.ZipFile(whole, "w") as packed:
            for name in names:
                packed.writestr(name, image.getvalue())
    else:
        with tarfile.open(fileobj=whole, mode="w:gz") as packed:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(image.getvalue())
                packed.addfile(member, io.BytesIO(image.getvalue()))
    return whole.getvalue()


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
def test_a_fetched_dataset_is_on_disk(server: Server, tmp_path: Path, suffix: str) -> None:
    server.content = archive_of(suffix)
    fetched = {"url": server.url.replace("zip", suffix), "md5": hashlib.md5(server.content).hexdigest()}
    own = {"name": "toy", "folder": "toy", "unpacked": ["inner"], "classes": 2, "class_names": {}, "fetch": fetched}
    config = DatasetConfig.model_validate(load_dataset("imagenette64").model_dump() | own)
    assert status(config, tmp_path) is not None
    fetch(config, tmp_path)
    assert status(config, tmp_path) is None and info(config, tmp_path).train_counts == (2, 2)
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["inner"], "the archive is gone"
    fetch(config, tmp_path)
    assert len(server.asked) == 1
