#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden.json into each folder here: what transformers (5.24, Jinja 3.1) makes of conversations.json with
the chat template of that folder, with add_generation_prompt, or the error it ends with; for `chatml` the token
ids as well (apply_chat_template(tokenize=True) with goldens/tokenizers/llama3, which adds a BOS otherwise).
Needs `pip install transformers jinja2`; neither the build nor the tests run this."""
import datetime
import json
import pathlib

import jinja2
from transformers import PreTrainedTokenizerFast

here = pathlib.Path(__file__).parent
tokenizer_file = here.parent / "goldens/tokenizers/llama3/tokenizer.json"


def content_of(token):
    return token["content"] if isinstance(token, dict) else token


def template_of(folder, config):
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text()
    template = config["chat_template"]
    return template if isinstance(template, str) else {entry["name"]: entry["template"] for entry in template}


def main():
    conversations = json.loads((here / "conversations.json").read_text())
    for config_file in sorted(here.glob("*/tokenizer_config.json")):
        folder = config_file.parent
        config = json.loads(config_file.read_text())
        special = {name: content_of(token) for name, token in config.items() if name.endswith("_token") and token}
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), **special)
        tokenizer.chat_template = template_of(folder, config)
        rows = []
        for conversation in conversations:
            row = {}
            try:
                arguments = {"add_generation_prompt": True} | conversation.get("variables", {})
                row["text"] = tokenizer.apply_chat_template(conversation["messages"], tokenize=False, **arguments)
                if folder.name == "chatml":
                    row["ids"] = list(tokenizer.apply_chat_template(conversation["messages"], tokenize=True, **arguments)["input_ids"])
                if any(datetime.date.today().strftime(form) in row["text"] for form in ("%d %b %Y", "%Y-%m-%d")):
                    row = {"today": True}  # the template asked for the date
            except (jinja2.TemplateError, TypeError) as error:
                row["error"] = str(error)
            rows.append(row)
        (folder / "golden.json").write_text("[\n " + ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


main()
