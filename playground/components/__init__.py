"""Components that several features use: forms, charts, bars, texts, and the factory that makes them."""
