#!/usr/bin/env bash
# The style check must be able to fail: each rule is broken once in a copy of the tree.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$top/src" "$top/kernels" "$top/tests" "$top/inputs" "$top/jobs" "$work/"

expect_complaint() {  # expect_complaint WHAT PATTERN: the check fails and says why
  local out
  if out=$("$top/tests/style/check_style.sh" "$work" 2>&1); then echo "not noticed: $1"; exit 1; fi
  grep -q "$2" <<<"$out" || { echo "wrong complaint for: $1"; echo "$out"; exit 1; }
}
"$top/tests/style/check_style.sh" "$work"

probe="$work/src/policy/probe.cpp"
printf '// SPDX-License-Identifier: Apache-2.0\n#include "comm/transport.hpp"\n' >"$probe"
expect_complaint 'policy includes comm' 'floor: src/policy'
printf '// SPDX-License-Identifier: Apache-2.0\n#include <mpi.h>\n' >"$probe"
expect_complaint 'mpi.h outside comm' 'another folder owns it'
printf '// SPDX-License-Identifier: Apache-2.0\n#include <nlohmann/json.hpp>\n' >"$probe"
expect_complaint 'JSON outside io' 'third-party header'
printf 'int x;\n' >"$probe"
expect_complaint 'no SPDX line' 'SPDX'
{ echo '// SPDX-License-Identifier: Apache-2.0'; seq 700 | sed 's/.*/\/\/ line &/'; } >"$probe"
expect_complaint 'a long file' '600 is the limit'
{ echo '// SPDX-License-Identifier: Apache-2.0'; echo 'int long_function(int a) {'; seq 80 | sed 's/.*/  a += &;/'; echo '  return a;'; echo '}'; } >"$probe"
expect_complaint 'a long function' '70 is the limit'
rm "$probe"
printf '// SPDX-License-Identifier: Apache-2.0\n' >"$work/src/policy/probe.hpp"
expect_complaint 'no pragma once' 'pragma once'
echo 'every rule was seen to fail'
