"""The in-process engine: continuous batching over the policy's own modules."""
