"""The benchmark: verdicts and records in, the paper's metrics and fairer ones out, with error bars beside each."""
