"""What a scale would cost before anything is paid for it, and its licences.

`counting` counts what a step and an image take, on the meta device, and `counts` remembers it;
`sizes` says how much data there is, `machines` how fast things are; `work` lists all that a table
needs, each thing once; `forecast` turns that into hours and gigabytes, and `measured` puts finished
runs beside it. `licences` needs none of these. What is known from outside is in `catalogue`.

Nothing here is read by a training or an evaluation, and nothing is in a digest.
"""
