"""Hydra mains made safe: errors in a line, and a check of every option before TensorFlow is imported."""
