// SPDX-License-Identifier: Apache-2.0
#include "io/openai_request.hpp"

#include <fmt/format.h>

#include <array>
#include <initializer_list>
#include <string>
#include <utility>

namespace moebius::io {
namespace {

constexpr int max_choices = 128;  // of `n`, as the OpenAI API
// The API goes on to the end of the model's context; here a row that nobody bounded would hold so much of
// the KV cache. The same as a generate_until line that says nothing.
constexpr int default_chat_tokens = 256;

[[noreturn]] void refuse(std::string_view name, std::string_view what = "is set") {
  bad_field(name, fmt::format("{} (this version of moebius cannot follow it)", what), "remove it", RowStatus::unsupported);
}

/// Null, false, "", [] and {} say nothing.
bool says_something(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return value.is_structured() ? !value.empty() : !value.is_null();
}

void refuse_if_set(RequestFields& body, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const Json* value = body.find(name);
    if (value != nullptr && says_something(*value)) refuse(body.full_name(name));
  }
}

/// Options of both forms.
void read_common(RequestFields& body, Request& request) {
  read_sampling(body, 1.0, request.sampling);  // the default of the OpenAI API
  request.sampling.stop = body.stop_strings("stop");
  request.num_choices = static_cast<int>(body.integer("n", 1, max_choices).value_or(1));
  for (const char* name : {"frequency_penalty", "presence_penalty"}) {
    if (body.number(name, {-2.0, 2.0}).value_or(0.0) != 0.0) refuse(body.full_name(name));
  }
  if (body.number("repetition_penalty", {0.0, 1000.0}).value_or(1.0) != 1.0) refuse(body.full_name("repetition_penalty"));
  refuse_if_set(body, {"logit_bias"});
  if (body.integer("best_of", 1, max_choices).value_or(request.num_choices) != request.num_choices) refuse(body.full_name("best_of"));
  for (const char* name : {"model", "user", "stream", "stream_options"}) body.accept(name);  // nothing to follow here
}

/// A string, a list of ids, or a list of one of these.
TextOrIds read_prompt(RequestFields& body) {
  const Json& prompt = body.required("prompt");
  const bool holds_texts = prompt.is_array() && !prompt.empty() && (prompt[0].is_string() || prompt[0].is_array());
  if (!holds_texts) return body.text_of(prompt, "body.prompt");
  if (prompt.size() > 1) {
    bad_field("body.prompt", fmt::format("holds {} prompts (a line is one request)", prompt.size()),
              "write one line for each", RowStatus::unsupported);
  }
  return body.text_of(prompt[0], "body.prompt[0]");
}

// Chat --------------------------------------------------------------------------------------------

/// The text of a message whose content is a list of parts.
std::string text_of_parts(const Json& parts, const std::string& name) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto place = fmt::format("{}[{}]", name, i);
    if (!parts[i].is_object()) bad_field(place, fmt::format("is {} (a part is an object)", json_excerpt(parts[i])), "correct it");
    RequestFields part(parts[i], place + ".");
    const auto type = part.string("type").value_or("");
    if (type.empty()) (void)part.required("type");
    if (type != "text") refuse(part.full_name("type"), fmt::format("is {}", json_excerpt(Json(type))));
    (void)part.required("text");
    if (i > 0) text += '\n';
    text += part.string("text").value();
  }
  return text;
}

std::string read_content(RequestFields& message) {
  const Json& content = message.required("content");
  const auto name = message.full_name("content");
  if (content.is_string()) return content.get<std::string>();
  if (content.is_array()) return text_of_parts(content, name);
  bad_field(name, fmt::format("is {} (it must be a string or a list of parts)", json_excerpt(content)), "correct it");
}

/// Texts of any name reach the template (name, reasoning_content, ...); what calls tools is refused.
ChatMessage read_message(const Json& json, const std::string& name) {
  if (!json.is_object()) bad_field(name, fmt::format("is {} (a message is an object)", json_excerpt(json)), "correct it");
  RequestFields fields(json, name + ".");
  (void)fields.required("role");
  const auto role = fields.string("role").value();
  if (role == "tool" || role == "function") refuse(fields.full_name("role"), fmt::format("is {}", role));
  refuse_if_set(fields, {"tool_calls", "function_call", "audio"});
  ChatMessage message;
  message.fields.emplace_back("role", role);
  message.fields.emplace_back("content", read_content(fields));
  for (const auto& [key, value] : json.items()) {
    if (key == "role" || key == "content" || !says_something(value)) continue;
    if (!value.is_string()) refuse(fields.full_name(key), fmt::format("is {}", json_excerpt(value)));
    message.fields.emplace_back(key, value.get<std::string>());
  }
  return message;
}

