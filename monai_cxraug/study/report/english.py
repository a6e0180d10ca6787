"""English: what the page of a study says, by key. ``korean.py`` has the same keys and the same names in braces."""

from __future__ import annotations

from typing import Final

#: words of a study that this language writes in another way.
GIVEN: Final[dict[str, str]] = {
    "all": "All",
    "traditional": "Traditional",
    "cnn": "By networks",
    "mixed": "One of each",
    "closer": "agrees better",
    "farther": "agrees worse",
    "sentinels": "too few sentinels right",
}

WORDS: Final[dict[str, str]] = {
    # --- head and answer ---
    "kicker": "Reader study",
    "simulated": "Simulated readers: these answers were made by a program",
    "simulated.all": "No person answered: {count} of {count} readers are programs that follow a rule. Everything "
    "below shows that the analysis works, and says nothing about people.",
    "simulated.some": "{count} of {all} readers are programs that follow a rule: {names}. Every figure below "
    "contains their answers and says nothing about people.",
    "answer": "Answer",
    "answer.closer": "Yes: the perceptual distance of “{distance}” sides with the readers more often than {reference}.",
    "answer.farther": "No: the perceptual distance of “{distance}” sides with the readers less often than {reference}.",
    "answer.no evidence": "There is no evidence that the perceptual distance of “{distance}” sides with the readers "
    "more or less often than {reference}.",
    "answer.none": "No classifier was given, or nobody answered a forced choice: this page describes and does not "
    "answer.",
    "meaning": "Shown two changed versions of a patch, “{distance}” sides with a reader in {first} of 100 cases, "
    "{reference} in {second}. The readers and patients at hand are compatible with a difference of {low} to {high}.",
    "meaning.point": "Shown two changed versions of a patch, “{distance}” sides with a reader in {first} of 100 "
    "cases, {reference} in {second}. There is too little for an interval.",
    "ceiling": "Readers differ among themselves: another reader sides with a reader in {others} of 100 cases, the "
    "majority of all other readers in {majority}. No distance can exceed {oracle} on these answers.",
    "declared": "Primary comparison, fixed before any answer is seen: the first classifier given, with all channel "
    "weights 1, less SSIM, over all forced choices.",
    "fact.difference": "Difference in score",
    "fact.interval": "95 % interval",
    "fact.readers": "Readers",
    "fact.trials": "Forced choices",
    "fact.patients": "Patients",
    "contents": "On this page",
    # --- sections ---
    "section.choice": "Which looks closer: forced choice",
    "section.comparisons": "Differences from SSIM",
    "section.jnd": "Just-noticeable differences",
    "section.thresholds": "From which strength on a distortion is seen",
    "section.turing": "Real or synthetic: visual Turing test",
    "section.readers": "Readers",
    "section.disagreements": "Where readers and the distance disagree most",
    "section.methods": "What the figures mean",
    "section.limits": "Limits and warnings",
    "section.provenance": "Provenance",
    # --- forced choice ---
    "head.distance": "Distance",
    "head.family": "Distortions",
    "choice.lead": "Share of the readers on the distance's side, mean over trials; 0.5 is chance. Brackets are 95 % "
    "intervals over readers and patients.",
    "choice.table": "Forced-choice scores of each distance by family of distortions",
    "choice.trials": "Trials / patients",
    "choice.oracle": "Ceiling on these answers",
    "choice.majority": "Majority of the other readers",
    "choice.others": "One other reader",
    "choice.caption": "Bars start at chance. The grey band is what can be reached: it begins at what the majority "
    "of the other readers scores, and ends at the ceiling on these answers (dashed).",
    "choice.title": "Forced-choice scores",
    "choice.about": "Bars of the score of each distance with 95 % intervals, by family of distortions",
    "choice.count": "{count} trials",
    "choice.axis": "score (share of readers on the same side)",
    "choice.note": "L2 and PSNR order images alike, so that their scores are equal. “linear”: channel weights "
    "learnt from the forced choices; “tuned”: the whole network learnt too. Both are scored on patients that they "
    "were not fitted on.",
    "choice.none": "No forced choice was answered.",
    # --- comparisons ---
    "comparison.table": "Each distance less SSIM, on the same trials and readers, all families",
    "comparison.note": "The marked row is the primary comparison. The others are not adjusted for their number: "
    "read them as description.",
    "comparison.primary": "primary",
    "head.difference": "Difference",
    "head.interval": "95 % interval",
    # --- jnd ---
    "jnd.lead": "{pairs} pairs, shown one after the other. Readers called {same} of them the same.",
    "jnd.table": "Average precision of “the same” by ascending distance",
    "head.precision": "Average precision",
    "jnd.note": "A distance that knew nothing would reach about {same}, the share of “the same”.",
    "thresholds.lead": "Share of answers “different” by strength, for groups of distortions and for single ones, of "
    "those shown in at least six pairs. The range of each distortion goes from its mildest to its strongest, equal "
    "ratios being equally far. The threshold is the strength at which half of the pairs are seen to differ, guesses "
    "and slips apart; it is written where the strengths shown enclose it.",
    "thresholds.threshold": "threshold {value}",
    "thresholds.none": "no threshold",
    "thresholds.y": "share “different”",
    "thresholds.x": "strength ({unit})",
    "thresholds.range": "place in the range, 0 mildest, 1 strongest",
    "thresholds.answers": "answers",
    "thresholds.fit": "fitted curve",
    # --- turing ---
    "turing.lead": "{real} real and {synthetic} synthetic images, one at a time. Where readers cannot tell them "
    "apart, accuracy and area are 0.5 and d' is 0.",
    "turing.table": "Visual Turing test by reader",
    "turing.mean": "Mean of readers",
    "turing.note": "Accuracy is the mean of both kinds' shares. A criterion above 0 means that the reader says "
    "“real” too often. Intervals are over readers and patients.",
    "turing.unsure": "Confidence was not asked: the area follows from the answers alone.",
    "head.reader": "Reader",
    "head.answers": "Answers",
    "head.accuracy": "Accuracy",
    "head.d_prime": "d'",
    "head.criterion": "Criterion",
    "head.area": "Area under ROC",
    # --- readers ---
    "readers.rule": "Rule, fixed before any answer is seen: who answers fewer than {least} of the sentinels right "
    "is left out of every figure. Left out: {excluded} of {all}.",
    "readers.table": "Readers",
    "readers.counts": "counts",
    "readers.out": "left out: {reason}",
    "readers.no answers": "no answers",
    "readers.kappa": "Agreement beyond chance over all forced choices: Fleiss' κ {fleiss}, mean of Cohen's κ over "
    "pairs of readers {cohen}.",
    "readers.side": "p: that a reader who prefers no side would be as far from one half, exact binomial test.",
    "head.role": "Role",
    "head.used": "Used?",
    "head.sentinels": "Sentinels right",
    "head.repeats": "Repeats alike",
    "head.repeats_kappa": "κ of repeats",
    "head.left": "“Left” (p)",
    "head.time": "Median time",
    "role.radiologist": "radiologist",
    "role.resident": "resident",
    "role.physician": "physician",
    "role.radiographer": "radiographer",
    "role.student": "student",
    "role.other": "other",
    "role.simulated": "simulated",
    "role.years": "{role}, {years} years",
    # --- disagreements ---
    "disagreement.lead": "Forced choices in which most readers took one image and “{distance}” the other, the most "
    "unanimous first. Left to right: first image, reference, second image.",
    "disagreement.caption": "Readers: {readers} for the {side} image. Distances: {first} and {second}.",
    "disagreement.first": "left",
    "disagreement.second": "right",
    "disagreement.made": "{first} | {second}",
    "disagreement.reference": "unchanged",
    "disagreement.none": "In no trial were most readers on the other side.",
    # --- methods ---
    "method.score": "Forced-choice score",
    "method.score.text": "A trial earns the share of readers who chose the image that the distance finds closer, "
    "one half where both are as far; the score is the mean over trials (Zhang et al., CVPR 2018, arXiv 1801.03924, "
    "section 4).",
    "method.ceiling": "Ceilings",
    "method.ceiling.text": "The ceiling on these answers is the mean of the majority's share, max(h, 1 − h). With "
    "few readers the majority is partly chance, and the ceiling too high for new readers. The majority of the other "
    "readers leaves each reader out in turn and scores the rest's majority on that reader: an unbiased estimate for "
    "a majority of one reader fewer, hence below what infinitely many readers would reach. One other reader: the "
    "share of pairs of readers who agree, an unbiased estimate of h² + (1 − h)².",
    "method.interval": "Intervals",
    "method.interval.text": "{replicates} bootstrap samples (seed {seed}) draw readers and, independently, patients "
    "with all of their trials (Owen, Annals of Applied Statistics 1, 2007); of R readers R − 1 are drawn. The "
    "central 95 % of the samples are widened about the estimate as Student's distribution asks for so few readers "
    "and patients (Satterthwaite, Biometrics Bulletin 2, 1946). Differences are taken within each sample. In "
    "simulated studies of 8 readers and 20 patients such intervals held the truth in 90 % (nearly all spread "
    "between readers) to 100 % (readers and patients alike) of the cases. Distances that were learnt are taken as "
    "they are: the spread of learning again is not in their interval.",
    "method.jnd": "Average precision",
    "method.jnd.text": "Pairs are taken by ascending distance; a pair counts as the same by the share of readers "
    "who said so. Precision is made non-increasing in recall and averaged over recall, as in the LPIPS package "
    "(section 4 of the same paper).",
    "method.distances": "Distances",
    "method.distances.text": "L1 and L2: mean absolute and root mean squared difference. PSNR: negative decibels. "
    "SSIM and MS-SSIM: 1 − index, by MONAI, window 11 px (Wang et al., IEEE TIP 13, 2004; Asilomar 2003). FSIM: 1 − "
    "index (Zhang et al., IEEE TIP 20, 2011). Classifiers: squared differences of unit-normalised activations, "
    "averaged over places and summed over channels and the ends of the stages (equation 1 of Zhang et al., 2018).",
    "method.scales": "The images have room for {scales} of the five scales of MS-SSIM; their weights were scaled to "
    "sum to 1.",
    "method.learning": "Learning from judgements",
    "method.learning.text": "Non-negative channel weights, and a small network from both distances to the readers' "
    "share, are fitted together by cross-entropy. Patients are dealt into {folds} parts; the distance of each trial "
    "comes from weights that were fitted without its patient.",
    "method.kappa": "Agreement",
    "method.kappa.text": "Fleiss, Psychological Bulletin 76, 1971, with as many answers as each trial has; Cohen, "
    "Educational and Psychological Measurement 20, 1960.",
    "method.turing": "Detection",
    "method.turing.text": "d' = z(H) − z(F) and criterion −(z(H) + z(F))/2, one half added to every count and one "
    "to every number of images (Hautus, Behavior Research Methods 27, 1995).",
    "method.threshold": "Thresholds",
    "method.threshold.text": "A Weibull function of the place in the range by maximum likelihood; guesses are "
    "measured on pairs of equal images, slips fixed at 2 % (Wichmann and Hill, Perception & Psychophysics 63, "
    "2001). Points put neighbouring pairs together; the fit does not.",
    # --- limits ---
    "limits.none": "No warning.",
    "limit.one_reader": "One reader: the intervals are about new patients for this reader, and say nothing about "
    "other readers.",
    "limit.few_readers": "{count} readers: how much other readers would differ is known only roughly, which the "
    "intervals say by being wide.",
    "limit.no_sentinels": "These readers answered no sentinel, so that the rule could not judge them: {names}.",
    "limit.seen": "“{name}” was trained on images of {count} of the study's patients.",
    "limit.small": "The images are too small for: {names}.",
    "limit.not_learnt": "Nothing was learnt from the judgements of “{name}”: {reason}.",
    "limit.size": "“{name}” was trained on images of {size} px; the study shows {shown} px as they are.",
    "limit.one_family": "All forced choices are of one family.",
    "reason.patients": "fewer than two patients",
    "reason.trials": "fewer than {least} forced choices with an answer",
    # --- provenance ---
    "provenance.study": "Study",
    "provenance.version": "Version of this tool",
    "provenance.table": "Table {name}",
    "provenance.distance": "Distance “{name}”",
    "provenance.files": "All numbers of this page are in results.json, the distances of every trial in distances.csv.",
    "thousand": "{value} s",
    "none": "n/a",
}
