// SPDX-License-Identifier: Apache-2.0
// Checkpoints: safetensors files, the index of shards, and loading a model from tensors that are not what
// they should be.
#include <array>
#include <memory>

#include "io/model_files.hpp"
#include "io/safetensors.hpp"
#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace moebius::test {
namespace {

const std::string small_header =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"none":{"dtype":"F16","shape":[0,7],"data_offsets":[32,32]},)"
    R"("c":{"dtype":"F8_E4M3","shape":[2,2,2],"data_offsets":[32,40]},"scalar":{"dtype":"I64","shape":[],"data_offsets":[40,48]},)"
    R"("c_scale":{"dtype":"F32","shape":[1,1],"data_offsets":[48,52]},"u":{"dtype":"U8","shape":[4],"data_offsets":[52,56]}})";
const std::string small_data(56, 'x');

std::string with_length(const std::string& json, const std::string& data) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>((json.size() >> (8 * i)) & 0xff);
  return file + json + data;
}

/// A damaged file: mostly its header, with the length put right, so that the damage is read.
std::string damage(Mutator& mutator, const std::string& header, const std::string& data, std::span<const std::string> others) {
  switch (mutator.pick(8)) {
    case 0: return mutator.mutate(with_length(header, data), others);
    case 1: return with_length(header, data.substr(0, mutator.pick(data.size() + 1)));
    case 2: return with_length(header, data + std::string(mutator.pick(64), 'y'));
    case 3: return with_length(header + std::string(mutator.pick(9), ' '), data);
    default: return with_length(mutator.mutate(header, others), data);
  }
}

/// Looks at every byte of every tensor, as whoever loads a model does.
void read_all(const io::Checkpoint& checkpoint) {
  std::size_t sum = 0;
  std::int64_t total = 0;
  for (const std::string& name : checkpoint.names()) {
    const auto tensor = checkpoint.find(name);
    if (!tensor) throw Problem("a tensor that is listed is not found");
    for (const std::byte byte : read_bytes(*tensor)) sum += std::to_integer<std::size_t>(byte);
    total += static_cast<std::int64_t>(tensor->num_bytes);
  }
  if (checkpoint.total_bytes() != total) throw Problem("total_bytes is not the sum of the tensors");
  if (checkpoint.fingerprint() + sum == 1) throw Problem("the sums meet");  // so that nothing is optimised away
}

FuzzTarget safetensors_target(const std::filesystem::path& scratch) {
  return {"safetensors",
          [file = scratch / "x.safetensors"](Mutator& mutator) {
            write_whole(file, damage(mutator, small_header, small_data, {}));
            return read_or_refuse([&] { read_all(io::Checkpoint::open_file(file)); });
          },
          2000};
}

FuzzTarget shards_target(const std::filesystem::path& scratch) {
  const std::string index = R"({"metadata":{"total_size":80},"weight_map":{"a":"m-1.safetensors","b.weight":"m-1.safetensors",)"
                            R"("none":"m-1.safetensors","x":"m-2.safetensors"}})";
  const std::string second = R"({"x":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}})";
  const auto folder = scratch / "shards";
  std::filesystem::create_directories(folder);
  return {"shards",
          [=](Mutator& mutator) {
            const std::size_t which = mutator.pick(4);
            write_whole(folder / "model.safetensors.index.json", which < 2 ? mutator.mutate(index, std::array{small_header}) : index);
            write_whole(folder / "m-1.safetensors", which == 2 ? damage(mutator, small_header, small_data, std::array{second})
                                                               : with_length(small_header, small_data));
            write_whole(folder / "m-2.safetensors", which == 3 ? damage(mutator, second, small_data.substr(0, 24), std::array{small_header})
                                                               : with_length(second, small_data.substr(0, 24)));
            return read_or_refuse([&] { read_all(io::Checkpoint::open(folder)); });
          },
          800};
}

FuzzTarget loading_target(const std::filesystem::path& scratch) {
  const std::string whole = read_whole(source_path("tests/data/goldens/models/qwen3_moe_tied/model.safetensors"));
  std::size_t header_bytes = 0;
  for (std::size_t i = 8; i-- > 0;) header_bytes = header_bytes << 8 | static_cast<unsigned char>(whole[i]);
  const std::string header = whole.substr(8, header_bytes), data = whole.substr(8 + header_bytes);
  const ModelConfig config = io::read_model_config(source_path("tests/data/goldens/models/qwen3_moe_tied"));
  std::vector<model::HostedExpert> hosted;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    for (int expert = 0; config.is_moe(LayerId(layer)) && expert < config.num_experts; ++expert) {
      hosted.push_back({LayerId(layer), ExpertId(expert)});
    }
  }
  return {"loading",
          [=, file = scratch / "model.safetensors"](Mutator& mutator) {
            // One edit in a header of many tensors: what is right around it gets the load going.
            write_whole(file, with_length(mutator.mutate(header, {}), data));
            const ComputeType compute = mutator.pick(2) == 0 ? ComputeType::fp32 : ComputeType::bf16;
            return read_or_refuse([&] {
              const io::Checkpoint checkpoint = io::Checkpoint::open_file(file);
              const model::AttentionStack attention(config, compute, checkpoint.lookup(), 4);
              const model::ExpertStack experts(config, compute, checkpoint.lookup(), hosted, 4);
            });
          },
          100};
}

}  // namespace

std::vector<FuzzTarget> weight_targets(const std::filesystem::path& scratch) {
  return {safetensors_target(scratch), shards_target(scratch), loading_target(scratch)};
}

}  // namespace moebius::test
