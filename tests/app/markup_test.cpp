// SPDX-License-Identifier: Apache-2.0
#include "app/report/markup.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace moebius::app {
namespace {

TEST(Markup, TextsCannotLeaveTheirPlace) {
  EXPECT_EQ(escaped("<script>alert('x' & \"y\")</script>"), "&lt;script&gt;alert(&#39;x&#39; &amp; &quot;y&quot;)&lt;/script&gt;");
  EXPECT_EQ(escaped("a\nb\tc"), "a\nb\tc");
  EXPECT_EQ(escaped(std::string("a\0b\x1b\x7f", 5)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(escaped("gr\xC3\xBC\xC3\x9F <"), "gr\xC3\xBC\xC3\x9F &lt;");
  EXPECT_EQ(escaped("\xFF<\xC3"), "\xEF\xBF\xBD&lt;\xEF\xBF\xBD");
}

TEST(Markup, NumbersArePrintedForPeople) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.01234), "0.0123");
  EXPECT_EQ(short_number(950), "950");
  EXPECT_EQ(short_number(999.9), "1 k");
  EXPECT_EQ(short_number(1500), "1.50 k");
  EXPECT_EQ(short_number(1234567), "1.23 M");
  EXPECT_EQ(short_number(std::nan("")), "-");
  EXPECT_EQ(whole_number(7), "7");
  EXPECT_EQ(whole_number(999), "999");
  EXPECT_EQ(whole_number(1234567), "1 234 567");
  EXPECT_EQ(whole_number(-1000), "-1 000");
  EXPECT_EQ(byte_count(1536), "1.50 KiB");
  EXPECT_EQ(byte_count(5), "5 B");
  EXPECT_EQ(duration(0.0123), "12.3 ms");
  EXPECT_EQ(duration(-0.5), "-500 ms");
  EXPECT_EQ(duration(4e-6), "4 \xC2\xB5s");
  EXPECT_EQ(duration(75.25), "75.2 s");
  EXPECT_EQ(percent(0.1234), "12.3 %");
}

}  // namespace
}  // namespace moebius::app
