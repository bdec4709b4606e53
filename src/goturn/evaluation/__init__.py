"""Evaluation: trackers on labelled videos."""
