"""The page: whole in one file, every number with its provenance; in a browser it sorts, filters, links, asks nobody."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_store import FakeStore, paper

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WATCH = """<script>
const seen = {errors: [], refused: []};
addEventListener("error", (event) => seen.errors.push(event.message));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => seen.refused.push(event.blockedURI));
console.error = console.warn = (...words) => seen.errors.push(words.join(" "));
</script>"""
ACT = """<script type="module">
const cells = (n) => [...document.querySelectorAll(`#board tbody tr td:nth-child(${n})`)];
const column = (n) => cells(n).map((cell) => cell.innerText.trim());
const pause = () => new Promise((next) => setTimeout(next, 20));
const wait = async (done) => { for (let i = 0; i < 200 && !done(); i++) await pause(); };
await wait(() => document.documentElement.dataset.ready);
seen.first = column(1).length;
seen.here = [...document.querySelectorAll("tr.here")].map((row) => row.id);
const top1 = [...document.querySelectorAll("#board thead th")].find((th) => th.innerText.includes("top-1"));
top1.click();
await wait(() => top1.classList.contains("dt-ordering-asc"));
seen.ascending = column(6).map(parseFloat);
const [dataset, ipc] = document.querySelectorAll("#filters select");
dataset.value = "imagenette"; dataset.dispatchEvent(new Event("change"));
ipc.value = "1"; ipc.dispatchEvent(new Event("change"));
seen.filtered = column(2).map((name, place) => `${name} ${column(3)[place]}`);
const search = document.querySelector(".dt-search input");
search.value = "wmdd["; search.dispatchEvent(new Event("input"));
await wait(() => column(1).every((text) => text.includes("wmdd[")));
seen.searched = column(1);
location.hash = "#row-imagenet1k-10-mmd-standard-resnet18";
await wait(() => document.querySelector("tr.here")?.id.includes("imagenet1k"));
seen.absent = document.querySelector("tr.here")?.id;
document.querySelector("tr.here button").click();
seen.dialog = document.getElementById("details").open && document.getElementById("details-body").innerText;
const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
seen.requests = loaded.filter((name) => !/^(data|blob):/.test(name));
seen.wide = document.documentElement.scrollWidth - innerWidth;
document.documentElement.dataset.seen = JSON.stringify(seen);
</script></body>"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    store = FakeStore(str(tmp_path_factory.mktemp("page")))
    paper(store, seeds=2)
    return store, store.build()


@pytest.fixture(scope="module")
def page(built) -> str:
    return (Path(built[1].folder) / "index.html").read_text()


class Links(HTMLParser):
    """Collects what a page would load, and the ids it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.loads += [value for name, value in found.items() if name in ("src", "srcset", "data", "poster")]
        self.loads += [found["href"]] if tag == "link" else []
        self.targets += [found["href"][1:]] if tag == "a" else []
        self.ids += [found["id"]] if "id" in found else []


def test_everything_lies_in_the_one_file(page):
    links = Links()
    links.feed(page)
    assert links.loads
    assert all(value.startswith("data:") for value in links.loads)
    assert "default-src 'none'" in page
    assert len(page) < 5_000_000


def test_every_row_has_its_own_permalink(page, built):
    links = Links()
    links.feed(page)
    rows = [name for name in links.ids if name.startswith("row-")]
    assert len(rows) == len(set(rows)) == len(built[1].leaderboard)
    assert set(links.targets) <= set(links.ids)
    assert set(rows) <= set(links.targets)


def test_every_number_is_traced_to_its_records(page, built):
    store, report = built
    packed = re.search(r'id="provenance">(.*?)</script>', page)[1]
    found = json.loads(gzip.decompress(base64.b64decode(packed)))
    numbers = [cell for cells in found["rows"].values() for cell in cells if cell["top1"] is not None]
    assert len(numbers) == (report.cells["status"] == "ok").sum()
    keys = {key for node in found["nodes"] for key in node["keys"]}
    assert set(report.cells.loc[report.cells["status"] == "ok", "evaluate_key"]) <= keys
    for cell in numbers:
        stages = [found["nodes"][node]["stage"] for node in cell["nodes"]]
        assert stages == ["teacher", "prepare", "distill", "relabel", "evaluate"]
    (wmdd,) = [node for node in found["nodes"] if node["component"].startswith("wmdd") and node["keys"][0] == next(
        cell["nodes"]["distill"][0] for cell in store.cells if cell["method"] == "wmdd[lambda=50]"
    )]  # fmt: skip
    assert "regulariser_weight: 50.0" in found["texts"][wmdd["hyperparameters"]]
    assert (wmdd["device"], wmdd["commit"], wmdd["parts"]) == ("a GPU", "0123456789ab", 2)
    assert "torch 2.15.0" in found["texts"][wmdd["versions"]]


def test_what_is_missing_stands_there_with_its_reason(page):
    text = html.unescape(page[page.index('<section id="missing">') :])
    assert "imagenet1k: not on disk: python -m benchmark data fetch imagenet1k" in text
    assert "rded at IPC 1, 10, 50: distill: out of memory" in text


def test_names_cannot_break_out_of_the_page(tmp_path):
    store = FakeStore(str(tmp_path))
    store.done(store.cell(method="<b>x", base="wmdd", overrides={"note": "</script><i>"}))
    text = (Path(store.build().folder) / "index.html").read_text()
    assert "<b>x" not in text
    assert "<i>" not in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser(page, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(page.replace("<head>", f"<head>{WATCH}").replace("</body>", ACT))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=500,900"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    url = f"file://{path}#row-digits-10-wmdd-standard-resnet18"
    command = [CHROMIUM, *flags, profile, "--virtual-time-budget=30000", "--dump-dom", url]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    seen = json.loads(html.unescape(re.search(r'data-seen="(.*?)"', dom)[1]))
    assert (seen["errors"], seen["refused"], seen["requests"]) == ([], [], [])
    assert seen["here"] == ["row-digits-10-wmdd-standard-resnet18"]
    assert seen["ascending"] == sorted(seen["ascending"])
    assert len(seen["ascending"]) == seen["first"] > 100
    assert set(seen["filtered"]) == {"imagenette 1"}
    assert len(seen["searched"]) == 5
    assert seen["absent"] == "row-imagenet1k-10-mmd-standard-resnet18"  # was hidden: no number
    assert "not on disk" in seen["dialog"]
    assert seen["wide"] <= 0  # nothing but tables scrolls sideways on a phone
