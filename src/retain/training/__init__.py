"""Training: configuration, the loop, checkpoints, loggers, run folders."""
