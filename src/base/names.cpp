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

const char* to_string(LayoutMode mode) { return mode == LayoutMode::split ? "split" : "colocated"; }

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

}  // namespace moebius
