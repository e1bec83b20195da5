// SPDX-License-Identifier: Apache-2.0
// The spelling of every enumeration that users see, in one place.
#include "base/job.hpp"
#include "base/model_config.hpp"
#include "base/request.hpp"

namespace moebius {

const char* to_string(RowStatus status) {
  switch (status) {
    case RowStatus::ok: return "ok";
    case RowStatus::truncated: return "truncated";
    case RowStatus::bad_json: return "bad_json";
    case RowStatus::bad_utf8: return "bad_utf8";
    case RowStatus::bad_field: return "bad_field";
    case RowStatus::unknown_kind: return "unknown_kind";
    case RowStatus::too_long: return "too_long";
    case RowStatus::bad_token: return "bad_token";
    case RowStatus::unsupported: return "unsupported";
    case RowStatus::internal: return "internal";
  }
  return "?";
}

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::none: return "";
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
  }
  return "?";
}

const char* to_string(ComputeType type) { return type == ComputeType::bf16 ? "bf16" : "fp32"; }

const char* to_string(LayoutMode mode) {
  switch (mode) {
    case LayoutMode::split: return "split";
    case LayoutMode::colocated: return "colocated";
    case LayoutMode::replicate: return "replicate";
    case LayoutMode::automatic: return "auto";
  }
  return "?";
}

const char* to_string(Execution execution) {
  switch (execution) {
    case Execution::async: return "async";
    case Execution::lockstep: return "lockstep";
    case Execution::pipeline: return "pipeline";
  }
  return "?";
}

const char* to_string(PipelineOrder order) {
  switch (order) {
    case PipelineOrder::asas: return "asas";
    case PipelineOrder::aass: return "aass";
    case PipelineOrder::fused: return "fused";
    case PipelineOrder::automatic: return "auto";
  }
  return "?";
}

const char* to_string(SchedulerKind kind) {
  switch (kind) {
    case SchedulerKind::defrag: return "defrag";
    case SchedulerKind::mtfs: return "mtfs";
    case SchedulerKind::flfs: return "flfs";
    case SchedulerKind::mbflfs: return "mbflfs";
  }
  return "?";
}

const char* to_string(ProgressKind kind) {
  switch (kind) {
    case ProgressKind::automatic: return "auto";
    case ProgressKind::bar: return "bar";
    case ProgressKind::json: return "json";
    case ProgressKind::off: return "off";
  }
  return "?";
}

const char* to_string(PlannerKind kind) {
  switch (kind) {
    case PlannerKind::linear: return "linear";
    case PlannerKind::round_robin: return "round_robin";
    case PlannerKind::eplb: return "eplb";
    case PlannerKind::eplb_strict: return "eplb_strict";
    case PlannerKind::speed_lpt: return "speed_lpt";
    case PlannerKind::trace_lpt: return "trace_lpt";
    case PlannerKind::gem: return "gem";
  }
  return "?";
}

const char* to_string(ReplicaRouterKind kind) {
  switch (kind) {
    case ReplicaRouterKind::even: return "even";
    case ReplicaRouterKind::metro: return "metro";
    case ReplicaRouterKind::fewest_first: return "fewest_first";
    case ReplicaRouterKind::exact: return "exact";
  }
  return "?";
}

const char* to_string(CapacityMethod method) {
  switch (method) {
    case CapacityMethod::off: return "off";
    case CapacityMethod::drop: return "drop";
    case CapacityMethod::expanded_drop: return "expanded_drop";
    case CapacityMethod::one_shot: return "one_shot";
    case CapacityMethod::reroute: return "reroute";
  }
  return "?";
}

const char* to_string(CapacityMetric metric) {
  switch (metric) {
    case CapacityMetric::score: return "score";
    case CapacityMetric::order: return "order";
    case CapacityMetric::reverse: return "reverse";
    case CapacityMetric::random: return "random";
  }
  return "?";
}

const char* to_string(CapacityScope scope) { return scope == CapacityScope::expert ? "expert" : "device"; }

const char* to_string(CapacityPhase phase) {
  switch (phase) {
    case CapacityPhase::all: return "all";
    case CapacityPhase::prompts: return "prompts";
    case CapacityPhase::generation: return "generation";
  }
  return "?";
}

const char* to_string(EmulatedDevice device) {
  switch (device) {
    case EmulatedDevice::none: return "none";
    case EmulatedDevice::h100: return "h100";
    case EmulatedDevice::a100: return "a100";
    case EmulatedDevice::custom: return "custom";
    case EmulatedDevice::measured: return "profile";
  }
  return "?";
}

const char* to_string(EmulatedLink link) {
  switch (link) {
    case EmulatedLink::nvlink: return "nvlink";
    case EmulatedLink::pcie: return "pcie";
    case EmulatedLink::network: return "network";
    case EmulatedLink::custom: return "custom";
  }
  return "?";
}

const char* to_string(EmulatedModel model) {
  switch (model) {
    case EmulatedModel::own: return "own";
    case EmulatedModel::mixtral_8x7b: return "mixtral-8x7b";
    case EmulatedModel::qwen3_30b_a3b: return "qwen3-30b-a3b";
    case EmulatedModel::qwen3_235b_a22b: return "qwen3-235b-a22b";
    case EmulatedModel::deepseek_v2_lite: return "deepseek-v2-lite";
    case EmulatedModel::deepseek_v2: return "deepseek-v2";
    case EmulatedModel::deepseek_v3: return "deepseek-v3";
  }
  return "?";
}

const char* to_string(EmulatedShape shape) { return shape == EmulatedShape::published ? "published" : "checkpoint"; }

}  // namespace moebius
