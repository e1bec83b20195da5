// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.hpp"
#include "io/durable_file.hpp"
#include "io/safetensors_header.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {
namespace {

// Large enough for a disk, small enough for a cache: numbers are made and written while they are near.
constexpr std::int64_t piece_bytes = 4 << 20;

class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path)
      : path_(std::move(path)), file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (file_.get() < 0) os_failed("create", path_);
  }
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto done = ::write(file_.get(), bytes.data(), bytes.size());
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) os_failed("write", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
  }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
};

/// The 8 bytes of the length and the JSON, padded so that the data begins on a border of 8 bytes.
std::string header_of(std::span<const NewTensor> tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::int64_t offset = 0;
  for (const NewTensor& tensor : tensors) {
    const std::int64_t end = offset + tensor.num_bytes();
    header[tensor.name] = {{"dtype", safetensors_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

void write_shard(const std::filesystem::path& path, std::span<const NewTensor> tensors, std::size_t first_tensor,
                 const TensorSource& source) {
  OutputFile file(path);
  const std::string header = header_of(tensors);
  file.write(std::as_bytes(std::span(header)));
  std::vector<std::byte> piece;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto element_bytes = static_cast<std::int64_t>(dtype_bytes(tensors[i].dtype));
    const std::int64_t num_bytes = tensors[i].num_bytes();
    for (std::int64_t begin = 0; begin < num_bytes; begin += piece_bytes) {
      piece.resize(static_cast<std::size_t>(std::min(piece_bytes, num_bytes - begin)));
      source(first_tensor + i, begin / element_bytes, piece);
      file.write(piece);
    }
  }
}

/// First tensor of each shard, and the number of tensors at the end.
std::vector<std::size_t> cut_shards(std::span<const NewTensor> tensors, std::int64_t max_shard_bytes) {
  std::vector<std::size_t> borders{0};
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (bytes > 0 && bytes + tensors[i].num_bytes() > max_shard_bytes) {
      borders.push_back(i);
      bytes = 0;
    }
    bytes += tensors[i].num_bytes();
  }
  borders.push_back(tensors.size());
  return borders;
}

}  // namespace

std::int64_t NewTensor::num_bytes() const {
  auto bytes = static_cast<std::int64_t>(dtype_bytes(dtype));
  for (const std::int64_t extent : shape) bytes *= extent;
  return bytes;
}

std::int64_t write_checkpoint(const std::filesystem::path& directory, std::span<const NewTensor> tensors,
                              const TensorSource& source, std::int64_t max_shard_bytes) {
  MOEBIUS_EXPECT(!tensors.empty() && max_shard_bytes > 0);
  std::int64_t total = 0;
  for (const NewTensor& tensor : tensors) total += tensor.num_bytes();
  const std::vector<std::size_t> borders = cut_shards(tensors, max_shard_bytes);
  const std::size_t num_shards = borders.size() - 1;
  const auto shard_name = [&](std::size_t shard) {
    return num_shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, num_shards);
  };
  std::error_code ignored;  // what is not there need not go
  if (num_shards > 1) std::filesystem::remove(directory / "model.safetensors", ignored);  // it would hide the shards
  Json weight_map = Json::object();
  for (std::size_t shard = 0; shard < num_shards; ++shard) {
    const auto part = tensors.subspan(borders[shard], borders[shard + 1] - borders[shard]);
    write_shard(directory / shard_name(shard), part, borders[shard], source);
    for (const NewTensor& tensor : part) weight_map[tensor.name] = shard_name(shard);
  }
  if (num_shards > 1) {
    const std::string index = Json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}.dump(2) + "\n";
    OutputFile(directory / "model.safetensors.index.json").write(std::as_bytes(std::span(index)));
  }
  return total;
}

}  // namespace moebius::io
