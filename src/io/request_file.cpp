// SPDX-License-Identifier: Apache-2.0
#include "io/request_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "base/hash.hpp"
#include "io/prompt_prefix.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t buffer_bytes = 1 << 20;
constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// Cuts a stream of bytes into lines; holds no bytes but the beginning of the line that it is in.
class LineCutter {
 public:
  explicit LineCutter(std::int64_t begin) : begin_(begin) {}

  /// `chunk` begins at byte `offset` of the file, where the last one ended.
  void take(std::string_view chunk, std::int64_t offset) {
    std::size_t at = 0;
    while (at < chunk.size()) {
      const auto* found = static_cast<const char*>(std::memchr(chunk.data() + at, '\n', chunk.size() - at));
      const std::size_t end = found == nullptr ? chunk.size() : static_cast<std::size_t>(found - chunk.data());
      look_at(chunk.substr(at, end - at), offset + static_cast<std::int64_t>(at));
      if (head_.size() < max_prefix_bytes) head_.append(chunk.substr(at, std::min(end - at, max_prefix_bytes - head_.size())));
      if (found != nullptr) finish_line(offset + static_cast<std::int64_t>(end));
      at = end + 1;
    }
  }
  /// The last line may lack its line break.
  std::vector<RequestFile::Line> finish(std::int64_t end_of_file) {
    if (begin_ < end_of_file) finish_line(end_of_file);
    return std::move(lines_);
  }

 private:
  void look_at(std::string_view part, std::int64_t offset) {
    // From the end: the last byte that is not blank ends the text of the line so far.
    for (std::size_t idx = part.size(); idx > 0; --idx) {
      if (is_blank(part[idx - 1])) continue;
      text_end_ = offset + static_cast<std::int64_t>(idx);
      return;
    }
  }
  void finish_line(std::int64_t end) {
    ++line_;
    if (text_end_ > begin_) lines_.push_back({begin_, text_end_ - begin_, line_, prefix_keys(head_)});
    begin_ = end + 1;
    head_.clear();
  }

  std::vector<RequestFile::Line> lines_;
  std::string head_;           // first bytes of the line that is being read
  std::int64_t begin_;         // of the line that is being read
  std::int64_t text_end_ = 0;  // end of what is not blank, of this line if beyond begin_
  std::int64_t line_ = 0;
};

}  // namespace

RequestFile::RequestFile(InputFile file) : file_(std::move(file)), is_plain_text_(file_.path().extension() == ".txt") {}

void RequestFile::fail_empty() const {
  throw Failure{ExitCode::unreadable_input,
                fmt::format("{} holds no request (it is empty or blank) set input.path to a file with a request a line",
                            file_.path().string())};
}

std::int64_t RequestFile::mark_bytes() const {
  std::string start(std::min(byte_order_mark.size(), static_cast<std::size_t>(file_.num_bytes())), '\0');
  file_.read(0, start);
  return start == byte_order_mark ? static_cast<std::int64_t>(start.size()) : 0;
}

RequestFile RequestFile::open(const std::filesystem::path& path) {
  RequestFile file(InputFile::open(path));
  if (file.num_bytes() == 0) file.fail_empty();
  return file;
}

std::vector<RequestFile::Line> RequestFile::index() const {
  const auto begin = mark_bytes();
  if (is_plain_text_) {
    if (begin == num_bytes()) fail_empty();
    return {{.offset = begin, .num_bytes = num_bytes() - begin, .line = 1}};
  }
  LineCutter cutter(begin);
  std::string buffer(static_cast<std::size_t>(std::min(buffer_bytes, num_bytes())), '\0');
  for (std::int64_t offset = begin; offset < num_bytes();) {
    const auto part = std::span(buffer).first(static_cast<std::size_t>(std::min(buffer_bytes, num_bytes() - offset)));
    file_.read(offset, part);
    cutter.take({part.data(), part.size()}, offset);
    offset += static_cast<std::int64_t>(part.size());
  }
  auto lines = cutter.finish(num_bytes());
  if (lines.empty()) fail_empty();
  return lines;
}

std::string RequestFile::read(const Line& line) const {
  MOEBIUS_EXPECT(line.offset >= 0 && line.num_bytes >= 0 && line.num_bytes <= num_bytes() - line.offset);
  std::string text(static_cast<std::size_t>(line.num_bytes), '\0');
  file_.read(line.offset, text);
  return text;
}

ParsedRequest RequestFile::read_request(const Line& line) const {
  const auto text = read(line);
  return is_plain_text_ ? plain_text_request(text, file_.path().filename().string()) : parse_request(text, line.line);
}

std::uint64_t RequestFile::fingerprint() const {
  std::string buffer(static_cast<std::size_t>(std::min(buffer_bytes, num_bytes())), '\0');
  std::uint64_t hash = 0;
  for (std::int64_t offset = 0; offset < num_bytes();) {
    const auto part = std::span(buffer).first(static_cast<std::size_t>(std::min(buffer_bytes, num_bytes() - offset)));
    file_.read(offset, part);
    hash = xxh3_64(std::string_view(part.data(), part.size()), hash);  // chained by the seed
    offset += static_cast<std::int64_t>(part.size());
  }
  return hash;
}

}  // namespace moebius::io
