// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>

#include "model/template_lexer.hpp"
#include "model/template_syntax.hpp"

namespace moebius::model {
namespace {

using Expr = TemplateExpr;
using Node = TemplateNode;
using Token = TemplateToken;
using ExprPtr = TemplateExprPtr;
constexpr int max_depth = 200;  // of brackets and blocks; each level is a few calls

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(lex_template(source)) {}

  TemplateBody run() {
    TemplateBody body = parse_body({});
    if (!peek(Token::Kind::end)) refuse("a block that nothing opened");
    return body;
  }

 private:
  [[nodiscard]] const Token& now() const { return tokens_[at_]; }
  [[nodiscard]] bool peek(Token::Kind kind) const { return now().kind == kind; }
  [[nodiscard]] bool peek_symbol(std::string_view text) const { return peek(Token::Kind::symbol) && now().text == text; }
  [[nodiscard]] bool peek_name(std::string_view text) const { return peek(Token::Kind::name) && now().text == text; }
  bool take_symbol(std::string_view text) {
    const bool found = peek_symbol(text);
    if (found) ++at_;
    return found;
  }
  bool take_name(std::string_view text) {
    const bool found = peek_name(text);
    if (found) ++at_;
    return found;
  }
  [[noreturn]] void refuse(const std::string& what) const { template_unsupported(fmt::format("{} in line {}", what, now().line)); }
  void expect_symbol(std::string_view text) {
    if (!take_symbol(text)) refuse(fmt::format("something else than '{}'", text));
  }
  void expect_name(std::string_view text) {
    if (!take_name(text)) refuse(fmt::format("something else than '{}'", text));
  }
  void expect_block_end() {
    if (!peek(Token::Kind::block_end)) refuse("something before the end of a block tag");
    ++at_;
  }
  std::string take_any_name() {
    if (!peek(Token::Kind::name)) refuse("something else than a name");
    return tokens_[at_++].text;
  }

  // Statements ------------------------------------------------------------------------------------

  /// Until a block that begins with one of `ends`, whose name is the next token then.
  TemplateBody parse_body(std::initializer_list<std::string_view> ends) {
    TemplateBody body;
    while (!peek(Token::Kind::end)) {
      if (peek(Token::Kind::text)) {
        body.push_back(node(Node::Kind::text));
        body.back()->text = tokens_[at_++].text;
      } else if (peek(Token::Kind::output_begin)) {
        body.push_back(node(Node::Kind::output));
        ++at_;
        body.back()->exprs.push_back(parse_expr());
        if (!peek(Token::Kind::output_end)) refuse("something before the end of an output tag");
        ++at_;
      } else {
        ++at_;  // block_begin
        if (peek(Token::Kind::name) && std::ranges::find(ends, now().text) != ends.end()) return body;
        if (auto statement = parse_statement(body)) body.push_back(std::move(statement));
      }
    }
    if (ends.size() > 0) refuse("a block without an end");
    return body;
  }

  std::unique_ptr<Node> node(Node::Kind kind) const {
    auto made = std::make_unique<Node>();
    made->kind = kind;
    made->line = now().line;
    return made;
  }

  /// nullptr where it became part of `around`.
  std::unique_ptr<Node> parse_statement(TemplateBody& around) {
    const Level level(*this);
    const std::string name = take_any_name();
    if (name == "if") return parse_if();
    if (name == "for") return parse_for();
    if (name == "set") return parse_set();
    if (name == "macro") return parse_macro();
    if (name == "break" || name == "continue") {
      auto made = node(name == "break" ? Node::Kind::loop_break : Node::Kind::loop_continue);
      if (loop_depth_ == 0) refuse(fmt::format("'{}' outside a loop", name));
      expect_block_end();
      return made;
    }
    if (name == "generation") {  // marks what an assistant said, for training
      expect_block_end();
      for (auto& part : parse_body({"endgeneration"})) around.push_back(std::move(part));
      end_block("endgeneration");
      return nullptr;
    }
    --at_;
    refuse(fmt::format("the block '{}'", name));
  }

