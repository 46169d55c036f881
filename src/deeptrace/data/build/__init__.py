"""What helps to build a dataset: prompts, generations, filters, standardised wording, agreement of annotators."""
