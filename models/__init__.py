"""Evaluation of the detectors (and, where they are trained, their training and export)."""
