// SPDX-License-Identifier: Apache-2.0
#include "ranks/input_shapes.hpp"

#include <algorithm>
#include <cmath>

namespace moebius::ranks {
namespace {

double tokens_of(const TextOrIds& field) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&field)) return static_cast<double>(ids->size());
  return std::ceil(static_cast<double>(std::get<std::string>(field).size()) / text_bytes_per_token);
}

double tokens_of_chat(const Request& request) {
  double bytes = 0;
  for (const ChatMessage& message : request.messages) {
    for (const auto& [name, text] : message.fields) bytes += static_cast<double>(text.size());
  }
  return std::ceil(bytes / text_bytes_per_token);
}

policy::RequestShape rolling(double tokens, double most) {
  // Windows of the longest length that fits, each token scored once.
  const double windows = std::max(1.0, std::ceil(tokens / most));
  return {.prompt_tokens = std::max(1.0, tokens / windows), .scored_tokens = tokens / windows, .count = windows};
}

}  // namespace

policy::RequestShape shape_of(const Request& request, int max_positions) {
  const double most = std::max(2, max_positions);
  const double context = request.kind == RequestKind::chat ? tokens_of_chat(request) : tokens_of(request.context);
  if (request.kind == RequestKind::loglikelihood_rolling) return rolling(context, most);
  policy::RequestShape shape{.prompt_tokens = std::clamp(context, 1.0, most)};
  if (request.kind == RequestKind::loglikelihood) {
    // The first token of a continuation comes out of the context, and the last is never fed.
    for (const TextOrIds& continuation : request.continuations) {
      const double tokens = std::min(tokens_of(continuation), most);
      shape.scored_tokens += tokens;
      shape.prompt_tokens += std::max(0.0, tokens - 1);
    }
    return shape;
  }
  shape.new_tokens = std::min<double>(request.sampling.max_tokens, most - shape.prompt_tokens);
  shape.choices = std::max(1, request.num_choices);
  if (request.sampling.echo) shape.scored_tokens = shape.prompt_tokens;
  return shape;
}

std::vector<policy::RequestShape> shapes_of(const io::RequestFile& file, std::span<const io::RequestFile::Line> lines, int max_positions, std::size_t most_read) {
  std::vector<policy::RequestShape> shapes;
  const std::size_t num_read = std::min(lines.size(), most_read);
  for (std::size_t i = 0; i < num_read; ++i) {
    const std::size_t first = i * lines.size() / num_read, next = (i + 1) * lines.size() / num_read;
    const io::ParsedRequest parsed = file.read_request(lines[first]);
    const auto* request = std::get_if<Request>(&parsed.line);
    if (request == nullptr) continue;  // becomes a row with a status
    shapes.push_back(shape_of(*request, max_positions));
    shapes.back().count *= static_cast<double>(next - first);
  }
  return shapes;
}

}  // namespace moebius::ranks
