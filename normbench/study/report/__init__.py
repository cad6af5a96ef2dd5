"""The report: everything on disk as one HTML page."""
