"""Rehearsal of a run: the preset's own workflow with stand-in models, a few rows of data and scaled lengths."""
