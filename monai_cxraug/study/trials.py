"""Which trials are asked: forced choices, pairs, real or synthetic; with training, repeats and sentinels among them.

Left and right, first and second are dealt out evenly. A trial is drawn again when its pictures do not differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.pack import Image, quantise
from monai_cxraug.errors import InputError
from monai_cxraug.study.changes import ABSURD, CNN, MIXED, NOTHING, TRADITIONAL, Change, Changes
from monai_cxraug.study.files import Trial
from monai_cxraug.study.patches import Patch, Patches

#: keeps a picture and returns its name.
Keep = Callable[[NDArray[np.uint8]], str]

_TRIES: Final = 50
#: what a generator made; it is written so, and nothing is done to it.
_GENERATED: Final = Change("generator", lambda picture: picture)


@dataclass(frozen=True)
class Counts:
    """How many trials of one task.

    Args:
        judged: those that count.
        repeats: of them, asked again the other way round.
        sentinels: with a known answer.
        training: before all others, with a known answer.
    """

    judged: int
    repeats: int
    sentinels: int
    training: int

    @classmethod
    def of(cls, judged: int, repeats: float, sentinels: float, training: int) -> Counts:
        """Make them of shares of the judged trials; a task that is not asked has no trials at all.

        Args:
            judged: trials that count.
            repeats: share of them that is asked again.
            sentinels: their number as a share of the judged ones.
            training: trials before all others.
        """
        if not judged:
            return cls(0, 0, 0, 0)
        return cls(judged, round(repeats * judged), max(2, round(sentinels * judged)) if sentinels else 0, training)


class TrialMaker:
    """Makes trials and keeps their pictures.

    Args:
        patches: pictures of forced choices and pairs.
        changes: what is done to them.
        keep: stores a picture.
        rng: what draws.
    """

    def __init__(self, patches: Patches, changes: Changes, keep: Keep, rng: np.random.Generator) -> None:
        self.patches, self.changes, self.rng = patches, changes, rng
        self._keep = keep

    # --- forced choices ---

    def forced_choices(self, counts: Counts) -> Iterator[Trial]:
        """Reference and two changes of it."""
        families = (TRADITIONAL, CNN, MIXED) if self.changes.networks else (TRADITIONAL,)
        dealt = [families[k % len(families)] for k in range(counts.judged)]
        sides = {family: self._sides(dealt.count(family)) for family in families}
        for family in dealt:
            turned = next(sides[family])
            yield self._choice(partial(self._two, family), turned, family=family)
        for k, turned in enumerate(self._sides(counts.sentinels)):
            yield self._choice(self._same_and_absurd if k % 2 else self._mild_and_absurd, turned, role="sentinel")
        for turned in self._sides(counts.training):
            yield self._choice(self.changes.draw_extremes, turned, role="training")

    def _two(self, family: str) -> tuple[Change, Change]:
        kinds = (CNN, TRADITIONAL) if family == MIXED else (family, family)
        return self.changes.draw(kinds[0]), self.changes.draw(kinds[1])

    def _same_and_absurd(self) -> tuple[Change, Change]:
        return NOTHING, ABSURD

    def _mild_and_absurd(self) -> tuple[Change, Change]:
        return self.changes.draw_extremes()[0], ABSURD

    def _choice(
        self, draw: Callable[[], tuple[Change, Change]], turned: bool, role: str = "judged", family: str = ""
    ) -> Trial:
        """The first of the two changes stands on the left unless turned; where an answer is known, it is the first."""
        patch, pair, pictures = self._different(draw)
        if turned:
            pair, pictures = pair[::-1], pictures[::-1]
        known = ("right" if turned else "left") if role != "judged" else ""
        reference = self._keep(stored(patch.picture))
        return self._trial("2afc", role, patch, pictures, pair, known, family, reference)

    # --- pairs ---

    def pairs(self, counts: Counts) -> Iterator[Trial]:
        """A picture and a change of it."""
        families = (TRADITIONAL, CNN) if self.changes.networks else (TRADITIONAL,)
        dealt = [families[k % len(families)] for k in range(counts.judged)]
        sides = {family: self._sides(dealt.count(family)) for family in families}
        for family in dealt:
            turned = next(sides[family])
            yield self._pair(partial(self._one, family), turned, family=family)
        for k, turned in enumerate(self._sides(counts.sentinels)):
            yield self._known_pair(k % 2 == 0, ABSURD, turned, "sentinel")
        for k, turned in enumerate(self._sides(counts.training)):
            yield self._known_pair(k % 2 == 0, self.changes.draw_extremes()[1], turned, "training")

    def _one(self, family: str) -> tuple[Change, Change]:
        return NOTHING, self.changes.draw(family)

    def _known_pair(self, equal: bool, change: Change, turned: bool, role: str) -> Trial:
        if not equal:
            return self._pair(lambda: (NOTHING, change), turned, role)
        patch = self.patches.draw()
        # stored twice: one name for both would tell that they are the same
        return self._trial("jnd", role, patch, [stored(patch.picture)] * 2, [NOTHING] * 2, "same")

    def _pair(
        self, draw: Callable[[], tuple[Change, Change]], turned: bool, role: str = "judged", family: str = ""
    ) -> Trial:
        patch, pair, pictures = self._different(draw)
        if turned:
            pair, pictures = pair[::-1], pictures[::-1]
        return self._trial("jnd", role, patch, pictures, pair, "different" if role != "judged" else "", family)

    # --- real or synthetic ---

    def real_or_synthetic(self, counts: Counts, real: Patches, synthetic: Patches) -> Iterator[Trial]:
        """One picture, as many real as synthetic ones."""
        for role, count in (("judged", counts.judged), ("training", counts.training)):
            for is_real in self._sides(count):
                patch = (real if is_real else synthetic).draw()
                known, made = ("real", NOTHING) if is_real else ("synthetic", _GENERATED)
                yield self._trial("turing", role, patch, [stored(patch.picture)], [made], known, "turing")

    # --- of all tasks ---

    def _trial(
        self,
        task: str,
        role: str,
        patch: Patch,
        pictures: Sequence[NDArray[np.uint8]],
        changes: Sequence[Change],
        expected: str,
        family: str = "",
        reference: str = "",
    ) -> Trial:
        """Keep the pictures of a trial, one or two, and write it down without a name."""
        first, *more = (self._keep(picture) for picture in pictures)
        return Trial(
            trial="",
            task=task,
            role=role,
            reference=reference,
            first=first,
            second=more[0] if more else "",
            expected=expected,
            family=family or _family(role),
            distortion_first=changes[0].text,
            distortion_second=changes[1].text if more else "",
            source=patch.image,
            patient_id=patch.patient_id,
            finding=patch.finding,
            view=patch.view,
            left=patch.left,
            top=patch.top,
        )

    def _sides(self, count: int) -> Iterator[bool]:
        """As many True as False, shuffled; one more of either where the count is odd."""
        dealt = [k % 2 == 0 for k in range(count)]
        return iter(self.rng.permutation(dealt).tolist()) if count else iter(())

    def _different(
        self, draw: Callable[[], tuple[Change, Change]]
    ) -> tuple[Patch, tuple[Change, ...], list[NDArray[np.uint8]]]:
        """A picture and two changes of it that can be told apart: from each other, and from the picture."""
        for _ in range(_TRIES):
            patch, pair = self.patches.draw(), draw()
            pictures = [stored(change.apply(patch.picture)) for change in pair]
            shown = [*pictures, *([stored(patch.picture)] if NOTHING not in pair else [])]
            if len({picture.tobytes() for picture in shown}) == len(shown):
                return patch, pair, pictures
        mend = "choose larger patches, or other images"
        raise InputError(self.patches.rows.manifest.path, "changed images must differ", "no difference", mend)


def add_repeats(trials: Sequence[Trial], count: int, rng: np.random.Generator) -> list[Trial]:
    """Ask some judged trials again, the other way round.

    Args:
        trials: of one task.
        count: of repeats, at most as many as there are judged trials.
        rng: what draws.

    Returns:
        The repeats; ``repeat_of`` is the number of the trial in ``trials``.
    """
    judged = [k for k, trial in enumerate(trials) if trial.role == "judged"]
    chosen = rng.permutation(judged)[:count].tolist()
    return [replace(_turn(trials[k]), role="repeat", repeat_of=str(k)) for k in sorted(chosen)]


def _turn(trial: Trial) -> Trial:
    if not trial.second:
        return trial
    return replace(
        trial,
        first=trial.second,
        second=trial.first,
        distortion_first=trial.distortion_second,
        distortion_second=trial.distortion_first,
    )


def name_trials(tasks: Sequence[Sequence[Trial]], rng: np.random.Generator) -> list[Trial]:
    """Give trials names that tell nothing, and sort them by these.

    Args:
        tasks: trials of each task; ``repeat_of`` is a number in the same task.
        rng: what draws.
    """
    numbers = iter((rng.permutation(sum(map(len, tasks))) + 1).tolist())
    named: list[Trial] = []
    for trials in tasks:
        names = [f"t{next(numbers):05d}" for _ in trials]
        for trial, name in zip(trials, names, strict=True):
            original = names[int(trial.repeat_of)] if trial.repeat_of else ""
            named.append(replace(trial, trial=name, repeat_of=original))
    return sorted(named, key=lambda trial: trial.trial)


def stored(picture: Image) -> NDArray[np.uint8]:
    """A picture as it is shown: 8 bits."""
    return quantise(picture, 8).astype(np.uint8)


def _family(role: str) -> str:
    return role if role == "sentinel" else TRADITIONAL
