"""Packs coefficients, which the server reads."""
import csv
import struct
import sys

with open(sys.argv[1], newline="") as source:
    values = {name: float(value) for name, value in csv.reader(source)}
with open(sys.argv[2], "wb") as target:
    target.write(struct.pack("<3d", values["base"], values["distance"], values["express"]))
print("compiled", len(values), "coefficients")
