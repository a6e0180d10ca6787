"""The report's page, section after section in the order a sceptical reviewer reads."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from monai_cxraug.reporting import words
from monai_cxraug.reporting.maps import CellMaps, maps_section
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.operating import operating_section
from monai_cxraug.reporting.parts import absent, badge, facts, figure, flatten, folded, section, table
from monai_cxraug.reporting.records import FEW_POSITIVES, MACRO, Composition, Cost, Plan, Primary, Results
from monai_cxraug.reporting.style import STYLE
from monai_cxraug.reporting.tables import (
    SummaryRow,
    bracket,
    finding_title,
    number,
    p_value,
    percent,
    signed,
    summarise,
)

#: settings of the experiment file that are shown without unfolding it.
_STATED: Final[tuple[str, ...]] = ("fractions", "ratios", "seeds", "budget")


@dataclass(frozen=True)
class DataRole:
    """Images that play one role in the experiment, and how many carry each studied finding."""

    role: str
    images: int
    patients: int
    positives: dict[str, int]


@dataclass(frozen=True)
class Figures:
    """What there is to show, None where the run has not come that far; ``shown`` are the findings of the mosaic."""

    differences: Markup | None
    areas: Markup | None
    mosaic_png: bytes | None
    shown: tuple[str, ...] = ()
    maps: Sequence[CellMaps] = ()


def page(results: Results, plan: Plan | None, roles: Sequence[DataRole], figures: Figures) -> str:
    """Write the whole page.

    Args:
        results: of the run.
        plan: of the run; None for an evaluation.
        roles: the data behind it, in the order to show.
        figures: the charts and the picture.

    Returns:
        One HTML document that needs nothing else: no script, no network, no file beside it.
    """
    body = element(
        "main",
        _title(results, plan),
        _answer(results, plan),
        _missing(results),
        _summary(results),
        _differences(results, figures),
        _areas(results, figures),
        operating_section(results),
        _pictures(plan, figures),
        maps_section(figures.maps),
        _composition(results),
        _methods(results, plan, roles),
        _limits(results),
        _provenance(results),
        _cost(results.cost),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", results.title),
        element("style", STYLE),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n"


def _title(results: Results, plan: Plan | None) -> Markup:
    kind = "Report of an experiment" if plan else "Report of an evaluation"
    note = f"{kind}: {results.name}. Judged on {results.split or 'the given'} images."
    return element("header", element("p", note, class_="kicker"), element("h1", results.title))


def _answer(results: Results, plan: Plan | None) -> Markup:
    primary = results.primary
    lead = element("p", words.answer(results), class_="lead")
    if primary is None:
        return element("section", lead, class_="answer", aria_label="Answer")
    declared = "Primary endpoint, declared in the experiment file before the run: " if plan else "Primary endpoint: "
    return element(
        "section",
        badge(primary.verdict),
        lead,
        _primary_numbers(results, primary),
        element("p", words.meaning(primary)),
        element("p", declared, _endpoint(primary), ".", class_="note"),
        class_="answer",
        aria_label="Answer",
    )


def _primary_numbers(results: Results, primary: Primary) -> Markup:
    counted = next((row for row in summarise(results).rows if row.finding == primary.finding), None)
    facts = [
        ("Difference in AUROC", words.minus(signed(primary.difference))),
        ("95 % interval", words.minus(bracket(primary.interval))),
        ("p, two-sided", p_value(primary.p)),
    ]
    if counted:
        kind = "Positive labels / images" if primary.finding == MACRO else "Positive / all images"
        facts.append((kind, f"{counted.positives} / {counted.n}"))
    return element("dl", *(element("div", element("dt", k), element("dd", v)) for k, v in facts), class_="figures")


def _endpoint(primary: Primary) -> str:
    parts = [
        f"{primary.endpoint.upper()} of {words.subject(primary.finding)}, “{primary.arm}” less “{primary.reference}”"
    ]
    if primary.fraction is not None:
        parts.append(f"{percent(primary.fraction)} of the training data")
    if primary.ratio is not None:
        parts.append(f"ratio {primary.ratio:g}")
    return ", ".join(parts)


def _missing(results: Results) -> Markup:
    if not results.missing:
        return Markup("")
    items = [
        element(
            "li", element("strong", name), f": would show {words.CONTROLS[name]}." if name in words.CONTROLS else ""
        )
        for name in results.missing
    ]
    lead = "A verdict on a generator needs these arms, trained for as many steps. This run does not have them:"
    return section("What is missing for a verdict", element("p", lead), element("ul", *items))


def _summary(results: Results) -> Markup:
    summary = summarise(results)
    if not summary.rows:
        return section("Results", element("p", "No arm has been evaluated yet.", class_="soft"))
    head = ["Finding", "Positive / all", *summary.arms, "Difference", "95 % interval", "Verdict"]
    rows = [_summary_cells(row) for row in summary.rows]
    few = any(row.few for row in summary.rows)
    notes = [_what_is_compared(results)]
    if few:
        notes.append(f"† Fewer than {FEW_POSITIVES} positive images: too few to say much.")
    return section(
        "Results",
        table(head, rows, left={0, len(head) - 1}, total=summary.rows[-1].finding == MACRO),
        element("p", " ".join(notes), class_="note"),
        _all_comparisons(results),
        _all_arms(results),
    )


def _summary_cells(row: SummaryRow) -> list[object]:
    outcome = row.outcome
    mark = element("span", " †", class_="few", title="too few positive images") if row.few else ""
    return [
        join(finding_title(row.finding), mark),
        f"{row.positives} / {row.n}",
        *(number(area) for area in row.aurocs),
        words.minus(signed(outcome.difference if outcome else None)),
        words.minus(bracket(outcome.interval if outcome else None)),
        badge(outcome.verdict) if outcome else "n/a",
    ]


def _what_is_compared(results: Results) -> str:
    text = "Arms are given by their AUROC, the mean over seeds."
    if results.primary:
        text += (
            f" Difference: “{results.primary.arm}” less “{results.primary.reference}”, on the same patients and seeds."
        )
    return text


def _all_comparisons(results: Results) -> Markup:
    head = ["Comparison", "Finding", "Data", "Ratio", "Difference", "95 % interval", "p", "p (Holm)", "Verdict"]
    rows = [
        [
            f"{row.arm} − {row.reference}",
            finding_title(row.finding),
            percent(row.fraction),
            _ratio(row.ratio),
            words.minus(signed(row.difference)),
            words.minus(bracket(row.interval)),
            p_value(row.p),
            p_value(row.p_holm),
            badge(row.verdict),
        ]
        for row in results.comparisons
    ]
    return folded(f"All {len(rows)} comparisons", table(head, rows, left={0, 1, 8})) if rows else Markup("")


def _all_arms(results: Results) -> Markup:
    head = ["Arm", "Finding", "Data", "Ratio", "Seed", "AUROC", "95 % interval", "Positive / all"]
    rows = [
        [
            row.arm,
            finding_title(row.finding),
            percent(row.fraction),
            _ratio(row.ratio),
            row.seed,
            number(row.auroc),
            bracket(row.interval, number),
            f"{row.positives} / {row.n}",
        ]
        for row in results.arms
    ]
    return folded(f"All {len(rows)} AUROC values, seed by seed", table(head, rows, left={0, 1})) if rows else Markup("")


def _differences(results: Results, figures: Figures) -> Markup:
    if figures.differences is None:
        return absent("Differences", "Nothing has been compared yet, so there is no figure of differences.")
    caption = (
        "Difference in AUROC of each comparison with its 95 % bootstrap interval over patients and seeds. The diamond "
        "on a tinted row is the primary endpoint; the other rows are secondary. An interval across the dashed line "
        "is compatible with no difference."
    )
    return figure("Differences", figures.differences, caption)


def _areas(results: Results, figures: Figures) -> Markup:
    if figures.areas is None:
        return absent("AUROC of each arm", "No arm has an AUROC yet, so there is no figure.")
    caption = (
        "Large dots are means over seeds with 95 % intervals, small dots single seeds. Intervals of single arms may "
        "overlap while their paired difference is clear, and only the differences answer the question."
    )
    return figure("AUROC of each arm", figures.areas, caption)


def _pictures(plan: Plan | None, figures: Figures) -> Markup:
    if figures.mosaic_png is None and plan is not None and not plan.synthetic:
        return Markup("")  # nothing synthetic was asked for
    if figures.mosaic_png is None:
        return absent("Real beside synthetic", "No synthetic images lie in the run folder yet, so none are shown.")
    source = "data:image/png;base64," + base64.b64encode(figures.mosaic_png).decode()
    picture = element("img", src=source, alt="Real training images on the left, synthetic images on the right")
    caption = (
        "Left: real training images; right: synthetic ones. From top to bottom: "
        f"{', '.join(map(finding_title, figures.shown))}. Drawn at random, not chosen; enlarged without interpolation, "
        "so that every pixel is as the networks see it."
    )
    return figure("Real beside synthetic", picture, caption)


def _composition(results: Results) -> Markup:
    if not results.composition:
        return absent("What the training sets were made of", "Not recorded yet.")
    head = ["Arm", "Finding", "Data", "Ratio", "Seeds", "Real", "Duplicate", "Synthetic", "Synthetic share"]
    rows = [
        [
            row.arm,
            finding_title(row.finding),
            percent(row.fraction),
            _ratio(row.ratio),
            seeds,
            row.real,
            row.duplicate,
            row.synthetic,
            "n/a" if row.share is None else f"{100 * row.share:.1f} %",
        ]
        for row, seeds in _equal_over_seeds(results.composition)
    ]
    note = "Positive images of each finding in the training set of each cell. The share is of those positives."
    return section(
        "What the training sets were made of",
        table(head, rows, left={0, 1}),
        element("p", note, class_="note"),
    )


def _equal_over_seeds(rows: Sequence[Composition]) -> list[tuple[Composition, str]]:
    """Bring together rows that differ in nothing but the seed, and list their seeds."""
    together: dict[Composition, list[str]] = {}
    for row in rows:
        together.setdefault(replace(row, seed="all"), []).append(str(row.seed))
    return [(row, ", ".join(seeds)) for row, seeds in together.items()]


def _methods(results: Results, plan: Plan | None, roles: Sequence[DataRole]) -> Markup:
    parts = [
        element(
            "p",
            "Patients, not images, are split, and no patient is in two parts. Generators are trained on training "
            "patients only. Every network is trained for a number of steps fixed beforehand and its last (averaged) "
            "weights are used: nothing was selected on these images. Intervals are percentiles of a bootstrap that "
            "draws patients, each with all of their images, and training seeds; both arms of a comparison see the "
            "same draw. Values of p are adjusted for the number of comparisons by the method of Holm.",
        )
    ]
    if roles:
        parts.append(_data_table(roles))
    if plan:
        stated = {key: plan.experiment[key] for key in _STATED if key in plan.experiment}
        parts.append(facts([("cells", plan.cells), ("generators", plan.generators), *flatten(stated)]))
        settings = facts(flatten(plan.experiment))
        parts.append(folded("Experiment file", settings) if plan.experiment else Markup(""))
    return section("How it was done", *parts)


def _data_table(roles: Sequence[DataRole]) -> Markup:
    findings = list(dict.fromkeys(name for role in roles for name in role.positives))
    head = ["Images for", "Images", "Patients", *map(finding_title, findings)]
    rows = [[r.role, r.images, r.patients, *(r.positives.get(name, "n/a") for name in findings)] for r in roles]
    note = "Under each studied finding: images that carry it."
    return join(table(head, rows, left={0}), element("p", note, class_="note"))


def _limits(results: Results) -> Markup:
    said = [*words.limits(results), *results.warnings]
    if not said:
        return section("Limits and warnings", element("p", "The run gave no warnings."))
    return section("Limits and warnings", element("ul", *(element("li", line) for line in said)))


def _provenance(results: Results) -> Markup:
    if not results.provenance:
        return absent("Provenance", "Not recorded.")
    return section("Provenance", facts(flatten(results.provenance)))


def _cost(cost: Sequence[Cost]) -> Markup:
    if not cost:
        return absent("Cost", "Not recorded yet.")
    stages = list(dict.fromkeys(row.stage for row in cost))
    rows = [_cost_cells(stage, [row for row in cost if row.stage == stage]) for stage in stages]
    rows.append(_cost_cells("All", cost))
    each = [[row.stage, row.id, f"{row.seconds:.1f} s", _count(row.images)] for row in cost]
    return section(
        "Cost",
        table(["Stage", "Pieces", "Time", "Images", "Images / s"], rows, left={0}, total=True),
        folded(f"All {len(cost)} pieces", table(["Stage", "Piece", "Time", "Images"], each, left={0, 1})),
    )


def _cost_cells(stage: str, rows: Sequence[Cost]) -> list[object]:
    seconds = sum(row.seconds for row in rows)
    images = sum(row.images or 0 for row in rows)
    rate = f"{images / seconds:.0f}" if images and seconds else "n/a"
    return [stage, len(rows), words.duration(seconds), _count(images or None), rate]


def _count(images: int | None) -> str:
    return "n/a" if images is None else f"{images:,}".replace(",", "\u202f")


def _ratio(ratio: float | None) -> str:
    return "n/a" if ratio is None else f"{ratio:g}"
