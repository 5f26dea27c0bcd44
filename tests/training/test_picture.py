"""The training curve as SVG: well formed, within its frame, small however long the run."""

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from lm.training import picture
from lm.training.picture import curve_svg, short, thinned

SVG = "{http://www.w3.org/2000/svg}"


def falling(num_points: int, first: int = 1) -> list[tuple[float, float]]:
    return [(512.0 * k, 8.0 * k**-0.1) for k in range(first, first + num_points)]


def test_every_path_is_a_line_with_its_name_inside_the_frame() -> None:
    svg = curve_svg({"trunk": falling(100), "rung-65536": falling(20, 100), "rung-131072": falling(20, 200)}, "d2w64 <seed> & 0")
    root = ElementTree.fromstring(svg)
    lines = [[tuple(map(float, place.split(","))) for place in line.attrib["points"].split()] for line in root.iter(f"{SVG}polyline")]
    assert [len(line) for line in lines] == [100, 20, 20]
    assert all(0 < x < picture.WIDTH and 0 < y < picture.HEIGHT for line in lines for x, y in line)
    assert all(one[0] < two[0] and one[1] < two[1] for line in lines for one, two in itertools.pairwise(line))
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"trunk", "65.5k", "131k", "d2w64 <seed> & 0", "training tokens"} <= texts


def test_names_at_the_ends_of_lines_do_not_cover_each_other() -> None:
    root = ElementTree.fromstring(curve_svg({f"rung-{k}": falling(10) for k in (1000, 2000, 3000)}, ""))
    places = sorted(float(text.attrib["y"]) for text in root.iter(f"{SVG}text") if text.text in ("1k", "2k", "3k"))
    assert all(below - above >= 12 for above, below in itertools.pairwise(places))


@pytest.mark.parametrize("paths", [{}, {"trunk": []}, {"trunk": [(512.0, 5.0)]}, {"trunk": [(512.0, 5.0), (1024.0, 5.0)]}])
def test_a_run_that_has_just_begun_has_a_picture(paths: dict[str, list[tuple[float, float]]]) -> None:
    ElementTree.fromstring(curve_svg(paths, "begun"))


def test_a_long_run_costs_no_more_than_a_short_one() -> None:
    points = falling(100_000)
    few = thinned(points)
    assert len(few) <= picture.MAX_POINTS
    assert few[-1] == points[-1]
    assert all(one[0] < two[0] and one[1] > two[1] for one, two in itertools.pairwise(few))
    assert len(curve_svg({"trunk": points}, "long")) < 8000


def test_thinning_keeps_the_mean() -> None:
    flat = [(float(k), 3.0 if k % 2 else 1.0) for k in range(1, 20_001)]
    assert thinned(flat)[-2][1] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("number", "text"), [(1, "1"), (512, "512"), (65536, "65.5k"), (1 << 20, "1.05M"), (3e9, "3G")])
def test_counts_as_people_write_them(number: float, text: str) -> None:
    assert short(number) == text
