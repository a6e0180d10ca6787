import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from monai_cxraug.errors import InputError, StateError
from monai_cxraug.reporting import write_report

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]
HOSTILE = "<script>alert('x')</script>&\"\x00"


def text(run: Path) -> str:
    """Page with typographic minus signs made plain."""
    return write_report(run).read_text().replace("−", "-")


def test_everything_is_written(run: Path) -> None:
    assert write_report(run) == run / "report" / "index.html"
    found = {str(path.relative_to(run / "report")) for path in (run / "report").rglob("*") if path.is_file()}
    figures = {f"figures/{name}" for name in ("differences.svg", "auroc.svg", "real_and_synthetic.png")}
    names = ("arms", "comparisons", "composition", "operating", "subgroups", "exchange")
    tables = {f"tables/{name}.csv" for name in names}
    assert found == {"index.html"} | figures | tables


def test_same_files_same_report(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_page_holds_every_number(run: Path) -> None:
    page, results = text(run), json.loads((run / "results.json").read_text())
    for row in results["arms"]:
        assert f">{row['auroc']:.3f}<" in page
        assert f">{row['positives']} / {row['n']}<" in page
        if row["interval"]:
            assert "[{:.3f}, {:.3f}]".format(*row["interval"]) in page
    for row in results["comparisons"]:
        difference = f"{row['difference']:+.3f}"
        low, high = (f"{end:+.3f}" for end in row["interval"])
        assert f"{difference}</td><td>[{low}, {high}]</td><td>{row['p']:.3f}</td><td>{row['p_holm']:.3f}" in page
    for row in results["composition"]:
        cells = "".join(f"<td>{row[key]}</td>" for key in ("real", "duplicate", "synthetic"))
        assert f"{cells}<td>{100 * row['share']:.1f} %</td>" in page
    for row in results["cost"]:
        assert f">{row['id']}</td><td>{row['seconds']:.1f} s<" in page
    assert "<dt>budget.classifier_steps</dt><dd>1200</dd>" in page.split("<summary>Experiment file")[0]
    for value in [*results["missing"], *results["warnings"], *results["provenance"]["hashes"].values()]:
        assert value in page


def test_page_stands_alone(run: Path) -> None:
    page = write_report(run).read_text()
    assert "<script" not in page
    assert not re.search(r"src=\"(?!data:image/(?:png|jpeg);base64,)", page)
    assert not re.search(r"href=\"(?!#)", page)
    assert "url(" not in page
    assert "@import" not in page
    assert [address for address in re.findall(r"https?://[^\"\s]+", page) if "w3.org/2000/svg" not in address] == []


def test_page_is_well_formed(run: Path) -> None:
    page = write_report(run).read_text().removeprefix("<!doctype html>\n")
    root = ElementTree.fromstring(re.sub(r"<(meta|img|br)\b([^>]*)>", r"<\1\2/>", page))
    order = [heading.text for heading in root.iter("h2")]
    assert order == [
        "What is missing for a verdict",
        "Results",
        "Differences",
        "AUROC of each arm",
        "Classes before and after",
        "Real beside synthetic",
        "How it was done",
        "Limits, warnings and refusals",
        "Provenance",
        "Cost",
        "Model card",
        "Reporting checklist",
    ]


@pytest.mark.parametrize("name", ["differences", "auroc"])
def test_figures_in_the_page_are_the_files(run: Path, name: str) -> None:
    page = write_report(run).read_text()
    figure = (run / "report" / "figures" / f"{name}.svg").read_text()
    assert figure.split("\n", 1)[1].strip() in page


@pytest.mark.parametrize(
    ("verdict", "word"),
    [("helps", "Yes: "), ("harms", "No: "), ("no evidence", "no evidence"), ("comparison incomplete", "Not decided")],
)
def test_answer_follows_the_verdict(run: Path, edit: Edit, verdict: str, word: str) -> None:
    edit("results", lambda document: document["primary"].update(verdict=verdict))
    answer = re.search(r'<section id="answer" class="answer".*?</section>', text(run), re.DOTALL)
    assert answer is not None
    assert word in answer[0]
    assert f"</span>{verdict}</span>" in answer[0]


def test_meaning_is_in_pairs_of_images(run: Path, edit: Edit) -> None:
    edit("results", lambda document: document["primary"].update(difference=0.0234, interval=[0.011, 0.035]))
    page = text(run)
    assert "puts 2.3 more in the right order" in page
    assert "from +1.1 to +3.5 pairs. The interval leaves zero out." in page


def test_hostile_words_are_escaped_everywhere(run: Path, edit: Edit) -> None:
    def spoil(document: dict[str, Any]) -> None:
        old = "Edema"
        for part in ("arms", "comparisons", "composition"):
            for row in document[part]:
                row["finding"] = HOSTILE if row["finding"] == old else row["finding"]
                row["arm"] = HOSTILE if row["arm"] == "gan" else row["arm"]
        document["primary"].update(arm=HOSTILE, finding=HOSTILE, verdict=HOSTILE)
        document.update(title=HOSTILE, name=HOSTILE, warnings=[HOSTILE], missing=[HOSTILE], split=HOSTILE)
        document["provenance"] = {HOSTILE: {HOSTILE: HOSTILE}}
        document["cost"][0].update(stage=HOSTILE, id=HOSTILE)

    edit("results", spoil)
    edit("plan", lambda document: document.update(experiment={HOSTILE: [HOSTILE]}))
    page = write_report(run).read_text()
    assert "<script" not in page
    assert "\x00" not in page
    assert page.count("&lt;script&gt;") > 20
    ElementTree.parse(run / "report" / "figures" / "differences.svg")
    ElementTree.parse(run / "report" / "figures" / "auroc.svg")


def test_evaluation_without_a_plan(run: Path) -> None:
    (run / "plan.json").unlink()
    page = text(run)
    assert "Report of an evaluation" in page
    assert "declared in the experiment file" not in page
    assert "No synthetic images lie in the run folder yet" in page


def test_bare_results(run: Path) -> None:
    keep = {"schema": "cxraug.results/1", "name": "early", "primary": None, "arms": []}
    (run / "results.json").write_text(json.dumps(keep))
    page = text(run)
    for line in ("No primary endpoint was declared", "No arm has been evaluated yet", "Nothing has been compared yet"):
        assert line in page


def test_figures_of_an_earlier_report_do_not_stay(run: Path, edit: Edit) -> None:
    write_report(run)
    edit("results", lambda document: document.update(comparisons=[], arms=[], composition=[]))
    edit("plan", lambda document: document.update(synthetic=[]))
    page = text(run)
    assert list((run / "report" / "figures").iterdir()) == []
    assert "<svg" not in page
    assert "<img" not in page


def test_nulls_are_said_not_printed(run: Path, edit: Edit) -> None:
    def empty(document: dict[str, Any]) -> None:
        for row in [document["primary"], *document["arms"], *document["comparisons"], *document["composition"]]:
            for key in row.keys() & {"auroc", "interval", "difference", "p", "p_holm", "fraction", "ratio", "share"}:
                row[key] = None

    edit("results", empty)
    page = text(run)
    assert "None" not in page
    assert not re.search(r"\bnan\b", page)
    assert "could not be estimated" in page


def test_few_positives_are_flagged(run: Path, edit: Edit) -> None:
    page = text(run)
    assert re.search(r"Fibrosis<span class=\"few\"", page)
    assert "few: 8 positive of 1842" in page
    assert "Fewer than 10 positive images of Fibrosis:" in page

    def more(document: dict[str, Any]) -> None:
        for row in document["arms"]:
            row["positives"] += 2

    edit("results", more)
    assert 'class="few"' not in text(run)


def test_roles_that_share_a_folder_are_told_apart_by_split(run: Path, edit: Edit) -> None:
    manifest = run / "data" / "aaaa" / "manifest.csv"
    lines = manifest.read_text().split("\n")
    manifest.write_text("\n".join([*lines[:151], *(line.replace(",train,", ",val,") for line in lines[151:])]))

    def share(document: dict[str, Any]) -> None:
        document["data"] = {"train": "data/aaaa", "validation": "data/aaaa"}
        document["experiment"]["data"]["validation"] = {"split": "val"}

    edit("plan", share)
    page = text(run)
    assert ">train</th><td>150</td><td>75</td>" in page
    assert ">validation</th><td>50</td><td>25</td>" in page


def test_images_that_the_experiment_leaves_out_are_not_counted(run: Path) -> None:
    manifest = run / "data" / "aaaa" / "manifest.csv"
    lines = manifest.read_text().split("\n")
    assert ",area," in lines[1]
    manifest.write_text("\n".join([*lines[:101], *(line.replace(",area,", ",linear,") for line in lines[101:])]))
    assert ">train</th><td>100</td>" in text(run)


def test_missing_and_wrong_files_are_refused_before_anything_is_written(run: Path) -> None:
    results = run / "results.json"
    kept = results.read_text()
    results.write_text(kept.replace("cxraug.results/1", "cxraug.results/9"))
    with pytest.raises(StateError, match=r"cxraug\.results/2"):
        write_report(run)
    results.unlink()
    with pytest.raises(InputError, match=r"results\.json"):
        write_report(run)
    results.write_text(kept)
    (run / "synthetic" / "Edema-seed1" / "manifest.csv").unlink()
    with pytest.raises(InputError, match=r"manifest\.csv"):
        write_report(run)
    assert not (run / "report").exists()
