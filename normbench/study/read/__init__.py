"""What is read and worked out before anything is drawn: runs, experiments, published numbers."""
