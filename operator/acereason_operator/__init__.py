"""Control plane: the AceReasonRun API, the pure planner, and what carries its plans out."""
