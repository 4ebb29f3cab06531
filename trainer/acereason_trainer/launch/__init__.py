"""PID 1 of a stage pod: starts the ranks, forwards signals, watches, ends with the contract's code.

torchrun is not used: it turns every exit code into 1 and kills after 30 s. Free of torch.
"""
