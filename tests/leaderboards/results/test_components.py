"""Variance components of draws, seeds and teachers, and how many of each a verdict of one point needs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine import plan
from fake_store import FakeStore, key

from benchmark.plan.suite import load_suite
from leaderboards import report
from leaderboards.inference.verdicts import Block
from leaderboards.results import components as module
from leaderboards.results import records
from leaderboards.results.components import components, table

SMALL = 0.02  # of these variances: one point can be found
TRUE = {"draw": 4.0, "seed": 1.0, "teacher": 9.0, "draw_teacher": 6.0, "residual": 2.0}


def crossed(generator: np.random.Generator, levels=(3, 3, 3), variances=TRUE) -> dict[tuple[int, ...], float]:
    """Return accuracies by (draw, seed, teacher) with known components."""
    shapes = {
        "draw": (levels[0], 1, 1),
        "seed": (1, levels[1], 1),
        "teacher": (1, 1, levels[2]),
        "draw_teacher": (levels[0], 1, levels[2]),
        "residual": levels,
    }
    grid = 60 + sum(np.sqrt(variances[name]) * generator.normal(size=shape) for name, shape in shapes.items())
    return {cell: float(grid[cell]) for cell in itertools.product(*map(range, levels))}


def test_components_of_a_cube_are_unbiased():
    generator = np.random.default_rng(0)
    cubes = [np.reshape(list(crossed(generator).values()), (3, 3, 3)) for _ in range(2000)]
    found = [module.of_grid(module.AXES, cube) for cube in cubes]
    means = {name: np.mean([parts[name] for parts in found]) for name in found[0]}
    assert set(means) == set(module.EFFECTS)
    for name, value in means.items():
        assert value == pytest.approx(TRUE.get(name, 0.0), abs=0.06 * sum(TRUE.values())), name


def test_a_grid_of_two_axes_is_that_of_the_two_way_layout():
    rows, columns = np.array([0.0, 3.0, 7.0]), np.array([0.0, 1.0])
    cells = {(i, j, 0): 50 + rows[i] + columns[j] for i in range(3) for j in range(2)}
    parts = components(cells)
    assert parts.by_effect == pytest.approx({"draw": rows.var(ddof=1), "seed": columns.var(ddof=1), "residual": 0})


def test_the_advice_for_components_gives_them():
    assert "draws: 2, seeds: 2 and teachers: 1" in module.NOT_CROSSED
    block = {"ipc": [1], "methods": ["random_real"], "protocols": ["hard"], "students": ["test_resnet"]}
    cells = [each.cell for each in plan({**block, "draws": 2, "seeds": 2, "teachers": 1}).cells]
    parts = components({(cell.draw, cell.seed, cell.teacher): 50.0 + cell.draw + 3 * cell.seed for cell in cells})
    assert parts.by_effect == pytest.approx({"draw": 0.5, "seed": 4.5, "residual": 0})


def test_further_teachers_with_one_draw_tell_the_variance_of_teachers():
    cells = {(draw, seed, 0): 50.0 + draw + 0.1 * seed for draw in range(3) for seed in range(3)}
    cells |= {(0, seed, teacher): 50.0 + 0.1 * seed + 5 * teacher for seed in range(3) for teacher in (1, 2)}
    parts = components(cells)
    assert parts.by_effect["teacher"] == pytest.approx(25)
    assert parts.by_effect["draw"] == pytest.approx(1)
    assert parts.axes == ["draw", "seed", "teacher"]


def test_paired_cells_cannot_be_separated():
    assert components({(i, i, i): 50.0 + i for i in range(5)}) is None
    frame = table("variance", {("digits", 10, "standard", "r"): block({(i, i, i): 50.0 + i for i in range(5)})})
    assert set(frame["reason"]) == {module.NOT_CROSSED}


def block(cells) -> Block:
    return Block({"wmdd": cells, "random_real": cells}, {"random_real": "control"}, {})


def test_what_is_needed_finds_a_gap_of_one_point_with_the_stated_power():
    """Simulated with the needed numbers: the gap is found as often as promised."""
    generator = np.random.default_rng(3)
    small = crossed(generator, variances={name: SMALL * value for name, value in TRUE.items()})
    frame = table("variance", {("digits", 10, "standard", "r"): block(small)})
    row = frame.iloc[0]
    parts = components(small)
    levels = {axis: int(row[f"{axis}s_needed"]) for axis in module.AXES}
    error = np.sqrt(2 * parts.of_mean(levels))
    gaps = 1 + error * generator.normal(size=20000)
    critical = module.control_critical(1, 0.5, np.inf, module.verdicts.CONTROL_ERROR)
    assert 0.8 <= np.mean(gaps > critical * error) <= 0.9
    largest = (1 / (critical + 0.8416)) ** 2 / 2  # variance of a mean
    assert parts.of_mean({**levels, "draw": levels["draw"] - 1}) > largest
    paired = int(row["paired_needed"])
    assert sum(parts.by_effect.values()) / paired <= largest < sum(parts.by_effect.values()) / (paired - 1)


def test_more_teachers_are_needed_where_teachers_vary_more():
    few = crossed(np.random.default_rng(1), variances={**dict.fromkeys(TRUE, 0.05), "teacher": 0.0})
    many = crossed(np.random.default_rng(1), variances={**dict.fromkeys(TRUE, 0.05), "teacher": 0.8})
    needed = [
        table("v", {("digits", 10, "standard", "r"): block(cells)}).iloc[0]["teachers_needed"] for cells in (few, many)
    ]
    assert needed[0] < needed[1]


def test_the_report_has_a_table_of_components(tmp_path):
    store, generator = FakeStore(str(tmp_path)), np.random.default_rng(0)
    for method in ("wmdd", "random_real"):
        for (draw, seed, teacher), top1 in crossed(generator).items():
            cell = store.cell(method=method, draw=draw, seed=seed, teacher=teacher)
            cell["nodes"] = {stage: [key(stage, method, draw, seed, teacher)] for stage in cell["nodes"]}
            store.done(cell, top1=top1)
    store.write_manifest()
    sheets = report.results_of(records.read(store.root, "main")).overviews
    (sheet,) = [sheet for sheet in sheets if sheet.name.startswith("variance")]
    headings = [heading for _, heading in sheet.columns]
    assert headings[:4] == ["draw", "seed", "teacher", "draw x seed"]
    wmdd = dict(zip(headings, [cell.text for cell in sheet.lines[0].cells], strict=True))
    assert float(wmdd["teacher"]) > 0
    assert int(wmdd["paired needed"].split(" ")[0]) > 50
    assert "gap of 1 point with probability 80%" in sheet.legend[0]


def test_the_suite_variance_crosses_three_teachers_draws_and_seeds():
    cells = [cell for cell in load_suite("variance").cells() if cell.method == "wmdd"]
    grids = {
        name: {(cell.draw, cell.seed, cell.teacher): 0.0 for cell in cells if cell.dataset == name}
        for name in ("digits", "imagenette64")
    }
    assert len(grids["digits"]) == 27
    assert components(grids["digits"]).axes == ["draw", "seed", "teacher"]
    assert components(grids["imagenette64"]).axes == ["draw", "seed", "teacher"]
    assert len(grids["imagenette64"]) == 9 + 6
