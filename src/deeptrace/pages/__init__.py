"""Web pages and pictures for people: escaped templates, boxes on frames, places in words."""
