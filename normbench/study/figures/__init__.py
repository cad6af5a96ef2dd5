"""Figures: one file for each paper whose figures are drawn, one for each of our own, and what they share."""
