"""A GPU's libraries are told what the command line tells them, before torch is imported."""

import os

from reprise.__main__ import ON_A_GPU

for _name, _value in ON_A_GPU.items():
    os.environ.setdefault(_name, _value)
