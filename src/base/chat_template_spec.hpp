// SPDX-License-Identifier: Apache-2.0
#pragma once
// The chat template of a checkpoint as its files have it: `io` reads it, `model::ChatTemplate` runs it.

#include <string>
#include <utility>
#include <vector>

namespace moebius {

struct ChatTemplateSpec {
  std::string text;     ///< Jinja
  std::string origin;   ///< where it stands, for messages: "models/x/tokenizer_config.json: key chat_template"
  std::string problem;  ///< why there is no text; empty where there is one
  std::vector<std::pair<std::string, std::string>> special_tokens;  ///< variables of the template: "bos_token", its content
};

}  // namespace moebius
