"""Scenes with known truth: toys on a table, as pictures and as videos."""
