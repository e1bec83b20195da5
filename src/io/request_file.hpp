// SPDX-License-Identifier: Apache-2.0
#pragma once
// The input of a job: JSON lines, or a text file that is one request. One rank calls index() and tells
// the others; every rank opens the file and reads the lines that it claims.
//
// Reading takes memory for one line, indexing for one buffer; blank lines, \r\n and a missing last line
// break are all fine, and so is a byte order mark. The file must not change while a job runs.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/prefix_keys.hpp"
#include "io/input_file.hpp"
#include "io/request_reader.hpp"

namespace moebius::io {

class RequestFile {
 public:
  /// Plain data, so that it can be sent to other ranks as bytes.
  struct Line {
    std::int64_t offset = 0;     ///< of the first byte
    std::int64_t num_bytes = 0;  ///< without the line break
    std::int64_t line = 0;       ///< 1-based, blank lines counted
    PrefixKeys prefix{};         ///< of its prompt (prompt_prefix.hpp)
    bool operator==(const Line&) const = default;
  };

  /// Throws Failure{unreadable_input} for what is missing, no regular file, or empty. A path that ends in
  /// .txt is one loglikelihood_rolling request, with the file name as custom_id.
  static RequestFile open(const std::filesystem::path& path);

  /// All lines that are not blank, in order; throws Failure{unreadable_input} where there are none.
  [[nodiscard]] std::vector<Line> index() const;
  /// The bytes of a line that index() gave, on this or another rank.
  [[nodiscard]] std::string read(const Line& line) const;
  /// read() and parse.
  [[nodiscard]] ParsedRequest read_request(const Line& line) const;
  /// Hash of the whole content; reads the file once.
  [[nodiscard]] std::uint64_t fingerprint() const;

  [[nodiscard]] bool is_plain_text() const { return is_plain_text_; }
  [[nodiscard]] std::int64_t num_bytes() const { return file_.num_bytes(); }

 private:
  explicit RequestFile(InputFile file);
  [[noreturn]] void fail_empty() const;
  [[nodiscard]] std::int64_t mark_bytes() const;

  InputFile file_;
  bool is_plain_text_;
};

}  // namespace moebius::io
