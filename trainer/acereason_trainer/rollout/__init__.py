"""Drawing responses: the sampler protocol, the transformers form, named seeds, the journal."""
