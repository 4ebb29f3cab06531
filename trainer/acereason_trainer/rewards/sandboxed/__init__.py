"""What runs inside the sandbox: zygote.py, and what it imports.

The interpreter there has no site-packages: the standard library only.
"""
