"""Tables: one file for each paper whose tables are filled, our own summary, and what they share."""
