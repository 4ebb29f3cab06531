"""GRPO on checked answers, as in AceReason 1.0 section 3."""
