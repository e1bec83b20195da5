// SPDX-License-Identifier: Apache-2.0
#pragma once
// From the messages of a chat to the prompt, by running the chat template of the checkpoint, as
// transformers does it (5.24: Jinja with trim_blocks and lstrip_blocks, `tools` and `documents` none,
// add_generation_prompt true, the special tokens as variables). The part of Jinja that chat templates use
// is known (template_syntax.hpp, template_builtins.hpp). What is not known is never guessed: a template that
// cannot be parsed has no prompts, and a run that comes to something unknown ends with a status.
//
// The text is to be encoded without the special tokens of the post-processor: templates write their own.

#include <span>
#include <string>
#include <vector>

#include "base/chat_template_spec.hpp"
#include "base/request.hpp"
#include "model/template_syntax.hpp"

namespace moebius::model {

class ChatTemplate {
 public:
  /// Longest template in bytes; the longest published ones have about 20 KB.
  static constexpr std::size_t max_template_bytes = std::size_t{1} << 18;

  /// Never throws for what the template contains: one that cannot be used says so for each request.
  explicit ChatTemplate(ChatTemplateSpec spec);

  struct Rendered {
    RowStatus status = RowStatus::ok;
    std::string text;  ///< the prompt; otherwise the message of the row
  };
  /// `unsupported`: there is no template, or it uses what is not known here. `bad_field`: the template
  /// refuses these messages (roles that do not alternate, ...), with its own words.
  [[nodiscard]] Rendered render(std::span<const ChatMessage> messages, std::span<const TemplateVariable> variables) const;

 private:
  [[nodiscard]] Rendered unusable(const std::string& why) const;

  ChatTemplateSpec spec_;
  TemplateBody body_;
};

}  // namespace moebius::model
