// SPDX-License-Identifier: Apache-2.0
#include "model/chat_template.hpp"

#include <fmt/format.h>

#include <utility>

#include "model/template_run.hpp"
#include "model/utf8.hpp"

namespace moebius::model {
namespace {

TemplateValue value_of(const TemplateVariable& variable) {
  if (const auto* flag = std::get_if<bool>(&variable.value)) return TemplateValue::boolean(*flag);
  if (const auto* number = std::get_if<std::int64_t>(&variable.value)) return TemplateValue::integer(*number);
  return TemplateValue::string(std::get<std::string>(variable.value));
}

TemplateValue value_of(std::span<const ChatMessage> messages, TemplateArena& arena) {
  TemplateList list;
  for (const ChatMessage& message : messages) {
    TemplateDict fields;
    for (const auto& [name, text] : message.fields) fields.set(name, TemplateValue::string(text));
    list.push_back(arena.dict(std::move(fields)));
  }
  return arena.list(std::move(list));
}

}  // namespace

ChatTemplate::ChatTemplate(ChatTemplateSpec spec) : spec_(std::move(spec)) {
  if (!spec_.problem.empty()) return;
  if (spec_.text.size() > max_template_bytes) {
    spec_.problem = fmt::format("{} has {} bytes, at most {} are read", spec_.origin, spec_.text.size(), max_template_bytes);
    return;
  }
  try {
    body_ = parse_template(spec_.text);
  } catch (const TemplateFault& fault) {
    spec_.problem = fmt::format("{} uses what this version of moebius does not know: {}", spec_.origin, fault.message);
  }
}

ChatTemplate::Rendered ChatTemplate::unusable(const std::string& why) const {
  return {RowStatus::unsupported, fmt::format("messages cannot be made into a prompt ({}) use /v1/completions with a prompt of your own", why)};
}

ChatTemplate::Rendered ChatTemplate::render(std::span<const ChatMessage> messages, std::span<const TemplateVariable> variables) const {
  if (!spec_.problem.empty()) return unusable(spec_.problem);
  TemplateArena arena;
  TemplateRun::Variables scope = {{"messages", value_of(messages, arena)},
                                  {"tools", TemplateValue::none()},
                                  {"documents", TemplateValue::none()},
                                  {"add_generation_prompt", TemplateValue::boolean(true)}};
  // The first of a name counts: what the request says goes before what the model says.
  for (const TemplateVariable& variable : variables) scope.emplace_back(variable.name, value_of(variable));
  for (const auto& [name, content] : spec_.special_tokens) scope.emplace_back(name, TemplateValue::string(content));
  try {
    return {RowStatus::ok, TemplateRun(arena, std::move(scope)).text_of(body_)};
  } catch (const TemplateFault& fault) {
    if (fault.kind == TemplateFault::Kind::unsupported) {
      return unusable(fmt::format("{} does what this version of moebius does not know: {}", spec_.origin, fault.message));
    }
    const char* verb = fault.kind == TemplateFault::Kind::refused ? "refuses them: " : "fails on them: ";
    return {RowStatus::bad_field, fmt::format("messages do not suit the model (its chat template {}{}) correct them", verb, fault.message)};
  }
}

}  // namespace moebius::model