  void end_block(std::string_view name) {
    expect_name(name);
    expect_block_end();
  }

  std::unique_ptr<Node> parse_if() {
    auto made = node(Node::Kind::choice);
    do {
      made->exprs.push_back(parse_expr());
      expect_block_end();
      made->bodies.push_back(parse_body({"elif", "else", "endif"}));
    } while (take_name("elif"));
    if (take_name("else")) {
      expect_block_end();
      made->bodies.push_back(parse_body({"endif"}));
    }
    end_block("endif");
    return made;
  }

  std::unique_ptr<Node> parse_for() {
    auto made = node(Node::Kind::loop);
    do made->names.push_back(take_any_name());
    while (take_symbol(","));
    expect_name("in");
    made->exprs.push_back(parse_or());  // without a conditional, whose `if` would be the filter's
    made->exprs.push_back(take_name("if") ? parse_expr() : nullptr);
    expect_block_end();
    ++loop_depth_;
    made->bodies.push_back(parse_body({"else", "endfor"}));
    --loop_depth_;
    if (take_name("else")) {
      expect_block_end();
      made->bodies.push_back(parse_body({"endfor"}));
    }
    end_block("endfor");
    return made;
  }

  std::unique_ptr<Node> parse_set() {
    auto made = node(Node::Kind::set);
    made->names.push_back(take_any_name());
    if (take_symbol(".")) made->text = take_any_name();
    if (take_symbol("=")) {
      made->exprs.push_back(parse_expr());
      expect_block_end();
      return made;
    }
    if (!made->text.empty() || !peek(Token::Kind::block_end)) refuse("this form of 'set'");
    made->kind = Node::Kind::set_block;
    expect_block_end();
    made->bodies.push_back(parse_body({"endset"}));
    end_block("endset");
    return made;
  }

  std::unique_ptr<Node> parse_macro() {
    auto made = node(Node::Kind::macro);
    made->text = take_any_name();
    expect_symbol("(");
    while (!take_symbol(")")) {
      made->names.push_back(take_any_name());
      if (take_symbol("=")) made->exprs.push_back(parse_expr());
      else if (!made->exprs.empty()) refuse("a parameter without a default behind one with it");
      if (!peek_symbol(")")) expect_symbol(",");
    }
    expect_block_end();
    const int loops_around = std::exchange(loop_depth_, 0);
    made->bodies.push_back(parse_body({"endmacro"}));
    loop_depth_ = loops_around;
    end_block("endmacro");
    return made;
  }

  // Expressions, from what binds loosest to what binds tightest -------------------------------------

  ExprPtr make(Expr::Kind kind, std::string text = "") const {
    auto made = std::make_unique<Expr>();
    made->kind = kind;
    made->line = now().line;
    made->text = std::move(text);
    return made;
  }
  ExprPtr make(Expr::Kind kind, std::string text, ExprPtr first, ExprPtr second) const {
    auto made = make(kind, std::move(text));
    made->args.push_back(std::move(first));
    made->args.push_back(std::move(second));
    return made;
  }

  ExprPtr parse_expr() {
    const Level level(*this);
    ExprPtr expr = parse_or();
    while (take_name("if")) {
      auto made = make(Expr::Kind::conditional, "", std::move(expr), parse_or());
      made->args.push_back(take_name("else") ? parse_expr() : nullptr);
      expr = std::move(made);
    }
    return expr;
  }
  ExprPtr parse_or() {
    ExprPtr expr = parse_and();
    while (take_name("or")) expr = make(Expr::Kind::logical_or, "", std::move(expr), parse_and());
    return expr;
  }
  ExprPtr parse_and() {
    ExprPtr expr = parse_not();
    while (take_name("and")) expr = make(Expr::Kind::logical_and, "", std::move(expr), parse_not());
    return expr;
  }
  ExprPtr parse_not() {
    const Level level(*this);
    if (!take_name("not")) return parse_compare();
    auto made = make(Expr::Kind::logical_not);
    made->args.push_back(parse_not());
    return made;
  }

