#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""read_with_h5py.py <write_sample> <folder>: results.h5 as a user of h5py sees it, compared with what was written."""
import json
import math
import os
import subprocess
import sys

import h5py

program, folder = sys.argv[1:]
written = json.loads(subprocess.run([program, folder], check=True, stdout=subprocess.PIPE).stdout)
rows = written["rows"]


def ragged(values, offsets, i):
    return values[offsets[i]:offsets[i + 1]]


def text(blob, offsets, i):
    return bytes(ragged(blob, offsets, i)).decode("utf-8")


def check_names(name, item):
    if isinstance(item, h5py.Dataset):
        assert item.attrs["long_name"] and item.attrs["units"], name
        assert item.dtype.kind != "O", f"{name} has variable length"


with h5py.File(os.path.join(folder, "results.h5"), "r") as file:
    file.visititems(check_names)
    assert file.attrs["invariance_digest"].decode() == written["digest"]
    assert file.attrs["num_rows_expected"] == len(rows)
    assert file.attrs["seed"] == 0xFEDCBA9876543210
    assert [phase.decode() for phase in file["ranks/timing/phase"]] == ["attention", "dispatch_wait"]
    assert file["experts/placement"].shape == (1, 2, 2, 2)

    names = {value: name for name, value in h5py.check_enum_dtype(file["rows/status"].dtype).items()}
    table = {name: data[...] for name, data in file["rows"].items()}
    tokens = {name: data[...] for name, data in file["tokens"].items()}
    blob, offsets = file["text/blob"][...], file["text/offsets"][...]
    assert len(table["status"]) == len(rows)
    for i, row in enumerate(rows):
        assert text(table["custom_id"], table["custom_id_offsets"], i) == row["custom_id"]
        assert text(table["message"], table["message_offsets"], i) == row["message"]
        assert text(blob, offsets, i) == row["text"]
        assert names[table["status"][i]] == row["status"]
        assert (table["input_line"][i], table["choice_idx"][i]) == (row["input_line"], row["choice_idx"])
        assert bool(table["is_greedy"][i]) == row["is_greedy"]
        total = table["sum_logprob"][i]
        assert math.isnan(total) if row["sum_logprob"] is None else total == row["sum_logprob"]
        assert ragged(tokens["id"], tokens["offsets"], i).tolist() == row["tokens"]
        top = ragged(tokens["topk_id"], tokens["offsets"], i)[:, :row["topk_width"]]
        assert top.ravel().tolist() == row["topk_ids"]

# Without its blocks nothing reads as data.
for name in os.listdir(os.path.join(folder, "blocks")):
    os.remove(os.path.join(folder, "blocks", name))
with h5py.File(os.path.join(folder, "results.h5"), "r") as file:
    assert all(math.isnan(x) for x in file["rows/sum_logprob"])
    assert all(names[x] == "missing" for x in file["rows/status"])
    assert all(x == -1 for x in file["tokens/id"])
print(f"{len(rows)} rows agree")
