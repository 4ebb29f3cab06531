"""The store: immutable artifacts with manifests, trainer states, lineage, garbage collection.

Free of torch and of Kubernetes. An artifact is a directory whose `manifest.json` was written last;
whatever has no valid manifest is garbage and is never read.
"""
