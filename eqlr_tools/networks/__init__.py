"""The known architectures: their canonical parameter names, and a numpy forward of each that says what they compute."""
