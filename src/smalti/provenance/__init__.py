"""Which training images made this pixel: influence on a sample, and what really changes without an image."""
