"""What is read: run folders, experiments, published numbers; and what follows from them before anything is drawn."""
