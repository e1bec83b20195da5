#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tokenizer_variants_golden.json: what the tokenizers library (0.23) makes of the tokenizers in
goldens/tokenizers with parts of their files replaced (RFC 7396 merge patches). Needs `pip install tokenizers`;
neither the build nor the tests run this."""
import copy
import json
import pathlib
import random

import tokenizers

here = pathlib.Path(__file__).parent
TEXTS = [
    "", " ", "  ", "Hello world", " Hello  world ", "it's 12345 apples\n\n\tand 3.5 pears", "caf\u00e9 \u65e5\u672c\u8a9e \U0001f389\U0001f44d\U0001f3fd",
    "\u2581already \u2581\u2581marked\u2581", "<s>the</s> end", "a<s> b<s>c </s>", "def f(x):\n    return x**2  # \u00fcber\r\n",
    "\u0645\u0631\u062d\u0628\u0627 \u043f\u0440\u0438\u0432\u0435\u0442 \u4f60\u597d\u3002", "x\u65e5y\u672cz\u65e5\u672c", "<0x0A> <0xZZ>", "<tool> use<tool>it <tool>  ok",
]
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}


def metaspace(**options):
    return {"normalizer": None, "pre_tokenizer": METASPACE | options}


def tool(id_, **options):
    return {"id": id_, "content": "<tool>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False} | options


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None and key not in ("normalizer", "pre_tokenizer", "unk_token"):
            target.pop(key, None)
        elif value is None:
            target[key] = None
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def load(name):
    return json.loads((here / "goldens/tokenizers" / name / "tokenizer.json").read_text())


mixtral_added = load("mixtral")["added_tokens"]
DECODER = load("mixtral")["decoder"]["decoders"]  # Replace, ByteFallback, Fuse, Strip
V3 = [
    {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
]
GROUPS = [
    ("mixtral", "metaspace always", metaspace()),
    ("mixtral", "metaspace first, whole", metaspace(prepend_scheme="first", split=False)),
    ("mixtral", "metaspace first, cut", metaspace(prepend_scheme="first") | {"added_tokens": mixtral_added + [tool(1500)]}),
    ("mixtral", "metaspace never", metaspace(prepend_scheme="never")),
    ("mixtral", "some bytes missing", {"model": {"vocab": {"<0xE6>": None, "<0xC3>": None, "<0xF0>": None}}}),
    ("mixtral", "some bytes missing, not fused", {"model": {"vocab": {"<0x8E>": None, "<0x91>": None}, "fuse_unk": False}}),
    ("mixtral", "unknown fused", {"model": {"byte_fallback": False}}),
    ("mixtral", "unknown apart", {"model": {"byte_fallback": False, "fuse_unk": False}}),
    ("mixtral", "unknown vanishes", {"model": {"byte_fallback": False, "unk_token": None}}),
    ("mixtral", "ignore merges", metaspace() | {"model": {"ignore_merges": True}}),
    ("mixtral", "normalized added token", {"added_tokens": mixtral_added + [tool(1500), tool(1501, content="<raw>", normalized=False)]}),
    ("mixtral", "added token that strips", {"added_tokens": mixtral_added + [tool(1500, lstrip=True, rstrip=True, normalized=False)]}),
    ("mixtral", "no strip", {"decoder": {"type": "Sequence", "decoders": DECODER[:3]}}),
    ("mixtral", "strip two", {"decoder": {"type": "Sequence", "decoders": DECODER[:3] + [{"type": "Strip", "content": " ", "start": 2, "stop": 0}]}}),
    ("mixtral", "no byte decoder", {"decoder": {"type": "Sequence", "decoders": [DECODER[0], DECODER[2]]}}),
    ("deepseek", "deepseek v3", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": V3}}),
    ("deepseek", "digits together", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, V3[3]]}}),
    ("deepseek", "split by a string", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"String": "."}, "behavior": "Isolated", "invert": False}, V3[3]]}}),
    ("llama3", "ignore merges", {"model": {"ignore_merges": True}}),
]


def main():
    rng = random.Random(4)
    groups = []
    for base, name, patch in GROUPS:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(merge_patch(load(base), patch)))
        rows = []
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            rows.append({"text": text, "ids": ids, "ids_without_special": tokenizer.encode(text, add_special_tokens=False).ids})
        streams = [[rng.choice([rng.randrange(3, 259), rng.randrange(259, 1500), rng.choice([0, 1, 2, 259])]) for _ in range(rng.randrange(1, 9))] for _ in range(12)]
        if base == "mixtral":  # bytes of characters, whole and cut, and leading spaces
            streams += [[233, 154, 168], [233, 154], [233, 154, 168, 230], [233, 154, 168, 1, 154], [259, 259, 300], [35, 35, 300], [1, 35, 259, 300], [259], [35]]
            vocab = tokenizer.get_vocab()
            space, byte = vocab["\u2581"], vocab.get("<0x20>", 0)
            streams += [[space, space, 700], [byte, space, 700], [1, byte, byte], [vocab["<0xE2>"], vocab["<0x82>"], vocab["<0xAC>"], space]]
        for row in rows:
            row["decoded"] = tokenizer.decode(row["ids"], skip_special_tokens=False)
            row["decoded_skip_special"] = tokenizer.decode(row["ids"], skip_special_tokens=True)
        decoded = [{"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False), "decoded_skip_special": tokenizer.decode(ids)} for ids in streams]
        groups.append({"base": base, "name": name, "patch": patch, "rows": rows, "decoded": decoded})
    lines = ["{" + ", ".join(f"{json.dumps(key)}: {json.dumps(group[key])}" for key in ("base", "name", "patch")) + ",\n \"rows\": [\n  "
             + ",\n  ".join(map(json.dumps, group["rows"])) + "],\n \"decoded\": [\n  " + ",\n  ".join(map(json.dumps, group["decoded"])) + "]}" for group in groups]
    (here / "tokenizer_variants_golden.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