  /// The comparison that comes next, "not in" among them; empty: none.
  std::string take_comparison() {
    if (peek(Token::Kind::symbol) && is_one_of(now().text, {"==", "!=", "<", "<=", ">", ">="})) return tokens_[at_++].text;
    if (take_name("in")) return "in";
    if (!peek_name("not") || tokens_[at_ + 1].kind != Token::Kind::name || tokens_[at_ + 1].text != "in") return "";
    at_ += 2;
    return "not in";
  }

  ExprPtr parse_compare() {
    ExprPtr expr = parse_sum();
    const std::string op = take_comparison();
    if (op.empty()) return expr;
    expr = make(Expr::Kind::compare, op == "not in" ? "in" : op, std::move(expr), parse_sum());
    if (!take_comparison().empty()) refuse("a chain of comparisons");
    if (op != "not in") return expr;
    auto inverse = make(Expr::Kind::logical_not);
    inverse->args.push_back(std::move(expr));
    return inverse;
  }

  static bool is_one_of(std::string_view text, std::initializer_list<std::string_view> set) { return std::ranges::find(set, text) != set.end(); }
  /// A chain of operators of one level, from the left.
  template <class Next>
  ExprPtr parse_chain(std::initializer_list<std::string_view> operators, Next next) {
    ExprPtr expr = next();
    while (peek(Token::Kind::symbol) && is_one_of(now().text, operators)) {
      std::string op = tokens_[at_++].text;
      if (op == "/" || op == "**") refuse(fmt::format("the operator '{}'", op));
      expr = make(Expr::Kind::binary, std::move(op), std::move(expr), next());
    }
    return expr;
  }
  ExprPtr parse_sum() {
    return parse_chain({"+", "-"}, [this] { return parse_concat(); });
  }
  ExprPtr parse_concat() {
    return parse_chain({"~"}, [this] { return parse_product(); });
  }
  ExprPtr parse_product() {
    return parse_chain({"*", "/", "//", "%", "**"}, [this] { return parse_unary(WithFilters::yes); });
  }

  enum class WithFilters : std::uint8_t { no, yes };
  ExprPtr parse_unary(WithFilters filters) {
    const Level level(*this);
    ExprPtr expr;
    if (take_symbol("-")) {
      expr = make(Expr::Kind::negate);
      expr->args.push_back(parse_unary(WithFilters::no));
    } else {
      expr = parse_primary();
    }
    expr = parse_postfix(std::move(expr));
    return filters == WithFilters::yes ? parse_filters(std::move(expr)) : std::move(expr);
  }

  ExprPtr constant(TemplateValue value) const {
    auto made = make(Expr::Kind::constant);
    made->value = value;
    return made;
  }

  ExprPtr parse_primary() {
    if (peek(Token::Kind::name)) {
      const std::string name = tokens_[at_++].text;
      if (name == "true" || name == "True") return constant(TemplateValue::boolean(true));
      if (name == "false" || name == "False") return constant(TemplateValue::boolean(false));
      if (name == "none" || name == "None") return constant(TemplateValue::none());
      return make(Expr::Kind::name, name);
    }
    if (peek(Token::Kind::string)) {
      auto made = make(Expr::Kind::constant);
      while (peek(Token::Kind::string)) made->text += tokens_[at_++].text;
      made->value = TemplateValue::string(made->text);
      return made;
    }
    if (peek(Token::Kind::integer)) {
      std::int64_t value = 0;
      const std::string& digits = now().text;
      if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc()) refuse("a number that is too large");
      ++at_;
      return constant(TemplateValue::integer(value));
    }
    if (take_symbol("(")) {
      ExprPtr expr = parse_expr();
      if (peek_symbol(",")) refuse("a tuple");
      expect_symbol(")");
      return expr;
    }
    if (take_symbol("[")) {
      auto made = make(Expr::Kind::list);
      while (!take_symbol("]")) {
        made->args.push_back(parse_expr());
        if (!peek_symbol("]")) expect_symbol(",");
      }
      return made;
    }
    if (take_symbol("{")) return parse_dict();
    refuse("something else than a value");
  }

