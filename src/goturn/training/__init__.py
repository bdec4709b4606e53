"""Training, offline: one iteration of it so far (:mod:`goturn.training.step`)."""
