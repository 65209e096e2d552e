"""Public mode: ownership of runs and texts, fair scheduling, disk quota; and the request filter of every page.

Local mode also uses two of these modules: `request_filter` stands in front of every page (without the rate limits),
and `index_page` caches the start page for it.
"""
