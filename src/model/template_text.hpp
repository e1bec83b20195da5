// SPDX-License-Identifier: Apache-2.0
#pragma once
// Strings as Python treats them, for chat templates: characters are code points of valid UTF-8, white
// space is that of str.strip().

#include <string>
#include <string_view>
#include <vector>

namespace moebius::model {

enum class Side : std::uint8_t { left, right, both };

/// One view per character.
std::vector<std::string_view> characters_of(std::string_view text);
/// `text` without the characters of `set` at its ends; white space where `set` is empty.
std::string_view stripped(std::string_view text, Side side, std::string_view set = {});
/// str.split(separator, max_splits); an empty separator means runs of white space. max_splits < 0: all.
std::vector<std::string_view> split_text(std::string_view text, std::string_view separator, std::int64_t max_splits);
/// Only for texts of ASCII letters; faults as unsupported otherwise.
enum class LetterCase : std::uint8_t { upper, lower, title, capitalize };
std::string with_case(std::string_view text, LetterCase letter_case);
/// In quotes, escaped as json.dumps(text, ensure_ascii=False).
std::string json_string(std::string_view text);

}  // namespace moebius::model
