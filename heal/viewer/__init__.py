"""The trace viewer: repairs of a run as one static html, each with its whole story. The command: `__main__`.

`found` reads a run, `choice` picks the repairs, `story` turns each into what the page shows, `page` writes the html.
"""
