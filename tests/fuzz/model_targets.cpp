// SPDX-License-Identifier: Apache-2.0
// What comes with a checkpoint beside its weights: config.json, generation_config.json, tokenizer.json and the chat
// template; and any text through a tokenizer that is in order.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "io/model_files.hpp"
#include "model/chat_template.hpp"
#include "model/tokenizer.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace moebius::test {
namespace {

/// The files of that name in all folders below `folder`, in the order of their paths.
std::vector<std::string> all_named(const std::string& folder, const std::string& name) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(source_path(folder))) {
    if (std::filesystem::exists(entry.path() / name)) paths.push_back(entry.path() / name);
  }
  std::ranges::sort(paths);
  std::vector<std::string> texts;
  for (const auto& path : paths) texts.push_back(read_whole(path));
  return texts;
}

FuzzTarget config_target(const std::filesystem::path& scratch) {
  const auto folder = scratch / "config";
  std::filesystem::create_directories(folder);
  const auto configs = all_named("tests/data/goldens/models", "config.json");
  const auto generations = all_named("tests/data/goldens/models", "generation_config.json");
  return {"config",
          [=](Mutator& mutator) {
            const std::string& config = configs[mutator.pick(configs.size())];
            const std::string& generation = generations[mutator.pick(generations.size())];
            const bool generation_is_bad = mutator.pick(5) == 0;
            write_whole(folder / "config.json", generation_is_bad ? config : mutator.mutate(config, configs));
            write_whole(folder / "generation_config.json", generation_is_bad ? mutator.mutate(generation, generations) : generation);
            return read_or_refuse([&] {
              const ModelConfig read = io::read_model_config(folder);
              if (read.num_layers < 1 || read.hidden_size < 1 || read.vocab_size < 1 || read.num_heads < 1) throw Problem("a size below 1");
              if (read.moe_layer.size() != static_cast<std::size_t>(read.num_layers)) throw Problem("moe_layer is not one entry a layer");
              if (read.experts_per_token > read.num_experts) throw Problem("more experts a token than there are");
              if (!(read.rope_theta > 0) || !(read.rms_norm_eps >= 0)) throw Problem("a constant that is no number");
            });
          },
          1000};
}

/// A tokenizer.json with few merges: its small parts are then hit as often as its vocabulary.
std::string shortened(const std::string& text) {
  auto json = nlohmann::json::parse(text);
  auto& model = json["model"];
  nlohmann::json vocab = nlohmann::json::object(), merges = nlohmann::json::array();
  constexpr int num_kept = 330;  // specials, 256 bytes, some merges
  for (const auto& [piece, id] : model["vocab"].items()) {
    if (id.get<int>() < num_kept) vocab[piece] = id;
  }
  for (const auto& merge : model["merges"]) {
    const auto left = merge[0].get<std::string>(), right = merge[1].get<std::string>();
    if (vocab.contains(left) && vocab.contains(right) && vocab.contains(left + right)) merges.push_back(merge);
  }
  model["vocab"] = vocab;
  model["merges"] = merges;
  return json.dump();
}

/// Whatever the tokenizer is, it must take any text and any ids.
void use(const model::Tokenizer& tokenizer, Mutator& mutator, std::size_t max_bytes) {
  const std::string text = mutator.random_text(max_bytes);
  const auto special = mutator.pick(2) == 0 ? model::AddSpecial::yes : model::AddSpecial::no;
  for (const TokenId token : tokenizer.encode(text, special)) {
    if (token < 0 || token >= tokenizer.vocab_size()) throw Problem("a token outside of the vocabulary");
  }
  std::vector<TokenId> tokens;
  for (std::size_t i = mutator.pick(30); i-- > 0;) {
    tokens.push_back(static_cast<TokenId>(mutator.pick(static_cast<std::size_t>(tokenizer.vocab_size()) + 2)) - 1);
  }
  tokens.push_back(static_cast<TokenId>(mutator.pick(std::size_t{1} << 32)));
  const std::string decoded = tokenizer.decode(tokens, mutator.pick(2) == 0 ? model::SkipSpecial::yes : model::SkipSpecial::no);
  if (!model::is_utf8(decoded)) throw Problem("decode gave text that is not UTF-8");
  model::StreamDecoder stream;
  std::string streamed;
  for (const TokenId token : tokens) streamed += stream.push(tokenizer, token, model::SkipSpecial::no);
  streamed += stream.finish(tokenizer);
  if (streamed != tokenizer.decode(tokens, model::SkipSpecial::no)) throw Problem("a stream of tokens reads otherwise than all at once");
}

