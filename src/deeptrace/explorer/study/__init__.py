"""A perception study: what people see of injected traces, shams and plain clips, shown once each.

`design` draws who sees what, `statistics` says what their answers are worth, `app` is the web application they use.
"""
