"""What schemathesis does not know by itself: what a filter looks like (the grammar is in the description of `filters`)."""

import schemathesis
from hypothesis import strategies

names = strategies.sampled_from(["year", "kind", "dc.title", "og:title", "Brand Name", '"a.b"'])
values = strategies.sampled_from(["bird", "2019", "O'Neill", "R&D", "50%", "1990..2005", "2024-05-31", ">5", "*", "(a, b)", '"x OR y"', "..7"])
conditions = strategies.builds("{}:{}".format, names, values)
filters = strategies.recursive(
    conditions,
    lambda inner: strategies.one_of(
        strategies.builds("({} OR {})".format, inner, inner),
        strategies.builds("({} AND {})".format, inner, inner),
        strategies.builds("NOT {}".format, inner),
        strategies.builds("-{}".format, inner),
    ),
    max_leaves=4,
)
schemathesis.openapi.format("adam-filter", filters)