  ExprPtr parse_dict() {
    auto made = make(Expr::Kind::dict);
    while (!take_symbol("}")) {
      made->args.push_back(parse_expr());
      expect_symbol(":");
      made->args.push_back(parse_expr());
      if (!peek_symbol("}")) expect_symbol(",");
    }
    return made;
  }

  ExprPtr parse_postfix(ExprPtr expr) {
    while (true) {
      if (take_symbol(".")) {
        auto made = make(Expr::Kind::attribute, take_any_name());
        made->args.push_back(std::move(expr));
        expr = std::move(made);
      } else if (take_symbol("[")) {
        expr = parse_subscript(std::move(expr));
      } else if (peek_symbol("(")) {
        expr = parse_call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr parse_subscript(ExprPtr object) {
    auto made = make(Expr::Kind::subscript);
    made->args.push_back(std::move(object));
    while (true) {
      made->args.push_back(peek_symbol(":") || peek_symbol("]") ? nullptr : parse_expr());
      if (take_symbol("]")) break;
      if (made->args.size() == 4) refuse("a slice of more than three parts");
      expect_symbol(":");
      made->kind = Expr::Kind::slice;
    }
    if (made->kind == Expr::Kind::subscript && made->args[1] == nullptr) refuse("empty brackets");
    made->args.resize(made->kind == Expr::Kind::slice ? 4 : 2);
    return made;
  }

  ExprPtr parse_call(ExprPtr callee) {
    auto made = make(Expr::Kind::call);
    made->args.push_back(std::move(callee));
    parse_arguments(*made);
    return made;
  }

  void parse_arguments(Expr& call) {
    expect_symbol("(");
    while (!take_symbol(")")) {
      if (peek(Token::Kind::name) && tokens_[at_ + 1].kind == Token::Kind::symbol && tokens_[at_ + 1].text == "=") {
        std::string name = take_any_name();
        ++at_;
        call.named.emplace_back(std::move(name), parse_expr());
      } else {
        if (!call.named.empty()) refuse("an argument without a name behind one with it");
        call.args.push_back(parse_expr());
      }
      if (!peek_symbol(")")) expect_symbol(",");
    }
  }

  ExprPtr parse_filters(ExprPtr expr) {
    while (true) {
      if (take_symbol("|")) {
        auto made = make(Expr::Kind::filter, take_any_name());
        if (!is_known_filter(made->text)) refuse(fmt::format("the filter '{}'", made->text));
        made->args.push_back(std::move(expr));
        if (peek_symbol("(")) parse_arguments(*made);
        expr = std::move(made);
      } else if (take_name("is")) {
        expr = parse_test(std::move(expr));
      } else if (peek_symbol("(")) {
        expr = parse_call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr parse_test(ExprPtr expr) {
    const bool negated = take_name("not");
    auto made = make(Expr::Kind::test, take_any_name());
    if (!is_known_test(made->text)) refuse(fmt::format("the test '{}'", made->text));
    made->args.push_back(std::move(expr));
    const bool has_argument = peek(Token::Kind::string) || peek(Token::Kind::integer) || peek_symbol("[") || peek_symbol("{") ||
                              (peek(Token::Kind::name) && !is_one_of(now().text, {"else", "or", "and"}));
    if (peek_symbol("(")) parse_arguments(*made);
    else if (has_argument) made->args.push_back(parse_postfix(parse_primary()));
    if (!negated) return made;
    auto inverse = make(Expr::Kind::logical_not);
    inverse->args.push_back(std::move(made));
    return inverse;
  }

  /// Counts how deep calls are nested, so that no template can exhaust the stack.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > max_depth) parser_.refuse("nesting that is too deep");
    }
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0, loop_depth_ = 0;
};

}  // namespace

TemplateBody parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace moebius::model
