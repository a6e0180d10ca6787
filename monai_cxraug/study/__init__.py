"""The perceptual test set and its reader study: distort, build, serve, analyse."""
