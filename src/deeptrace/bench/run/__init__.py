"""A model over a dataset: questions, views and tracks; every answer in a folder that survives a kill."""