void read_messages(RequestFields& body, Request& request) {
  const Json& messages = body.required("messages");
  if (!messages.is_array()) {
    bad_field("body.messages", fmt::format("is {} (it must be a list of messages)", json_excerpt(messages)), "correct it");
  }
  if (messages.empty()) bad_field("body.messages", "is empty (there is nothing to answer)", "give a message");
  for (const Json& message : messages) {
    request.messages.push_back(read_message(message, fmt::format("body.messages[{}]", request.messages.size())));
  }
}

void read_template_variables(RequestFields& body, Request& request) {
  const Json* object = body.find("chat_template_kwargs");
  if (object == nullptr) return;
  if (!object->is_object()) {
    bad_field("body.chat_template_kwargs", fmt::format("is {} (it must be an object)", json_excerpt(*object)), "correct it");
  }
  constexpr std::array<std::string_view, 5> taken = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"};
  RequestFields fields(*object, "body.chat_template_kwargs.");
  for (const auto& [key, value] : object->items()) {
    if (std::ranges::find(taken, key) != taken.end()) refuse(fields.full_name(key));
    if (value.is_boolean()) {
      request.template_variables.push_back({key, value.get<bool>()});
    } else if (value.is_string()) {
      request.template_variables.push_back({key, value.get<std::string>()});
    } else if (value.is_number_integer()) {
      request.template_variables.push_back({key, fields.integer(key.c_str(), -(std::int64_t{1} << 53), std::int64_t{1} << 53).value()});
    } else {
      refuse(fields.full_name(key), fmt::format("is {}", json_excerpt(value)));
    }
  }
}

/// max_completion_tokens is the newer name of max_tokens.
int read_max_tokens(RequestFields& body) {
  const auto older = body.integer("max_tokens", 1, max_new_tokens);
  const auto newer = body.integer("max_completion_tokens", 1, max_new_tokens);
  if (older && newer && *older != *newer) {
    bad_field("body.max_tokens", fmt::format("is {} beside max_completion_tokens {} (they mean the same)", *older, *newer), "remove one");
  }
  return static_cast<int>(newer ? *newer : older.value_or(default_chat_tokens));
}

/// Whether the answer shall be something else than free text.
void refuse_other_answers(RequestFields& body) {
  if (const Json* format = body.find("response_format"); format != nullptr) {
    if (!format->is_object() || format->value("type", Json()) != "text") refuse("body.response_format", "is not {\"type\": \"text\"}");
  }
  if (const Json* choice = body.find("tool_choice"); choice != nullptr && *choice != "none" && *choice != "auto") refuse("body.tool_choice");
  if (const Json* kinds = body.find("modalities"); kinds != nullptr && *kinds != Json::array({"text"})) refuse("body.modalities", "is not [\"text\"]");
  if (!body.boolean("add_generation_prompt").value_or(true)) refuse("body.add_generation_prompt", "is false");
  refuse_if_set(body, {"tools", "functions", "function_call", "audio", "reasoning_effort", "chat_template", "continue_final_message",
                       "documents", "echo"});
  for (const char* name : {"store", "metadata", "service_tier", "parallel_tool_calls", "prediction", "safety_identifier", "prompt_cache_key"}) {
    body.accept(name);
  }
}

}  // namespace

void read_completion(RequestFields& body, Request& request) {
  request.kind = RequestKind::completion;
  request.context = read_prompt(body);
  read_common(body, request);
  auto& sampling = request.sampling;
  sampling.echo = body.boolean("echo").value_or(false);
  sampling.max_tokens = static_cast<int>(body.integer("max_tokens", 0, max_new_tokens).value_or(16));
  if (sampling.max_tokens == 0 && !sampling.echo) {
    bad_field("body.max_tokens", "is 0 (without echo there is nothing to return)", "raise it or set echo");
  }
  sampling.num_logprobs = static_cast<int>(body.integer("logprobs", 0, max_logprobs).value_or(0));
  if (!body.string("suffix").value_or("").empty()) refuse("body.suffix");
}

void read_chat(RequestFields& body, Request& request) {
  request.kind = RequestKind::chat;
  read_messages(body, request);
  read_common(body, request);
  read_template_variables(body, request);
  request.sampling.max_tokens = read_max_tokens(body);
  const bool logprobs = body.boolean("logprobs").value_or(false);
  const auto num_logprobs = body.integer("top_logprobs", 0, max_logprobs);
  if (num_logprobs.value_or(0) > 0 && !logprobs) {
    bad_field("body.top_logprobs", fmt::format("is {} (without logprobs there are none)", *num_logprobs), "set logprobs to true");
  }
  request.sampling.num_logprobs = static_cast<int>(num_logprobs.value_or(0));
  refuse_other_answers(body);
}

}  // namespace moebius::io