FuzzTarget tokenizer_target(const std::filesystem::path& scratch) {
  std::vector<std::string> seeds;
  for (const std::string& text : all_named("tests/data/goldens/tokenizers", "tokenizer.json")) seeds.push_back(shortened(text));
  return {"tokenizer",
          [=, file = scratch / "tokenizer.json"](Mutator& mutator) {
            write_whole(file, mutator.mutate(seeds[mutator.pick(seeds.size())], seeds));
            return read_or_refuse([&] { use(model::Tokenizer(io::read_tokenizer(file)), mutator, 400); });
          },
          800};
}

std::vector<ChatMessage> random_chat(Mutator& mutator) {
  std::vector<ChatMessage> messages(mutator.pick(5));
  for (ChatMessage& message : messages) {
    for (const char* name : {"role", "content", "name", "reasoning_content"}) {
      if (mutator.pick(4) == 0) continue;
      const char* roles[] = {"system", "user", "assistant"};
      const bool known_role = std::string_view(name) == "role" && mutator.pick(8) != 0;
      message.fields.emplace_back(name, known_role ? roles[mutator.pick(3)] : model::utf8_lossy(mutator.random_text(60)));
    }
  }
  return messages;
}

/// A template may be anything: it is refused, refuses the messages itself, or gives a prompt, in bounded time and memory.
FuzzTarget chat_template_target(const std::filesystem::path& scratch) {
  auto specs = std::make_shared<std::vector<ChatTemplateSpec>>();
  std::vector<std::string> texts;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/data/chat"))) {
    if (entry.is_directory()) specs->push_back(io::read_chat_template(entry.path()));
  }
  std::ranges::sort(*specs, {}, &ChatTemplateSpec::text);
  for (const ChatTemplateSpec& spec : *specs) texts.push_back(spec.text);
  const auto folder = scratch / "chat";
  std::filesystem::create_directories(folder);
  return {"chat_template",
          [=](Mutator& mutator) {
            write_whole(folder / "chat_template.jinja", mutator.mutate(texts[mutator.pick(texts.size())], texts, 1 << 16));
            ChatTemplateSpec spec = io::read_chat_template(folder);
            spec.special_tokens = (*specs)[mutator.pick(specs->size())].special_tokens;
            const auto rendered = model::ChatTemplate(spec).render(random_chat(mutator), {});
            if (!model::is_utf8(rendered.text)) throw Problem("a prompt or message that is not UTF-8");
            if (rendered.status == RowStatus::ok) return Verdict::accepted;
            if (rendered.status != RowStatus::unsupported && rendered.status != RowStatus::bad_field) throw Problem("another status");
            if (rendered.text.empty()) throw Problem("a refusal without a message");
            return Verdict::refused;
          },
          1500};
}

FuzzTarget text_target() {
  auto tokenizers = std::make_shared<std::vector<model::Tokenizer>>();
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/data/goldens/tokenizers"))) {
    if (entry.is_directory()) tokenizers->emplace_back(io::read_tokenizer(entry.path()));
  }
  return {"text",
          [=](Mutator& mutator) {
            const model::Tokenizer& tokenizer = (*tokenizers)[mutator.pick(tokenizers->size())];
            use(tokenizer, mutator, 4000);
            // Text that is UTF-8 is taken as it is; anything else is mended before.
            const std::string text = mutator.random_text(400);
            if (tokenizer.encode(text, model::AddSpecial::no) != tokenizer.encode(model::utf8_lossy(text), model::AddSpecial::no)) {
              throw Problem("ill-formed text is not read as U+FFFD");
            }
            return model::is_utf8(text) ? Verdict::accepted : Verdict::refused;
          },
          2500};
}

}  // namespace

std::vector<FuzzTarget> model_targets(const std::filesystem::path& scratch) {
  return {config_target(scratch), tokenizer_target(scratch), chat_template_target(scratch), text_target()};
}

}  // namespace moebius::test
