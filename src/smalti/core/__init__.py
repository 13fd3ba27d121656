"""What every room shares: the denoiser protocol, noise levels, seeded noise, validation, errors, safe files, progress."""
