// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "base/hash.hpp"
#include "io/input_file.hpp"
#include "io/safetensors_header.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_index_bytes = 100'000'000;

struct Shard {
  InputFile file;
  SafetensorsHeader header;
};

std::vector<std::byte> read_range(const InputFile& file, std::int64_t begin, std::int64_t end) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(end - begin));
  file.read(begin, {reinterpret_cast<char*>(bytes.data()), bytes.size()});
  return bytes;
}

Shard open_shard(const std::filesystem::path& path) {
  auto file = InputFile::open(path);
  const auto first = read_range(file, 0, std::min<std::int64_t>(file.num_bytes(), length_field_bytes));
  const auto length = parse_header_length(first, file.num_bytes(), path.string());
  const auto bytes = read_range(file, 0, static_cast<std::int64_t>(length_field_bytes) + length);
  auto header = parse_safetensors_header(bytes, file.num_bytes(), path.string());
  // A hint only: readers go through tensors in large pieces, from begin to end.
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return {std::move(file), std::move(header)};
}

/// Tensor name -> shard file name, as published. File names must be plain: an index is data from
/// elsewhere and must not point out of its folder.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  const auto index = read_json_file(path, max_index_bytes);
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || weight_map == index.end() || !weight_map->is_object() || weight_map->empty()) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{} names no tensors (weight_map is missing, empty or not an object) download it again",
                              path.string())};
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, file] : weight_map->items()) {
    const auto plain =
        file.is_string() ? std::filesystem::path(file.get_ref<const std::string&>()) : std::filesystem::path{};
    const bool is_printable = std::ranges::none_of(plain.native(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (plain.empty() || plain != plain.filename() || plain == "." || plain == ".." || !is_printable) {
      throw Failure{ExitCode::unreadable_input,
                    fmt::format("{}: tensor {} lies in {} (that is not the name of a file in the same folder) download "
                                "it again",
                                path.string(), json_excerpt(Json(name), 200), json_excerpt(file))};
    }
    shard_of.emplace(name, plain.string());
  }
  return shard_of;
}

}  // namespace

struct Checkpoint::Files {
  std::vector<Shard> shards;  // ascending file names
  struct Place {
    std::size_t shard_idx, tensor_idx;
  };
  std::map<std::string, Place, std::less<>> places;
  ReadCounters counters;

  [[nodiscard]] const HeaderTensor& tensor(Place place) const {
    return shards[place.shard_idx].header.tensors[place.tensor_idx];
  }
  void read(Place place, std::size_t first_byte, std::span<std::byte> out) {
    const HeaderTensor& entry = tensor(place);
    const auto num_bytes = static_cast<std::size_t>(entry.end - entry.begin);
    MOEBIUS_EXPECT(first_byte <= num_bytes && out.size() <= num_bytes - first_byte);
    try {
      shards[place.shard_idx].file.read(entry.begin + static_cast<std::int64_t>(first_byte),
                                        {reinterpret_cast<char*>(out.data()), out.size()});
    } catch (const Failure& failure) {
      throw Failure{failure.code(), fmt::format("tensor {} cannot be read: {}", json_excerpt(Json(entry.name), 200), failure.what())};
    }
    counters.bytes += static_cast<std::int64_t>(out.size());
    counters.calls += 1;
  }
  [[nodiscard]] std::optional<TensorRef> find(std::string_view name) {
    const auto found = places.find(name);
    if (found == places.end()) return std::nullopt;
    const auto& entry = tensor(found->second);
    return TensorRef{.dtype = entry.dtype,
                     .shape = entry.shape,
                     .num_bytes = static_cast<std::size_t>(entry.end - entry.begin),
                     .read = [this, place = found->second](std::size_t first_byte, std::span<std::byte> out) { read(place, first_byte, out); },
                     .file = shards[found->second.shard_idx].file.path().string()};
  }
};

