"""See the data, see the mistakes, ask people: a local web application over a dataset and what models said of it.

Browse and compare (`browse`, `compare`), annotate and review (`work`, with `annotate`, `review` and the `store` of
events), and the perception study (`study`). `app` puts them behind one server; `deeptrace explore` and `deeptrace
study` run it. Records and verdict files go in; pages, annotations and a study's answers come out.
"""
