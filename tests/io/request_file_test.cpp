// SPDX-License-Identifier: Apache-2.0
#include "io/request_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Line = RequestFile::Line;

class RequestFileTest : public FolderTest {
 protected:
  std::vector<Line> index(const std::string& content) const {
    return RequestFile::open(write("x.jsonl", content)).index();
  }
};

/// What index() must say, written the plain way on a text in memory.
std::vector<Line> plain_index(const std::string& content) {
  std::vector<Line> lines;
  std::size_t begin = content.starts_with("\xef\xbb\xbf") ? 3 : 0;
  for (std::int64_t line = 1; begin < content.size(); ++line) {
    const auto end = std::min(content.find('\n', begin), content.size());
    auto text = content.substr(begin, end - begin);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.pop_back();
    if (!text.empty()) {
      lines.push_back({static_cast<std::int64_t>(begin), static_cast<std::int64_t>(text.size()), line});
    }
    begin = end + 1;
  }
  return lines;
}

TEST_F(RequestFileTest, finds_lines) {
  EXPECT_THAT(index("{}\n{\"a\":1}\n"), ElementsAre(Line{0, 2, 1}, Line{3, 7, 2}));
  EXPECT_THAT(index("{}"), ElementsAre(Line{0, 2, 1}));                                   // no last line break
  EXPECT_THAT(index("{}\r\n[]\r\n"), ElementsAre(Line{0, 2, 1}, Line{4, 2, 2}));          // Windows
  EXPECT_THAT(index("\n \t\n{}\n\n\r\n[]"), ElementsAre(Line{4, 2, 3}, Line{10, 2, 6}));  // blank lines count
  EXPECT_THAT(index("\xef\xbb\xbf{}\n"), ElementsAre(Line{3, 2, 1}));                     // byte order mark
  EXPECT_THAT(index(std::string("\0\n", 2)), ElementsAre(Line{0, 1, 1}));                 // a NUL is not blank
}

TEST_F(RequestFileTest, reads_what_it_found) {
  const auto file = RequestFile::open(
      write("x.jsonl", "\n{\"custom_id\":\"a\",\"kind\":\"loglikelihood_rolling\",\"text\":\"t\"}\r\nbad"));
  const auto lines = file.index();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(file.read(lines[1]), "bad");
  EXPECT_EQ(std::get<Request>(file.read_request(lines[0]).line).custom_id, "a");
  EXPECT_EQ(std::get<Request>(file.read_request(lines[0]).line).input_line, 2);
  EXPECT_EQ(std::get<BadLine>(file.read_request(lines[1]).line).input_line, 3);
}

TEST_F(RequestFileTest, long_and_many_lines_across_buffers) {
  const std::uint64_t seed = 1;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 8; ++round) {
    std::string content;
    while (content.size() < 5'000'000) {
      // Line breaks and blanks come often near the border of a buffer.
      const auto near = std::min(content.size() % (1 << 20), (1 << 20) - content.size() % (1 << 20)) < 100;
      switch (random() % (near ? 4 : 6)) {
        case 0:
          content += '\n';
          break;
        case 1:
          content += " \r\n";
          break;
        case 2:
          content += " \t ";
          break;
        case 3:
          content += "{}";
          break;
        default:
          content.append(random() % (near ? 5 : 400'000), 'x');
      }
    }
    content.resize(5'000'000 - random() % 3);
    ASSERT_EQ(index(content), plain_index(content)) << "seed " << seed << " round " << round;
  }
}

TEST_F(RequestFileTest, small_random_files) {
  const std::uint64_t seed = 2;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string content;
    for (auto left = 1 + random() % 12; left > 0; --left) content += "\n\r \tab"[random() % 6];
    const auto expected = plain_index(content);
    if (expected.empty()) {
      EXPECT_THAT(failure_of([&] { index(content); }), HasSubstr("holds no request"));
    } else {
      ASSERT_EQ(index(content), expected) << "seed " << seed << " round " << round;
    }
  }
}

TEST_F(RequestFileTest, a_text_file_is_one_request) {
  const auto file = RequestFile::open(write("book.txt", "Two\n\nlines\n"));
  EXPECT_TRUE(file.is_plain_text());
  ASSERT_THAT(file.index(), ElementsAre(Line{0, 11, 1}));
  const auto request = std::get<Request>(file.read_request(file.index()[0]).line);
  EXPECT_EQ(request.custom_id, "book.txt");
  EXPECT_EQ(std::get<std::string>(request.context), "Two\n\nlines\n");
  EXPECT_THAT(RequestFile::open(write("bom.txt", "\xef\xbb\xbfx")).index(), ElementsAre(Line{3, 1, 1}));
}

TEST_F(RequestFileTest, refuses_what_holds_no_request) {
  for (const auto* name : {"x.jsonl", "x.txt"}) {
    EXPECT_THAT(failure_of([&] { RequestFile::open(write(name, "")); }), HasSubstr("holds no request"));
    EXPECT_THAT(failure_of([&] { (void)RequestFile::open(write(name, "\xef\xbb\xbf")).index(); }),
                HasSubstr("holds no request"));
  }
  EXPECT_THAT(failure_of([&] { index("\n \n"); }), HasSubstr("holds no request"));
  EXPECT_THAT(failure_of([&] { RequestFile::open(folder_); }), HasSubstr("it is a folder"));
  EXPECT_THAT(failure_of([&] { RequestFile::open(folder_ / "none.jsonl"); }), HasSubstr("none.jsonl (No such file"));
  EXPECT_THAT(failure_of([&] { RequestFile::open("none.jsonl"); }), HasSubstr("relative paths start at /"));
  const auto pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(failure_of([&] { RequestFile::open(pipe); }), HasSubstr("not a regular file"));  // and does not wait
}

TEST_F(RequestFileTest, a_file_cut_short_while_it_is_read) {
  const auto path = write("x.jsonl", "{}\n{}\n");
  const auto file = RequestFile::open(path);
  const auto lines = file.index();
  std::filesystem::resize_file(path, 3);
  EXPECT_THAT(failure_of([&] { (void)file.read(lines[1]); }), HasSubstr("ends at byte 3"));
}

TEST_F(RequestFileTest, the_fingerprint_follows_every_byte) {
  std::string content(2'500'000, 'x');
  const auto print = [&] { return RequestFile::open(write("x.jsonl", content)).fingerprint(); };
  const auto original = print();
  EXPECT_EQ(original, print());
  for (const std::size_t at : {std::size_t{0}, std::size_t{1 << 20}, content.size() - 1}) {
    content[at] = 'y';
    EXPECT_NE(original, print()) << at;
    content[at] = 'x';
  }
  content += 'x';
  EXPECT_NE(original, print());
}

TEST_F(RequestFileTest, the_shipped_inputs_are_all_good) {
  for (const std::string name : {"endings", "heldout_text", "prompts"}) {
    const auto file = RequestFile::open(source_path("inputs/data/" + name + ".jsonl"));
    const auto lines = file.index();
    EXPECT_GT(lines.size(), 50U) << name;
    for (const auto& line : lines) {
      const auto parsed = file.read_request(line);
      ASSERT_TRUE(std::holds_alternative<Request>(parsed.line)) << std::get<BadLine>(parsed.line).message;
      EXPECT_EQ(parsed.num_unknown_fields, 0) << name << " line " << line.line;
    }
  }
}

}  // namespace
}  // namespace moebius::io
