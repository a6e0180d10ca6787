"""The section on synthetic images: real beside synthetic, the nearest training images, audits and rejections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cxraug.reporting.fields import Interval
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import figure, folded, note, over, section, table
from monai_cxraug.reporting.pictures import Picture, picture
from monai_cxraug.reporting.records import Made, Plan, Results
from monai_cxraug.reporting.tables import NONE, bracket, finding_title, number, percent

#: sets that are listed without unfolding.
_SHOWN = 6
#: bytes that all pictures of nearest images may take on the page, and the width of a large one.
_ROOM, _WIDTH = 700_000, 900


@dataclass(frozen=True)
class Nearest:
    """The picture of a synthetic set beside its nearest training images."""

    finding: str
    set_id: str
    picture: Picture


def read_nearest(run: Path, plan: Plan, ids: Sequence[str]) -> list[Nearest]:
    """Read the pictures of some sets, as long as the page stays small.

    Args:
        run: folder of the run.
        plan: its plan.
        ids: sets to show.

    Raises:
        InputError: a picture is unreadable.
    """
    found, room = [], _ROOM
    for one in plan.synthetic:
        path = run / "synthetic" / one.id / "nearest.png"
        if one.id not in ids or not path.is_file():
            continue
        shown = picture(path, room // max(1, len(ids)), _WIDTH)
        if len(shown.content) <= room:
            found.append(Nearest(one.finding, one.id, shown))
            room -= len(shown.content)
    return found


def synthetic_part(
    results: Results,
    plan: Plan | None,
    mosaic: Picture | None,
    shown: Sequence[str],
    nearest: Sequence[Nearest],
    say: Language,
) -> Markup:
    """Write the section; it says so where images were asked for and none are there yet."""
    if mosaic is None and not results.synthetic and plan is not None and not plan.synthetic:
        return Markup("")  # nothing synthetic was asked for
    parts = [_mosaic(mosaic, shown, say) if mosaic else element("p", say("synthetic.none"), class_="soft")]
    if nearest:
        parts += [element("h3", say("synthetic.nearest")), *(_nearest(one, one is nearest[0], say) for one in nearest)]
        parts.append(note(say("synthetic.nearest.note")))
    if results.synthetic:
        parts += [_memorised(results, plan, say), _audits(results.synthetic, say)]
    return section("synthetic", say, *parts)


def _mosaic(mosaic: Picture, shown: Sequence[str], say: Language) -> Markup:
    names = ", ".join(finding_title(name, say) for name in shown)
    exact = say("synthetic.exact" if mosaic.exact else "synthetic.shrunk")
    caption = say("synthetic.caption", names=names, exact=exact)
    return figure(element("img", src=mosaic.address, alt=say("synthetic.alt")), caption, say("section.synthetic"))


def _nearest(one: Nearest, unfolded: bool, say: Language) -> Markup:
    title = say("synthetic.set", finding=finding_title(one.finding, say), id=one.set_id)
    image = element(
        "img", src=one.picture.address, alt=say("synthetic.nearest.alt", finding=finding_title(one.finding, say))
    )
    return folded(title, element("figure", image, class_="nearest"), unfolded)


def _memorised(results: Results, plan: Plan | None, say: Language) -> Markup:
    """Share of near copies by kind of generator and number of real images, over all sets; nothing without a scale."""
    scale = results.scale
    if scale is None or plan is None:
        return Markup("")
    made_by = {one.id: one for one in plan.generators}
    screened = {one.id for one in plan.synthetic if one.judges}
    together: dict[tuple[str, int], list[Made]] = {}
    for one in results.synthetic:
        count = scale.count(made_by[one.generator].fraction) if one.generator in made_by else None
        if count is not None and one.audit.get("near") is not None:
            kind = made_by[one.generator].made_by + "+screened" * (one.id in screened)
            together.setdefault((kind, count), []).append(one)
    if not together:
        return Markup("")
    counts = sorted({count for _, count in together})
    rows = [
        [kind, *(_near_of(together.get((kind, count), ()), say) for count in counts)]
        for kind in dict.fromkeys(kind for kind, _ in together)
    ]
    title = say("memorised.title")
    span = say("memorised.columns", finding=finding_title(scale.finding, say))
    listed = table([say("head.generator"), *counts], rows, {0}, title, span=span)
    return join(element("h3", title), element("div", listed, class_="grid"), note(say("memorised.note")))


def _near_of(sets: Sequence[Made], say: Language) -> Markup | str:
    if not sets:
        return ""
    near, n = sum(one.audit["near"] for one in sets), sum(one.n for one in sets)
    copies = sum(one.audit.get("copies") or 0 for one in sets)
    return over(*(_share(count / n if n else None) for count in (near, copies)))


def _audits(sets: Sequence[Made], say: Language) -> Markup:
    verdicts = Counter(_verdict(one, say) for one in sets)
    told = [say("audit.count", verdict=name, count=count, all=len(sets)) for name, count in verdicts.most_common()]
    rejected = sum_rejected(sets)
    told.append(_told_rejections(sets, rejected, say))
    rows = [_audit_cells(one, say) for one in sets]
    title = say("audit.table", count=len(sets))
    names = ("finding", "set", "kept", "acceptance", "near", "expected", "copies", "audit")
    listed = table([say(f"head.{name}") for name in names], rows, {0, 1, 7}, title)
    return join(
        element("h3", say("audit.title")),
        element("ul", *(element("li", line) for line in told)),
        listed if len(sets) <= _SHOWN else folded(title, listed),
        note(say("audit.note")),
    )


def sum_rejected(sets: Sequence[Made]) -> dict[str, int]:
    """Count the images that the screening of all sets rejected, by reason."""
    counts: Counter[str] = Counter()
    for one in sets:
        counts.update({str(reason): int(count) for reason, count in one.rejected.items() if isinstance(count, int)})
    return dict(counts)


def _told_rejections(sets: Sequence[Made], rejected: Mapping[str, int], say: Language) -> str:
    screened = [one for one in sets if one.acceptance_rate is not None]
    if not screened:
        return say("audit.unscreened")
    drawn, kept = sum(one.drawn or one.n for one in screened), sum(one.n for one in screened)
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.items()) or say("audit.no_reason")
    rate = percent(kept / drawn if drawn else None)
    return say("audit.screened", sets=len(screened), drawn=drawn, kept=kept, rate=rate, reasons=reasons)


def _verdict(one: Made, say: Language) -> str:
    audit = one.audit
    if audit.get("verdict"):
        return say.known(str(audit["verdict"]))
    return say("audit.not_run", why=say.known(str(audit.get("not_run") or "?")))


def _audit_cells(one: Made, say: Language) -> list[object]:
    audit = one.audit
    return [
        finding_title(one.finding, say),
        one.id,
        one.n if one.drawn in (None, one.n) else f"{one.n} / {one.drawn}",
        percent(one.acceptance_rate),
        _near(audit),
        _share(audit.get("expected_share")),
        audit.get("copies", NONE) if audit.get("copies") is not None else NONE,
        _verdict(one, say),
    ]


def _near(audit: Mapping[str, Any]) -> str:
    if audit.get("near") is None:
        return NONE
    ends = audit.get("interval")
    interval: Interval | None = (100 * ends[0], 100 * ends[1]) if ends else None
    return f"{audit['near']} ({_share(audit.get('share'))}) {bracket(interval, lambda end: number(end, 1))}"


def _share(value: Any) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else NONE
