"""The five tabs. Each module: layout(ctx) makes its components, wire(ctx, parts, page) connects them once all exist."""
