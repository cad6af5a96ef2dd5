"""Training, evaluation and checkpoints. Knows neither wandb nor Hydra."""
