// SPDX-License-Identifier: Apache-2.0
#include "ranks/speed_profiler.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/bf16.hpp"
#include "base/clock.hpp"
#include "base/failure.hpp"
#include "base/random.hpp"
#include "io/model_files.hpp"
#include "io/safetensors.hpp"
#include "model/expert_stack.hpp"
#include "ranks/agreement.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/rank_engine.hpp"

namespace moebius::ranks {
namespace {

/// Borders of the tiles that expert kernels work in, up to the largest call.
std::vector<int> row_counts(int max_rows) {
  std::vector<int> counts;
  for (int rows = 1; rows < max_rows; rows = rows < 8 ? rows * 2 : rows < 32 ? rows + 8 : rows * 2) counts.push_back(rows);
  counts.push_back(max_rows);
  return counts;
}

/// Rows of numbers as a router would send them.
class SampleRows {
 public:
  SampleRows(const ModelConfig& config, ComputeType compute, int max_rows)
      : hidden_(static_cast<std::size_t>(config.hidden_size)), data_(hidden_ * static_cast<std::size_t>(max_rows) * element_bytes(compute)),
        out_(hidden_ * static_cast<std::size_t>(max_rows)) {
    for (std::size_t i = 0; i < out_.size(); ++i) {
      const auto value = static_cast<float>(philox_uniform(1, i, 0) - 0.5);
      const Bf16 rounded = to_bf16(value);
      if (compute == ComputeType::fp32) std::memcpy(data_.data() + i * sizeof(float), &value, sizeof(float));
      else std::memcpy(data_.data() + i * sizeof(Bf16), &rounded, sizeof(Bf16));
    }
    for (std::size_t row = 0; row < static_cast<std::size_t>(max_rows); ++row) {
      inputs.push_back(data_.data() + row * hidden_ * element_bytes(compute));
      outputs.push_back(out_.data() + row * hidden_);
    }
  }
  std::vector<const std::byte*> inputs;
  std::vector<float*> outputs;

 private:
  std::size_t hidden_;
  std::vector<std::byte> data_;
  std::vector<float> out_;
};

double median_seconds(model::ExpertStack& stack, std::span<const policy::HostedExpert> hosted, SampleRows& rows, int num_rows, int num_repeats) {
  const auto count = static_cast<std::size_t>(num_rows);
  std::vector<double> seconds;
  for (int repeat = -2; repeat < num_repeats; ++repeat) {  // two to warm up
    const policy::HostedExpert& expert = hosted[static_cast<std::size_t>(repeat + 2) % hosted.size()];
    const double start_s = now_s();
    stack.forward(expert.layer, expert.place, std::span(rows.inputs).first(count), std::span(rows.outputs).first(count));
    if (repeat >= 0) seconds.push_back(now_s() - start_s);
  }
  std::ranges::nth_element(seconds, seconds.begin() + num_repeats / 2);
  return std::max(seconds[static_cast<std::size_t>(num_repeats / 2)], 1e-9);
}

}  // namespace

io::SpeedProfile profile_ranks(comm::Session& session, const Job& job, const ProfileOptions& options) {
  ModelConfig config;
  policy::RankLayout layout;
  std::unique_ptr<policy::TablePlacement> placement;
  std::unique_ptr<model::ExpertStack> stack;
  std::vector<policy::HostedExpert> hosted;
  together(session, [&] {
    layout = policy::decide_layout(session.num_ranks(), job.layout.mode, job.layout.attention_ranks, job.layout.expert_ranks);
    config = io::read_model_config(job.model.path);
    placement = std::make_unique<policy::LinearPlacement>(experts_per_layer(config), layout.expert_ranks);
    hosted = placement->hosted(session.rank());
    std::vector<model::HostedExpert> wanted;
    for (const policy::HostedExpert& expert : hosted) wanted.push_back({expert.layer, expert.expert});
    if (wanted.empty()) return;
    const io::Checkpoint checkpoint = io::Checkpoint::open(job.model.path);
    stack = std::make_unique<model::ExpertStack>(config, job.model.compute, checkpoint.lookup(), wanted, job.limits.expert_rows);
  });
  std::vector<io::SpeedProfile::Point> points;
  SampleRows rows(config, job.model.compute, job.limits.expert_rows);
  // Once through all experts unmeasured: the first calls of a process take twice as long as later ones.
  if (stack != nullptr) (void)median_seconds(*stack, hosted, rows, 1, static_cast<int>(hosted.size()));
  for (const int num_rows : row_counts(job.limits.expert_rows)) {
    session.barrier();
    if (stack != nullptr) points.push_back({static_cast<double>(num_rows), median_seconds(*stack, hosted, rows, num_rows, options.num_repeats)});
  }
  std::vector<std::byte> mine(points.size() * sizeof(io::SpeedProfile::Point));
  std::memcpy(mine.data(), points.data(), mine.size());
  const auto gathered = session.gather_to_root(mine);
  const std::string& name = session.processor_name();
  const auto nodes = session.gather_to_root(std::as_bytes(std::span(name)));
  io::SpeedProfile profile{.model_path = job.model.path, .compute = to_string(job.model.compute), .node = {}, .curves = {}};
  if (session.rank() != RankId(0)) return profile;
  for (const RankId rank : layout.expert_ranks) {
    auto& curve = profile.curves.emplace_back(gathered[rank.idx()].size() / sizeof(io::SpeedProfile::Point));
    std::memcpy(curve.data(), gathered[rank.idx()].data(), gathered[rank.idx()].size());
    profile.node.emplace_back(reinterpret_cast<const char*>(nodes[rank.idx()].data()), nodes[rank.idx()].size());
  }
  return profile;
}

}  // namespace moebius::ranks
