"""The doctor: what of this node kzn can use, what bypasses it, and a proof that the hook counts."""
