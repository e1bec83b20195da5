// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "kernels/attention.hpp"
#include "tests/bench/kernels_bench.hpp"

namespace moebius::bench {

namespace {

/// A sequence of num_tokens with its KV blocks and queries.
struct Sequence {
  kernels::KvLayout layout;
  std::int64_t q_stride, out_stride;
  std::vector<std::byte> memory;
  std::vector<const std::byte*> blocks;
  std::vector<float> q, out;

  Sequence(kernels::KvLayout kv_layout, int num_heads, int num_tokens, int num_queries)
      : layout(kv_layout),
        q_stride(std::int64_t{num_heads} * kv_layout.key_dim),
        out_stride(std::int64_t{num_heads} * kv_layout.value_dim),
        q(random_floats(std::size_t(num_queries) * std::size_t(q_stride))),
        out(std::size_t(num_queries) * std::size_t(out_stride)) {
    const std::size_t block_bytes = layout.block_layer_bytes();
    const auto num_blocks = std::size_t((num_tokens + 31) / 32);
    memory.resize(num_blocks * block_bytes);
    for (std::size_t i = 0; i < num_blocks; ++i) blocks.push_back(memory.data() + i * block_bytes);
    const auto kv = random_floats(std::size_t(layout.num_kv_heads * layout.key_dim));
    for (int position = 0; position < num_tokens; ++position) {
      std::byte* block = memory.data() + std::size_t(position / 32) * block_bytes;
      kernels::store_kv(layout, block, position % 32, kv.data(), kv.data());
    }
  }

  kernels::SegmentQueries segment(int first_position, int num_tokens) {
    return {q.data(), q_stride, out.data(), out_stride, blocks.data(), first_position, num_tokens};
  }
};

}  // namespace

void AttentionBench::prefill(benchmark::State& state, ComputeType type, Heads heads) {
  const int num_tokens = static_cast<int>(state.range(0));
  Sequence sequence({type, heads.num_kv_heads, heads.key_dim, heads.value_dim}, heads.num_heads, num_tokens, num_tokens);
  const kernels::SegmentQueries segment = sequence.segment(0, num_tokens);
  const double flops = 1.0 * (heads.key_dim + heads.value_dim) * heads.num_heads * num_tokens * (num_tokens + 1);
  meter_.run(state, {type, flops, 0}, [&] {
    kernels::attention(sequence.layout, {.num_heads = heads.num_heads, .scale = 0.088F}, {&segment, 1});
  });
}

void AttentionBench::decode(benchmark::State& state, ComputeType type, Heads heads) {
  const int position = static_cast<int>(state.range(0));
  Sequence sequence({type, heads.num_kv_heads, heads.key_dim, heads.value_dim}, heads.num_heads, position + 1, 1);
  const kernels::SegmentQueries segment = sequence.segment(position, 1);
  const double flops = 2.0 * (heads.key_dim + heads.value_dim) * heads.num_heads * (position + 1);
  const double bytes =
      1.0 * (heads.key_dim + heads.value_dim) * heads.num_kv_heads * (position + 1) * static_cast<double>(element_bytes(type));
  meter_.run(state, {type, flops, bytes}, [&] {
    kernels::attention(sequence.layout, {.num_heads = heads.num_heads, .scale = 0.088F}, {&segment, 1});
  });
}

void AttentionBench::add_benchmarks() {
  // As in Qwen3-30B-A3B, in the model of the end-to-end measurement, and the compressed cache of DeepSeek-V3.
  for (const Heads heads : {Heads{32, 4, 128, 128}, Heads{16, 4, 64, 64}, Heads{128, 1, 576, 512}}) {
    for (const ComputeType type : {ComputeType::fp32, ComputeType::bf16}) {
      const std::string suffix = std::string("_") + to_string(type) + "_" + std::to_string(heads.num_heads) + "/" +
                                 std::to_string(heads.num_kv_heads) + "x" + std::to_string(heads.key_dim);
      add_benchmark("attention_prefill" + suffix,
                    [this, type, heads](benchmark::State& state) { prefill(state, type, heads); })
          ->ArgName("tokens")->Arg(256)->Arg(512)->Arg(1024)->Unit(benchmark::kMillisecond);
      add_benchmark("attention_decode" + suffix,
                    [this, type, heads](benchmark::State& state) { decode(state, type, heads); })
          ->ArgName("position")->Arg(159)->Arg(1023)->Arg(65535);
    }
  }
}

}  // namespace moebius::bench
