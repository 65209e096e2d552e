"""The four lenses of Attention and its fold on the whole model.

Each module has the shape of a tab: `layout(ctx)` makes its components, `wire(ctx, parts, around)` connects its own
controls, and `show(ctx, parts, view, head, *asked)` says what its components show of a view. Its Parts name what it
asks for besides (`asked`) and what it fills (`shown`).
"""
