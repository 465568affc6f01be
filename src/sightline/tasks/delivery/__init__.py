"""Callbacks: written with the end of a task, made until they are taken."""
