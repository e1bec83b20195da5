// SPDX-License-Identifier: Apache-2.0
// read_chat_template of io/model_files.hpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/model_files.hpp"
#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Token = std::pair<std::string, std::string>;

class ChatTemplateFileTest : public FolderTest {
 protected:
  ChatTemplateSpec read(std::string_view config) const {
    write("tokenizer_config.json", config);
    return read_chat_template(folder_);
  }
};

TEST_F(ChatTemplateFileTest, a_text_and_the_special_tokens) {
  const auto spec = read(R"({"chat_template": "{{ x }}", "bos_token": "<s>", "unk_token": null,
                             "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": false}})");
  EXPECT_EQ(spec.text, "{{ x }}");
  EXPECT_EQ(spec.problem, "");
  EXPECT_EQ(spec.origin, "tokenizer_config.json: key chat_template");
  EXPECT_THAT(spec.special_tokens, ElementsAre(Token("bos_token", "<s>"), Token("eos_token", "</s>")));
}

TEST_F(ChatTemplateFileTest, the_default_of_several) {
  EXPECT_EQ(read(R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})").text, "d");
  EXPECT_EQ(read(R"({"chat_template": [{"name": "rag", "template": "t"}]})").problem,
            "tokenizer_config.json: key chat_template has no template named default");
}

TEST_F(ChatTemplateFileTest, a_file_of_its_own_comes_first) {
  write("chat_template.jinja", "from the file\n");
  const auto spec = read(R"({"chat_template": "from the key", "bos_token": "<s>"})");
  EXPECT_EQ(spec.text, "from the file\n");
  EXPECT_EQ(spec.origin, "chat_template.jinja");
  EXPECT_THAT(spec.special_tokens, ElementsAre(Token("bos_token", "<s>")));
  std::filesystem::remove(folder_ / "tokenizer_config.json");
  EXPECT_EQ(read_chat_template(folder_).text, "from the file\n");
  write("chat_template.jinja", "\xff");
  EXPECT_EQ(read_chat_template(folder_).problem, "chat_template.jinja is not UTF-8");
}

TEST_F(ChatTemplateFileTest, special_tokens_of_the_older_file_fill_in) {
  write("special_tokens_map.json", R"({"bos_token": {"content": "<b>"}, "eos_token": "<e>"})");
  EXPECT_THAT(read(R"({"chat_template": "x", "eos_token": "</s>"})").special_tokens,
              ElementsAre(Token("eos_token", "</s>"), Token("bos_token", "<b>")));
}

TEST_F(ChatTemplateFileTest, what_is_wrong_is_kept_for_the_rows) {
  EXPECT_EQ(read_chat_template(folder_).problem, "the model has no chat template in tokenizer_config.json or chat_template.jinja");
  EXPECT_EQ(read("{}").problem, "the model has no chat template in tokenizer_config.json or chat_template.jinja");
  EXPECT_THAT(read("{").problem, HasSubstr("not valid JSON"));
  EXPECT_THAT(read("[]").problem, HasSubstr("must be an object"));
  EXPECT_THAT(read(R"({"chat_template": 3})").problem, HasSubstr("key chat_template is 3 (it must be a string)"));
  EXPECT_THAT(read(R"({"chat_template": [3]})").problem, HasSubstr("must be an object"));
  EXPECT_THAT(read(R"({"chat_template": "x", "bos_token": 3})").problem, HasSubstr("key bos_token is an integer"));
}

TEST_F(ChatTemplateFileTest, the_tiny_model_has_one) {
  const auto spec = read_chat_template(source_path("inputs/models/tiny"));
  EXPECT_THAT(spec.text, HasSubstr("<|im_start|>"));
  EXPECT_EQ(spec.problem, "");
}

}  // namespace
}  // namespace moebius::io
