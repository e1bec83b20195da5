// SPDX-License-Identifier: Apache-2.0
#include "io/request_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "io/openai_request.hpp"
#include "io/request_fields.hpp"
#include "io/strict_json.hpp"
#include "io/utf8.hpp"

namespace moebius::io {
namespace {

constexpr int default_max_gen_toks = 256;  // as lm-eval
constexpr std::string_view kinds = "loglikelihood, loglikelihood_rolling or generate_until";

// lm-eval forms -----------------------------------------------------------------------------------

void read_continuations(RequestFields& fields, Request& request) {
  const Json* one = fields.find("continuation");
  const Json* many = fields.find("continuations");
  if (one != nullptr && many != nullptr) {
    bad_field("continuations", "stands beside continuation (only one of them can be meant)", "remove one");
  }
  const auto add = [&](const Json& value, const std::string& name) {
    request.continuations.push_back(fields.text_of(value, name));
    if (is_empty(request.continuations.back()))
      bad_field(name, "is empty (there is nothing to score)", "give it a text");
  };
  if (many == nullptr) {
    add(fields.required("continuation"), "continuation");
    return;
  }
  if (!many->is_array()) {
    bad_field("continuations", fmt::format("is {} (it must be a list of texts)", json_excerpt(*many)), "correct it");
  }
  for (const auto& value : *many) add(value, fmt::format("continuations[{}]", request.continuations.size()));
  if (many->empty()) bad_field("continuations", "is empty (there is nothing to score)", "give it a text");
}

void read_loglikelihood(RequestFields& fields, Request& request) {
  request.kind = RequestKind::loglikelihood;
  request.context = fields.text("context");
  read_continuations(fields, request);
  const auto last = static_cast<std::int64_t>(request.continuations.size()) - 1;
  if (const auto label = fields.integer("label", 0, last)) request.label = static_cast<int>(*label);
}

void read_rolling(RequestFields& fields, Request& request) {
  request.kind = RequestKind::loglikelihood_rolling;
  request.context = fields.text("text");
  if (is_empty(request.context)) bad_field("text", "is empty (there is nothing to score)", "give it a text");
}

void read_generate_until(RequestFields& fields, Request& request) {
  request.kind = RequestKind::generate_until;
  request.context = fields.text("context");
  auto& sampling = request.sampling;
  read_sampling(fields, 0.0, sampling);  // lm-eval generates greedily where nothing is said
  sampling.stop = fields.stop_strings("until");
  sampling.max_tokens =
      static_cast<int>(fields.integer("max_gen_toks", 1, max_new_tokens).value_or(default_max_gen_toks));
  sampling.num_logprobs = static_cast<int>(fields.integer("num_logprobs", 0, max_logprobs).value_or(0));
}

// OpenAI batch lines ------------------------------------------------------------------------------

/// Returns the number of unknown fields of the body.
int read_openai(RequestFields& fields, Request& request) {
  const auto url = fields.string("url").value();
  const bool is_chat = url == "/v1/chat/completions";
  if (!is_chat && url != "/v1/completions") {
    bad_field("url", fmt::format("is {} (it must be /v1/completions or /v1/chat/completions)", json_excerpt(Json(url))),
              "correct it", RowStatus::unknown_kind);
  }
  if (const auto method = fields.string("method"); method && *method != "POST") {
    bad_field("method", fmt::format("is {} (it must be POST)", json_excerpt(Json(*method))), "correct it");
  }
  const Json& object = fields.required("body");
  if (!object.is_object()) {
    bad_field("body", fmt::format("is {} (it must be an object)", json_type_name(object)), "correct it");
  }
  RequestFields body(object, "body.");
  if (is_chat) {
    read_chat(body, request);
  } else {
    read_completion(body, request);
  }
  return body.num_unknown();
}

// Lines -------------------------------------------------------------------------------------------

/// Returns the number of unknown fields.
int read_form(RequestFields& fields, Request& request) {
  fields.accept("custom_id");
  int num_unknown = 0;
  if (fields.find("kind") != nullptr) {
    const auto kind = fields.string("kind").value();
    if (kind == "loglikelihood") {
      read_loglikelihood(fields, request);
    } else if (kind == "loglikelihood_rolling") {
      read_rolling(fields, request);
    } else if (kind == "generate_until") {
      read_generate_until(fields, request);
    } else {
      bad_field("kind", fmt::format("is {} (it must be {})", json_excerpt(Json(kind)), kinds), "correct it",
                RowStatus::unknown_kind);
    }
  } else if (fields.find("url") != nullptr) {
    num_unknown = read_openai(fields, request);
  } else {
    bad_field("kind", "is missing (a line without it must have a url, as OpenAI batch lines have)",
              fmt::format("add kind: {}", kinds));
  }
  return num_unknown + fields.num_unknown();
}

std::string id_of_line(std::int64_t line) { return fmt::format("line-{}", line); }

/// The custom_id of a text that is not JSON, when a whole string stands where it should.
std::string salvage_custom_id(std::string_view text, std::int64_t line) {
  constexpr std::string_view key = "\"custom_id\"", spaces = " \t";
  const auto found = text.find(key);
  if (found == std::string_view::npos) return id_of_line(line);
  auto rest = text.substr(found + key.size());
  const auto skip = [&] { rest.remove_prefix(std::min(rest.find_first_not_of(spaces), rest.size())); };
  skip();
  if (!rest.starts_with(':')) return id_of_line(line);
  rest.remove_prefix(1);
  skip();
  if (!rest.starts_with('"')) return id_of_line(line);
  std::size_t end = 1;
  while (end < rest.size() && rest[end] != '"') end += rest[end] == '\\' ? 2 : 1;
  if (end >= rest.size()) return id_of_line(line);
  const auto parsed = parse_json(rest.substr(0, end + 1));
  const auto* value = std::get_if<Json>(&parsed);
  if (value == nullptr || !value->is_string() || value->get_ref<const std::string&>().empty()) return id_of_line(line);
  return value->get<std::string>();
}

ParsedRequest bad_line(std::string custom_id, std::int64_t line, RowStatus status, std::string_view message) {
  return {BadLine{std::move(custom_id), line, status, fmt::format("line {}: {}", line, message)}, 0};
}

ParsedRequest bad_json(std::string_view text, std::int64_t line, const JsonProblem& problem) {
  const bool is_utf8 = problem.kind == JsonProblem::Kind::utf8;
  const auto message = is_utf8 ? fmt::format("not UTF-8 ({}) save the file as UTF-8", problem.message)
                               : fmt::format("not valid JSON ({}) correct the line", problem.message);
  return bad_line(salvage_custom_id(text, line), line, is_utf8 ? RowStatus::bad_utf8 : RowStatus::bad_json, message);
}

}  // namespace

ParsedRequest parse_request(std::string_view text, std::int64_t line) {
  const auto parsed = parse_json(text);
  if (const auto* problem = std::get_if<JsonProblem>(&parsed)) return bad_json(text, line, *problem);
  const auto& json = std::get<Json>(parsed);
  if (!json.is_object()) {
    return bad_line(id_of_line(line), line, RowStatus::bad_field,
                    fmt::format("the line is {} (a request is an object) correct the line", json_type_name(json)));
  }
  RequestFields fields(json);
  Request request;
  request.input_line = line;
  request.custom_id = id_of_line(line);
  try {
    if (auto custom_id = fields.string("custom_id"); custom_id && !custom_id->empty()) {
      request.custom_id = std::move(*custom_id);
    }
    const int num_unknown = read_form(fields, request);
    return {std::move(request), num_unknown};
  } catch (const BadField& bad) {
    return bad_line(std::move(request.custom_id), line, bad.status, bad.message);
  }
}

ParsedRequest plain_text_request(std::string_view text, std::string_view file_name) {
  constexpr std::int64_t line = 1;
  // Names of files are bytes; an id must be UTF-8 like every text of a result file.
  const auto custom_id = first_invalid_utf8(file_name) ? id_of_line(line) : std::string(file_name);
  if (const auto offset = first_invalid_utf8(text)) {
    return bad_line(custom_id, line, RowStatus::bad_utf8,
                    fmt::format("not UTF-8 (byte {} is not valid) save the file as UTF-8", *offset + 1));
  }
  Request request;
  request.custom_id = custom_id;
  request.input_line = line;
  request.kind = RequestKind::loglikelihood_rolling;
  request.context = std::string(text);
  return {std::move(request), 0};
}

}  // namespace moebius::io
