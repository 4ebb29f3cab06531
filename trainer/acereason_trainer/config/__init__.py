"""Every stage's settings and the files between planner and stage, as pydantic models.

Free of torch and of Kubernetes: the operator, `prepare`, the launcher and the trainer all read
the same classes.
"""
