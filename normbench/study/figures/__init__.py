"""Figures: one file per paper whose figures are drawn, one per own figure, and what they share."""
