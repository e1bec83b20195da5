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
  std::vector<const std::byte*> blocks;
  std::vector<float> q, out;

  static std::size_t kv_bytes(const kernels::KvLayout& layout, int num_tokens) {
    return std::size_t((num_tokens + 31) / 32) * layout.block_layer_bytes();
  }

  Sequence(kernels::KvLayout kv_layout, int num_heads, int num_tokens, int num_queries, LargeMemory& memory)
      : layout(kv_layout),
        q_stride(std::int64_t{num_heads} * kv_layout.key_dim),
        out_stride(std::int64_t{num_heads} * kv_layout.value_dim),
        q(random_floats(std::size_t(num_queries) * std::size_t(q_stride))),
        out(std::size_t(num_queries) * std::size_t(out_stride)) {
    const std::size_t block_bytes = layout.block_layer_bytes();
    const std::span<std::byte> kv_blocks = memory.take(kv_bytes(layout, num_tokens));
    for (std::size_t at = 0; at < kv_blocks.size(); at += block_bytes) blocks.push_back(kv_blocks.data() + at);
    const auto kv = random_floats(std::size_t(layout.num_kv_heads * layout.key_dim));
    for (int position = 0; position < num_tokens; ++position) {
      std::byte* block = kv_blocks.data() + std::size_t(position / 32) * block_bytes;
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
  const kernels::KvLayout layout{type, heads.num_kv_heads, heads.key_dim, heads.value_dim};
  LargeMemory memory(Sequence::kv_bytes(layout, num_tokens) + 64);
  Sequence sequence(layout, heads.num_heads, num_tokens, num_tokens, memory);
  const kernels::SegmentQueries segment = sequence.segment(0, num_tokens);
  const double flops = 1.0 * (heads.key_dim + heads.value_dim) * heads.num_heads * num_tokens * (num_tokens + 1);
  meter_.run(state, {type, flops, 0}, [&] {
    kernels::attention(sequence.layout, {.num_heads = heads.num_heads, .scale = 0.088F}, {&segment, 1});
  });
}

void AttentionBench::decode(benchmark::State& state, ComputeType type, Heads heads) {
  const int position = static_cast<int>(state.range(0));
  const kernels::KvLayout layout{type, heads.num_kv_heads, heads.key_dim, heads.value_dim};
  LargeMemory memory(Sequence::kv_bytes(layout, position + 1) + 64);
  Sequence sequence(layout, heads.num_heads, position + 1, 1, memory);
  const kernels::SegmentQueries segment = sequence.segment(position, 1);
  const double flops = 2.0 * (heads.key_dim + heads.value_dim) * heads.num_heads * (position + 1);
  const double bytes =
      1.0 * (heads.key_dim + heads.value_dim) * heads.num_kv_heads * (position + 1) * static_cast<double>(element_bytes(type));
  meter_.run(state, {type, flops, bytes}, [&] {
    kernels::attention(sequence.layout, {.num_heads = heads.num_heads, .scale = 0.088F}, {&segment, 1});
  });
}

void AttentionBench::decode_many(benchmark::State& state, ComputeType type, Heads heads) {
  const int position = 159, num_sequences = static_cast<int>(state.range(0));
  const kernels::KvLayout layout{type, heads.num_kv_heads, heads.key_dim, heads.value_dim};
  LargeMemory memory(static_cast<std::size_t>(num_sequences) * Sequence::kv_bytes(layout, position + 1) + 64);
  std::vector<Sequence> sequences;
  std::vector<kernels::SegmentQueries> segments;
  for (int i = 0; i < num_sequences; ++i) sequences.emplace_back(layout, heads.num_heads, position + 1, 1, memory);
  for (Sequence& sequence : sequences) segments.push_back(sequence.segment(position, 1));
  const double keys = static_cast<double>(num_sequences) * (position + 1);
  const double flops = 2.0 * (heads.key_dim + heads.value_dim) * heads.num_heads * keys;
  const double bytes = 1.0 * (heads.key_dim + heads.value_dim) * heads.num_kv_heads * keys * static_cast<double>(element_bytes(type));
  meter_.run(state, {type, flops, bytes}, [&] {
    kernels::attention(layout, {.num_heads = heads.num_heads, .scale = 0.088F}, segments);
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
      // Keys and values of 160 positions each, together more than the caches hold.
      add_benchmark("attention_decode_many" + suffix,
                    [this, type, heads](benchmark::State& state) { decode_many(state, type, heads); })
          ->ArgName("sequences")->Arg(512);
    }
  }
}

}  // namespace moebius::bench
