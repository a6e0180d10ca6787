"""What the numbers mean, in sentences: the answer, the size of a difference, and what cannot be concluded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from monai_cxraug.reporting.language import ENGLISH, Language
from monai_cxraug.reporting.records import FEW_POSITIVES, MACRO, Harm, Primary, Results
from monai_cxraug.reporting.tables import amount_of, bracket, finding_title, number, signed

HELPS: Final = "helps"
NOTHING: Final = "no evidence"
HARMS: Final = "harms"
INCOMPLETE: Final = "comparison incomplete"
#: measures that got worse and are named with their numbers in the answer; more are counted, and their table follows.
_NAMED: Final = 3
#: how the answer to each verdict begins.
_ANSWERS: Final = {HELPS: "answer.helps", HARMS: "answer.harms", NOTHING: "answer.nothing"}


def minus(text: str) -> str:
    """Set a number with a true minus sign."""
    return text.replace("-", "−")


def subject(finding: str, say: Language = ENGLISH) -> str:
    """Name what the endpoint is about inside a sentence."""
    return say("finding.mean") if finding == MACRO else finding_title(finding, say)


def answer(results: Results, say: Language) -> str:
    """Answer the question of the run in one sentence, harm included."""
    primary = results.primary
    if primary is None:
        return say("answer.none")
    named = {"arm": primary.arm, "reference": primary.reference, "subject": subject(primary.finding, say)}
    return say(
        "answer.whole", answer=say(_ANSWERS.get(primary.verdict, "answer.open"), **named), harm=harm(results, say)
    )


def harm(results: Results, say: Language) -> str:
    """Say what got worse beside AUROC, or that nothing was shown to."""
    if not results.harm:
        return say("harm.unknown")
    worse = [row for row in results.harm if row.worse]
    if not worse:
        return say("harm.none")
    if len(worse) <= _NAMED:
        return say("harm.shown", what=say("join").join(_worse(row, say) for row in worse))
    counts = Counter(row.measure for row in worse)
    counted = (
        say("harm.count", measure=say(f"measure.{measure}.short"), count=n, findings=_findings(worse, measure, say))
        for measure, n in counts.items()
    )
    return say("harm.shown", what=say("join").join(counted))


def _findings(worse: Sequence[Harm], measure: str, say: Language) -> str:
    return say("join").join(finding_title(row.finding, say) for row in worse if row.measure == measure)


def _worse(row: Harm, say: Language) -> str:
    difference = " ".join(harm_numbers(row))
    return say(
        "harm.one",
        measure=say(f"measure.{row.measure}.short"),
        finding=finding_title(row.finding, say),
        value=difference,
    )


def harm_numbers(row: Harm) -> tuple[str, str]:
    """Write a difference and its interval; those of calibration are small, and need one decimal more."""
    digits = 4 if row.measure in ("brier", "ece") else 3
    interval = bracket(row.interval, lambda end: signed(end, digits))
    return minus(signed(row.difference, digits)), minus(interval)


def meaning(primary: Primary, say: Language) -> str:
    """Say what the difference and its interval mean, in pairs of images out of 100."""
    if primary.difference is None:
        return say("meaning.none")
    size, more = f"{abs(100 * primary.difference):.1f}", "more" if primary.difference >= 0 else "fewer"
    text = say(f"meaning.{more}", arm=primary.arm, reference=primary.reference, size=size)
    if primary.interval is None:
        return f"{text} {say('meaning.few')}"
    low, high = (minus(signed(100 * end, 1)) for end in primary.interval)
    apart = primary.interval[0] > 0 or primary.interval[1] < 0
    zero = say("meaning.apart" if apart else "meaning.zero")
    return f"{text} {say('meaning.range', low=low, high=high)} {zero}"


def detectable(primary: Primary, say: Language) -> str:
    """Say which differences the run could hardly have seen."""
    if primary.detectable is None:
        return say("detectable.none")
    return say("detectable", size=number(primary.detectable))


def limits(results: Results, say: Language) -> list[str]:
    """List what a reader should hold against the result."""
    said = []
    few = sorted({row.finding for row in results.overall() if row.positives < FEW_POSITIVES and row.finding != MACRO})
    if few:
        said.append(say("limit.few", least=FEW_POSITIVES, names=", ".join(finding_title(name, say) for name in few)))
    seeds = {row.seed for row in results.arms if row.seed != "all"}
    if len(seeds) == 1:
        said.append(say("limit.seed"))
    elif 1 < len(seeds) < 5:
        said.append(say("limit.seeds", count=len(seeds)))
    if results.primary and results.primary.fraction not in (None, 1):
        said.append(say("limit.fraction", amount=amount_of(results.primary.fraction, results.scale, say)))
    if results.subgroups:
        said.append(say("limit.subgroups"))
    return said


def verdict_class(verdict: str) -> str:
    """Class of the badge for a verdict; an unknown word looks undecided."""
    return {HELPS: "helps", HARMS: "harms", NOTHING: "none"}.get(verdict, "incomplete")


def verdict_sign(verdict: str) -> str:
    """Sign that tells verdicts apart without colour."""
    return {HELPS: "▲", HARMS: "▼", NOTHING: "="}.get(verdict, "…")


def duration(seconds: float) -> str:
    """Write a time with the two units that matter."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
