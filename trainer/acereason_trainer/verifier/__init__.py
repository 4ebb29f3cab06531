"""The verifier service: the workers of rewards/ behind HTTP, for trainers on other machines.

    request -> app.py (reads, refuses, streams answers) -> desk.py (a bounded queue for each kind)
            -> pools.py (worker processes for each set of limits) -> rewards/pool.py

`acereason-verifier --help` says how to run it; rewards/wire.py is what it understands.
"""
