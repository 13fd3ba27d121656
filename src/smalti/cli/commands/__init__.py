"""What can be typed: one command per module. They import nothing heavy until they run."""
