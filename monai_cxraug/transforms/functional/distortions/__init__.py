"""Distortions of radiographs for perceptual tests: pure functions of image, strength and seed, one group a module.

The groups are those of Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric",
section 2: photometric, noise, blur, spatial, compression. :mod:`.catalogue` lists them all.
"""
