"""G4, G5, G6, C8: watchers, budgets, steps and outputs, in turns over real files, and over a real endpoint."""
