// SPDX-License-Identifier: Apache-2.0
#include "policy/routing_recorder.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

std::size_t step_size(const RoutingTrace& trace) {
  return static_cast<std::size_t>(trace.num_layers) * static_cast<std::size_t>(trace.num_experts);
}

void double_steps(RoutingTrace& trace) {
  const std::size_t size = step_size(trace);
  const int num_steps = (trace.num_steps + 1) / 2;
  for (int step = 0; step < trace.num_steps; ++step) {
    const std::size_t from = static_cast<std::size_t>(step) * size, to = static_cast<std::size_t>(step / 2) * size;
    for (std::size_t i = 0; i < size; ++i) {
      const std::int32_t rows = trace.rows[from + i];
      trace.rows[to + i] = step % 2 == 0 ? rows : trace.rows[to + i] + rows;
    }
  }
  trace.num_steps = num_steps;
  trace.rows.resize(static_cast<std::size_t>(num_steps) * size);
  trace.step_tokens *= 2;
}

}  // namespace

RoutingTrace add_traces(std::vector<RoutingTrace> traces) {
  std::erase_if(traces, [](const RoutingTrace& trace) { return trace.step_tokens == 0; });
  if (traces.empty()) return {};
  const std::int64_t longest = std::ranges::max_element(traces, {}, &RoutingTrace::step_tokens)->step_tokens;
  for (RoutingTrace& trace : traces) {
    MOEBIUS_EXPECT(step_size(trace) == step_size(traces.front()));
    while (trace.step_tokens < longest) double_steps(trace);
  }
  RoutingTrace sum = std::move(*std::ranges::max_element(traces, {}, &RoutingTrace::num_steps));
  const std::size_t size = step_size(sum);
  for (const RoutingTrace& trace : traces) {
    for (std::size_t i = 0; i < trace.rows.size() && size > 0; ++i) sum.rows[i] += trace.rows[i];
  }
  return sum;
}

RoutingRecorder::RoutingRecorder(int num_layers, int num_experts)
    : trace_{first_step_tokens, 0, num_layers, num_experts, {}}, num_tokens_(static_cast<std::size_t>(num_layers)) {}

void RoutingRecorder::add(LayerId layer, std::span<const std::int32_t> experts) {
  MOEBIUS_EXPECT(layer.valid() && layer.value < trace_.num_layers);
  const std::int64_t token = num_tokens_[layer.idx()]++;
  while (token / trace_.step_tokens >= max_steps) double_steps(trace_);
  const auto step = static_cast<int>(token / trace_.step_tokens);
  if (step >= trace_.num_steps) {
    trace_.num_steps = step + 1;
    trace_.rows.resize(static_cast<std::size_t>(trace_.num_steps) * step_size(trace_));
  }
  const std::size_t first = static_cast<std::size_t>(step) * step_size(trace_) + layer.idx() * static_cast<std::size_t>(trace_.num_experts);
  for (const std::int32_t expert : experts) {
    MOEBIUS_EXPECT(expert >= 0 && expert < trace_.num_experts);
    ++trace_.rows[first + static_cast<std::size_t>(expert)];
  }
}

}  // namespace moebius::policy
