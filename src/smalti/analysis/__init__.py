"""What denoisers depend on and how they differ: sensitivity, transforms, errors, comparisons."""
