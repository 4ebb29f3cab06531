"""What carries plans out on a cluster: watches, a cache, a queue, one loop per run, an election."""
