"""What a scale would cost before anything is paid for it, and its licences.

`counting` counts what a step and an image take, on the meta device (with `outlines` of models, the
`passes` that they make and `counters`), and `counts` remembers it; `sizes` says how much data there
is, `machines` how fast things are; `work` lists all that a table needs as `items`, each thing once,
with its `evaluations` and `encodings`; `forecast` turns that into hours and gigabytes, which are
`bills`, and `measured` puts finished runs beside it; `show` prints. `licences` needs none of these.
What is known from outside is in `catalogue`.

Nothing here is read by a training or an evaluation, and nothing is in a digest.
"""
