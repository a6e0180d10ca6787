"""The closing sections: how it was done, limits and refusals, provenance, cost."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monai_cxraug.errors import InputError
from monai_cxraug.reporting import words
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import absent, facts, flatten, folded, note, section, table
from monai_cxraug.reporting.records import Cost, Plan, Results
from monai_cxraug.reporting.synthetic import sum_rejected
from monai_cxraug.reporting.tables import NONE, finding_title

#: settings of the experiment file that are shown without unfolding it.
_STATED: Final = ("fractions", "ratios", "seeds", "budget")
#: of those what says nothing beside a grid over numbers of real images.
_UNSAID: Final = ("fractions", "ratios")
#: lists of images that did not get into the pack, and what they are called.
_LISTS: Final = {"quarantine.csv": "quarantined", "dropped.csv": "dropped"}


@dataclass(frozen=True)
class DataRole:
    """Images that play one role in the experiment, and how many carry each studied finding."""

    role: str
    images: int
    patients: int
    positives: dict[str, int]


@dataclass(frozen=True)
class Refusal:
    """Images that a step left out for one reason."""

    step: str
    where: str
    reason: str
    images: int


def read_refusals(run: Path, plan: Plan) -> list[Refusal]:
    """Count the images of each data folder that could not be read or were dropped, by reason.

    Raises:
        InputError: a list is unreadable.
    """
    found = []
    for folder in dict.fromkeys(plan.data.values()):
        for name, step in _LISTS.items():
            counts = _count_reasons(run / folder / name)
            found += [Refusal(step, folder, reason, count) for reason, count in counts.most_common()]
    return found


def _count_reasons(path: Path) -> Counter[str]:
    if not path.exists():
        return Counter()
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return Counter(row.get("reason") or "" for row in csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "must be a readable table", str(error), "prepare the data again") from None


def methods_part(results: Results, plan: Plan | None, roles: Sequence[DataRole], say: Language) -> Markup:
    """Write what was done to whom."""
    newer = results.primary is not None and results.primary.standard_error is not None
    parts = [element("p", say("methods.text"), " ", say("methods.interval" if newer else "methods.percentile"))]
    if roles:
        parts.append(_data_table(roles, say))
    if plan:
        asked = ("top_up", *(key for key in _STATED if key not in _UNSAID)) if results.scale else _STATED
        stated: dict[str, object] = {key: plan.experiment[key] for key in asked if key in plan.experiment}
        counts = [(say("methods.cells"), len(plan.cells)), (say("methods.generators"), len(plan.generators))]
        parts.append(facts([*counts, *flatten(stated)]))
        parts.append(folded(say("methods.file"), facts(flatten(plan.experiment))) if plan.experiment else Markup(""))
    return section("methods", say, *parts)


def _data_table(roles: Sequence[DataRole], say: Language) -> Markup:
    findings = list(dict.fromkeys(name for role in roles for name in role.positives))
    titles = [finding_title(name, say) for name in findings]
    head = [say("head.role"), say("head.images"), say("head.patients"), *titles]
    rows = [
        [say.known(r.role), r.images, r.patients, *(r.positives.get(name, NONE) for name in findings)] for r in roles
    ]
    return join(table(head, rows, {0}, say("methods.data")), note(say("methods.carry")))


def limits_part(results: Results, plan: Plan | None, refusals: Sequence[Refusal], say: Language) -> Markup:
    """Write what a reader should hold against the result, the run's warnings, and what was refused."""
    said = [*words.limits(results, say), *(say.known(line) for line in results.warnings)]
    listed = element("ul", *(element("li", line) for line in said)) if said else element("p", say("limits.none"))
    return section("limits", say, listed, _refusals(results, refusals, say) if plan else "")


def _refusals(results: Results, refusals: Sequence[Refusal], say: Language) -> Markup:
    screened = sum_rejected(results.synthetic)
    rows = [[say(f"refused.{one.step}"), one.where, one.reason, one.images] for one in refusals]
    rows += [[say("refused.screened"), say("refused.synthetic"), why, count] for why, count in screened.items()]
    heading = element("h3", say("refused"))
    if not rows:
        return join(heading, element("p", say("refused.none")))
    head = [say(f"head.{name}") for name in ("step", "where", "reason", "images")]
    return join(heading, table(head, rows, {0, 1, 2}, say("refused")), note(say("refused.note")))


def provenance_part(results: Results, say: Language) -> Markup:
    """Write software, seeds and hashes; the many hashes of predictions folded."""
    if not results.provenance:
        return absent("provenance", say, say("provenance.none"))
    hashes = results.provenance.get("hashes")
    each = hashes if isinstance(hashes, Mapping) else {}
    tables = {key: value for key, value in each.items() if str(key).startswith("predictions ")}
    kept = {**results.provenance}
    if tables:
        kept["hashes"] = {key: value for key, value in each.items() if key not in tables}
    more = folded(say("provenance.predictions", count=len(tables)), facts(flatten(tables))) if tables else ""
    return section("provenance", say, facts(flatten(kept)), more)


def cost_part(cost: Sequence[Cost], say: Language) -> Markup:
    """Write the time of every kind of stage."""
    if not cost:
        return absent("cost", say, say("cost.none"))
    stages = list(dict.fromkeys(row.stage for row in cost))
    rows = [_cost_cells(say.known(stage), [row for row in cost if row.stage == stage]) for stage in stages]
    rows.append(_cost_cells(say("cost.all"), cost))
    each = [[say.known(row.stage), row.id, _seconds(row.seconds), _count(row.images)] for row in cost]
    title = say("cost.pieces", count=len(cost))
    head = [say(f"head.{name}") for name in ("stage", "pieces", "time", "images", "rate")]
    named = [say(f"head.{name}") for name in ("stage", "piece", "time", "images")]
    return section(
        "cost",
        say,
        table(head, rows, {0}, say("section.cost"), total=True),
        folded(title, table(named, each, {0, 1}, title)),
    )


def _cost_cells(stage: str, rows: Sequence[Cost]) -> list[object]:
    seconds = sum(row.seconds or 0 for row in rows)
    images = sum(row.images or 0 for row in rows)
    rate = f"{images / seconds:.0f}" if images and seconds else NONE
    return [stage, len(rows), words.duration(seconds), _count(images or None), rate]


def _seconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:.1f} s"


def _count(images: int | None) -> str:
    return NONE if images is None else f"{images:,}".replace(",", "\u202f")
