"""What runs on the far side of the wall: the zygote, the lock-down and the runner of model code.

These modules are executed by a bare interpreter (``-I -S``, empty environment), so they import only the
standard library and each other.
"""
