"""What may happen, by kind: each class adds rules to the machine."""
