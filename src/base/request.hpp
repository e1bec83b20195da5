// SPDX-License-Identifier: Apache-2.0
#pragma once
// What comes in (Request) and what goes out (Row). Readers in `io` make Requests, `ranks` turns each
// into one or more Rows, writers in `io` store them. Plain data, no behaviour.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.hpp"

namespace moebius {

enum class RequestKind : std::uint8_t { loglikelihood, loglikelihood_rolling, generate_until, completion, chat };

/// Any text field of a request may instead be a list of token ids, which are taken as they are.
using TextOrIds = std::variant<std::string, std::vector<TokenId>>;

/// How a generation picks its tokens and when it ends.
struct SamplingOptions {
  double temperature = 0.0;  ///< 0: greedy (argmax, ties to the lowest id)
  double top_p = 1.0;        ///< smallest set of tokens with at least this probability; 1: all
  double min_p = 0.0;        ///< drop tokens below min_p times the largest probability; 0: none
  int top_k = 0;             ///< keep the k most probable; 0: all
  std::optional<std::uint64_t> seed;  ///< absent: the job's seed
  int max_tokens = 16;
  int num_logprobs = 0;            ///< report the most probable tokens of each position, at most 20
  bool echo = false;               ///< score and return the prompt as well
  std::vector<std::string> stop;   ///< the text ends before the first of these
};

/// One message of a chat: "role", "content", then other texts that the line gives.
struct ChatMessage {
  std::vector<std::pair<std::string, std::string>> fields;
};

/// A variable that a request gives to the chat template, such as enable_thinking.
struct TemplateVariable {
  std::string name;
  std::variant<bool, std::int64_t, std::string> value;
};

/// One input line that could be read.
struct Request {
  std::string custom_id;        ///< as given, or "line-<n>" where the line has none
  std::int64_t input_line = 0;  ///< 1-based
  RequestKind kind = RequestKind::loglikelihood;
  TextOrIds context;                     ///< context, text or prompt; of a chat: empty, the messages become it
  std::vector<ChatMessage> messages;                 ///< of a chat
  std::vector<TemplateVariable> template_variables;  ///< of a chat
  std::vector<TextOrIds> continuations;  ///< of a loglikelihood: one row each, in order
  SamplingOptions sampling;
  int num_choices = 1;       ///< `n` of a completion or chat: one row each
  std::optional<int> label;  ///< index of the right continuation
};

/// Stored as numbers in results: append only, never renumber.
enum class RowStatus : std::uint8_t {
  ok = 0,
  truncated = 1,       ///< scored, but the context was cut from the left to fit the model
  bad_json = 2,
  bad_utf8 = 3,
  bad_field = 4,       ///< missing or mistyped field, or a value out of range
  unknown_kind = 5,
  too_long = 6,        ///< does not fit the model whatever is cut, or does not fit kv_tokens
  bad_token = 7,       ///< a token id outside the vocabulary
  unsupported = 8,     ///< a known request form that this version cannot run
  internal = 9,
};
constexpr bool succeeded(RowStatus status) { return status == RowStatus::ok || status == RowStatus::truncated; }
/// "ok", "truncated", "bad_json", ...
const char* to_string(RowStatus status);

enum class FinishReason : std::uint8_t {
  none = 0,    ///< not a generation, or failed
  stop = 1,    ///< a stop string or the end-of-sequence token
  length = 2,  ///< max_tokens or the model's length
};
const char* to_string(FinishReason reason);

/// A line that could not become a Request: it becomes one Row with this status and message.
struct BadLine {
  std::string custom_id;
  std::int64_t input_line = 0;
  RowStatus status = RowStatus::bad_json;
  std::string message;
};

using ParsedLine = std::variant<Request, BadLine>;

/// One result. All vectors over tokens have the same length (`topk_*`: that times topk_width).
struct Row {
  std::string custom_id;
  std::int64_t input_line = 0;
  std::int32_t choice_idx = 0;  ///< which continuation, or which of the `n` choices
  RowStatus status = RowStatus::ok;
  std::string message;
  std::int32_t num_prompt_tokens = 0;
  std::int32_t num_output_tokens = 0;  ///< scored (loglikelihood) or generated tokens
  FinishReason finish_reason = FinishReason::none;
  double sum_logprob = std::numeric_limits<double>::quiet_NaN();  ///< natural log, summed in token order in double
  bool is_greedy = false;       ///< every scored token was the argmax
  std::int64_t num_bytes = 0;   ///< UTF-8 bytes of the scored or generated text
  std::int32_t label = -1;      ///< as in the request, -1: none
  std::vector<TokenId> token_ids;      // [tokens]
  std::vector<float> token_logprobs;   // [tokens], NaN where there is none (first token of an echo)
  std::int32_t topk_width = 0;
  std::vector<TokenId> topk_ids;       // [tokens, topk_width], -1: none
  std::vector<float> topk_logprobs;    // [tokens, topk_width]
  std::string text;                    ///< generated text; empty for scored rows
};

}  // namespace moebius
