"""What the numbers mean, in sentences: the answer, the size of a difference, and what cannot be concluded."""

from __future__ import annotations

from typing import Final

from monai_cxraug.reporting.records import FEW_POSITIVES, MACRO, Primary, Results
from monai_cxraug.reporting.tables import finding_title, percent, signed

HELPS: Final = "helps"
NOTHING: Final = "no evidence"
HARMS: Final = "harms"
INCOMPLETE: Final = "comparison incomplete"

#: what each control arm would show.
CONTROLS: Final = {
    "plain": "what the real images alone achieve",
    "weighted_loss": "whether weighting the loss by class, which costs nothing, does as well",
    "oversampled": "whether showing the rare images more often does as well",
    "duplicate_real": "whether as many copies of real images do as well",
    "label_shuffled": "whether synthetic images with shuffled labels do as well, so that the content does not matter",
    "filtered": "whether filtered real images without a generator do as well",
}


def minus(text: str) -> str:
    """Set a number with a true minus sign."""
    return text.replace("-", "−")


def subject(finding: str) -> str:
    """Name what the endpoint is about inside a sentence."""
    return "the mean over the studied findings" if finding == MACRO else finding_title(finding)


def answer(results: Results) -> str:
    """Answer the question of the run in one sentence."""
    primary = results.primary
    if primary is None:
        return "No primary endpoint was declared, so this run describes and does not answer."
    against = f"AUROC for {subject(primary.finding)} compared with “{primary.reference}”"
    if primary.verdict == HELPS:
        return f"Yes: training with “{primary.arm}” images raised the {against}."
    if primary.verdict == HARMS:
        return f"No: training with “{primary.arm}” images lowered the {against}."
    if primary.verdict == NOTHING:
        return f"There is no evidence that training with “{primary.arm}” images changed the {against}."
    return f"Not decided: whether “{primary.arm}” images change the {against} needs controls that this run lacks."


def meaning(primary: Primary) -> str:
    """Say what the difference and its interval mean, in pairs of images out of 100."""
    if primary.difference is None:
        return "The difference could not be estimated: the images lack positives or negatives of the finding."
    size = f"{abs(100 * primary.difference):.1f} {'more' if primary.difference >= 0 else 'fewer'}"
    text = (
        f"Of 100 pairs of one image with and one without the finding, “{primary.arm}” puts {size} in the right "
        f"order than “{primary.reference}” does."
    )
    if primary.interval is None:
        return f"{text} There are too few patients with the finding for an interval, so chance cannot be judged."
    low, high = (minus(signed(100 * end, 1)) for end in primary.interval)
    apart = primary.interval[0] > 0 or primary.interval[1] < 0
    zero = "The interval leaves zero out." if apart else "The interval includes zero."
    return f"{text} The patients and seeds at hand are compatible with anything from {low} to {high} pairs. {zero}"


def limits(results: Results) -> list[str]:
    """List what a reader should hold against the result."""
    said = []
    few = sorted({row.finding for row in results.overall() if row.positives < FEW_POSITIVES and row.finding != MACRO})
    if few:
        names = ", ".join(map(finding_title, few))
        said.append(f"Fewer than {FEW_POSITIVES} positive images of {names}: their numbers can hardly move a decision.")
    seeds = {row.seed for row in results.arms if row.seed != "all"}
    if len(seeds) == 1:
        said.append("One training seed: the intervals hold for these networks and not for training anew.")
    elif 1 < len(seeds) < 5:
        said.append(
            f"{len(seeds)} training seeds: the spread between trainings is understated, by a factor of "
            f"{len(seeds) - 1}/{len(seeds)} in variance."
        )
    if results.primary and results.primary.fraction not in (None, 1):
        said.append(f"The primary endpoint is for {percent(results.primary.fraction)} of the training patients.")
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
