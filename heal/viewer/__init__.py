"""The trace viewer: repairs of a run as one static html page, each from its problem to PURE's decision.

`command` is `heal view`; `read_run` reads a run, `select_repairs` picks the repairs, `page_rows` builds what the page
shows of each, `page` renders the html.
"""