Checkpoint::Checkpoint(std::unique_ptr<Files> files) : files_(std::move(files)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open_file(const std::filesystem::path& file) {
  auto files = std::make_unique<Files>();
  files->shards.push_back(open_shard(file));
  const auto& tensors = files->shards[0].header.tensors;
  for (std::size_t idx = 0; idx < tensors.size(); ++idx) files->places.emplace(tensors[idx].name, Files::Place{0, idx});
  return Checkpoint(std::move(files));
}

Checkpoint Checkpoint::open(const std::filesystem::path& model_dir) {
  const auto single = model_dir / "model.safetensors", index = model_dir / "model.safetensors.index.json";
  std::error_code ignored;  // a folder that cannot be looked into has neither file
  if (std::filesystem::exists(single, ignored)) return open_file(single);
  if (!std::filesystem::exists(index, ignored)) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{} holds no weights (neither model.safetensors nor model.safetensors.index.json is "
                              "there{}) name the folder of a Hugging Face checkpoint",
                              model_dir.string(), where_relative_paths_start(model_dir))};
  }
  const auto shard_of = read_index(index);
  auto files = std::make_unique<Files>();
  std::map<std::string, std::map<std::string, std::size_t>> tensors_of;  // shard file -> tensor -> index
  for (const auto& [name, file] : shard_of) tensors_of[file];
  std::map<std::string, std::size_t> shard_idx;
  for (auto& [file, tensors] : tensors_of) {
    shard_idx[file] = files->shards.size();
    files->shards.push_back(open_shard(model_dir / file));
    const auto& entries = files->shards.back().header.tensors;
    for (std::size_t idx = 0; idx < entries.size(); ++idx) tensors.emplace(entries[idx].name, idx);
  }
  for (const auto& [name, file] : shard_of) {
    const auto found = tensors_of[file].find(name);
    if (found == tensors_of[file].end()) {
      throw Failure{ExitCode::unreadable_input,
                    fmt::format("tensor {} is not in {} ({} says that it is) download both again",
                                json_excerpt(Json(name), 200), (model_dir / file).string(), index.string())};
    }
    files->places.emplace(name, Files::Place{shard_idx[file], found->second});
  }
  return Checkpoint(std::move(files));
}

std::optional<TensorRef> Checkpoint::find(std::string_view name) const { return files_->find(name); }

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(files_->places.size());
  for (const auto& [name, place] : files_->places) names.push_back(name);
  return names;
}

TensorLookup Checkpoint::lookup() const {
  return [files = files_.get()](std::string_view name) { return files->find(name); };
}

std::uint64_t Checkpoint::fingerprint() const {
  // Headers alone would not tell two trainings of one architecture apart, and hashing every weight
  // would read the whole checkpoint: places spread over each file are cheap and differ.
  constexpr std::int64_t num_places = 64, place_bytes = 256;
  std::uint64_t hash = 0;
  for (const auto& shard : files_->shards) {
    hash = xxh3_64(read_range(shard.file, 0, shard.header.num_bytes), hash);
    hash = xxh3_64(std::to_string(shard.file.num_bytes()), hash);
    const std::int64_t data_bytes = shard.file.num_bytes() - shard.header.num_bytes;
    for (std::int64_t place_idx = 0; place_idx < num_places; ++place_idx) {
      const std::int64_t begin = data_bytes / num_places * place_idx;
      const std::int64_t end = std::min(begin + place_bytes, data_bytes);
      hash = xxh3_64(read_range(shard.file, shard.header.num_bytes + begin, shard.header.num_bytes + end), hash);
    }
  }
  return hash;
}

ReadCounters Checkpoint::counters() const { return files_->counters; }

std::int64_t Checkpoint::total_bytes() const {
  std::int64_t total = 0;
  for (const auto& [name, place] : files_->places) total += files_->tensor(place).end - files_->tensor(place).begin;
  return total;
}

}  // namespace moebius::io
