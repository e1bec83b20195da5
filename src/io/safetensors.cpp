// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "io/input_file.hpp"
#include "io/safetensors_header.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_index_bytes = 100'000'000;

/// A file's bytes in memory, read-only; unmapped when it goes.
class Mapping {
 public:
  explicit Mapping(const InputFile& file) {
    const auto size = static_cast<std::size_t>(file.num_bytes());
    if (size == 0) return;  // mmap refuses an empty range; an empty span says the same
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
    if (address == MAP_FAILED) {
      throw Failure{ExitCode::unreadable_input,
                    fmt::format("cannot map {} into memory ({}) check the address space limit", file.path().string(),
                                std::strerror(errno))};
    }
    bytes_ = {static_cast<const std::byte*>(address), size};
  }
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

struct Shard {
  std::string file;
  Mapping mapping;
  SafetensorsHeader header;
};

Shard open_shard(const std::filesystem::path& path) {
  Mapping mapping(InputFile::open(path));
  auto header = parse_safetensors_header(mapping.bytes(), path.string());
  return {path.string(), std::move(mapping), std::move(header)};
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
    if (plain.empty() || plain != plain.filename() || plain == "." || plain == "..") {
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

  [[nodiscard]] const HeaderTensor& tensor(Place place) const {
    return shards[place.shard_idx].header.tensors[place.tensor_idx];
  }
  [[nodiscard]] std::optional<TensorRef> find(std::string_view name) const {
    const auto found = places.find(name);
    if (found == places.end()) return std::nullopt;
    const auto& shard = shards[found->second.shard_idx];
    const auto& entry = tensor(found->second);
    return TensorRef{entry.dtype, entry.shape,
                     shard.mapping.bytes().subspan(static_cast<std::size_t>(entry.begin),
                                                   static_cast<std::size_t>(entry.end - entry.begin)),
                     shard.file};
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
  constexpr std::size_t num_places = 64, place_bytes = 256;
  std::uint64_t hash = 0;
  for (const auto& shard : files_->shards) {
    const auto bytes = shard.mapping.bytes();
    const auto header_bytes = static_cast<std::size_t>(shard.header.num_bytes);
    hash = xxh3_64(bytes.first(header_bytes), hash);
    hash = xxh3_64(std::to_string(bytes.size()), hash);
    const auto data = bytes.subspan(header_bytes);
    for (std::size_t place_idx = 0; place_idx < num_places; ++place_idx) {
      const std::size_t begin = data.size() / num_places * place_idx;
      hash = xxh3_64(data.subspan(begin, std::min(place_bytes, data.size() - begin)), hash);
    }
  }
  return hash;
}

std::int64_t Checkpoint::total_bytes() const {
  std::int64_t total = 0;
  for (const auto& [name, place] : files_->places) total += files_->tensor(place).end - files_->tensor(place).begin;
  return total;
}

}  // namespace moebius::io
