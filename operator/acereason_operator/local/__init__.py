"""The local executor: the planner's decisions carried out as processes of this machine.

Level-triggered, like the cluster's: each round looks at files, decides, acts. What a process did is
read from what it left on disk, so a runner that was killed loses nothing, and the next one adopts
the stages that went on without it.
"""
