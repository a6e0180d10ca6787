"""What happens to a DICOM image that may not belong into a set of chest radiographs: kept, dropped or quarantined."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal, get_args

from monai_cxraug.errors import ConfigError, InputError, nearest

if TYPE_CHECKING:
    from monai_cxraug.data.readers.header import Header

Choice = Literal["keep", "drop", "quarantine"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


class DroppedImage(InputError):  # noqa: N818 - an outcome, not a fault
    """An image in good order that the policy leaves out."""


@dataclass(frozen=True)
class DicomPolicy:
    """One answer a question: ``"keep"``, ``"drop"`` (left out as planned) or ``"quarantine"`` (left out, look at it).

    Args:
        lateral: a lateral or decubitus view.
        for_processing: Presentation Intent Type FOR PROCESSING: raw detector values, not meant for the eye.
        inverse: Presentation LUT Shape contradicts the photometric interpretation, so that black and white may be
            exchanged. Where it is kept, the photometric interpretation decides.
        burned_in: Burned In Annotation YES: the picture may carry a name.
        body_part: a body part other than the chest. An image that names none is kept.
        multi_frame: several frames. Where it is kept, the first is read.

    Raises:
        ConfigError: another word than these three.
    """

    lateral: Choice = "drop"
    for_processing: Choice = "quarantine"
    inverse: Choice = "quarantine"
    burned_in: Choice = "quarantine"
    body_part: Choice = "quarantine"
    multi_frame: Choice = "quarantine"

    def __post_init__(self) -> None:
        for question in fields(self):
            answer = getattr(self, question.name)
            if answer not in CHOICES:
                rule = f"must be {', '.join(CHOICES[:-1])} or {CHOICES[-1]}"
                raise ConfigError(question.name, rule, repr(answer), nearest(str(answer), CHOICES))

    @classmethod
    def keep_all(cls) -> DicomPolicy:
        """Return the policy that keeps every image."""
        return cls("keep", "keep", "keep", "keep", "keep", "keep")


#: What is done unless the user says otherwise.
DEFAULT_POLICY: Final = DicomPolicy()


def judge(header: Header, name: object, policy: DicomPolicy) -> None:
    """Refuse an image that the policy leaves out.

    Args:
        header: facts of the image.
        name: what to call the file in errors.
        policy: one answer a question.

    Raises:
        InputError: a question that the policy answers with ``"quarantine"`` applies.
        DroppedImage: a question that it answers with ``"drop"`` applies, and none of the former.
    """
    raised = [
        (getattr(policy, question), question, rule, found) for question, rule, found in _questions(header) if found
    ]
    for choice, kind in (("quarantine", InputError), ("drop", DroppedImage)):
        for answer, question, rule, found in raised:
            if answer == choice:
                raise kind(name, rule, found, f"set {question}=keep to read it")


def _questions(header: Header) -> list[tuple[str, str, str]]:
    """Field of the policy, the rule, and what was found where the rule is broken."""
    return [
        ("lateral", "must be a frontal view", f"view {header.view}" if header.is_lateral else ""),
        ("for_processing", "must be meant for the eye", "FOR PROCESSING" if header.for_processing else ""),
        ("inverse", "black and white must be certain", header.contradiction),
        ("burned_in", "must carry no writing", "Burned In Annotation YES" if header.burned_in else ""),
        ("body_part", "must show the chest", header.other_body_part),
        ("multi_frame", "must have one frame", f"{header.frames} frames" if header.frames > 1 else ""),
    ]
