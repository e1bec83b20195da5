# The rules that concern one source file: who it may include, its size, its head, its longest function.
# Used by check_style.sh, which gives the floors as lines "folder|project folders|owned headers|third party".
# Prints each broken rule.
BEGIN {
  num_floors = split(floors, lines, "\n")
  for (i = 1; i <= num_floors; i++) {
    if (split(lines[i], field, "|") < 4) continue
    folder = field[1]; gsub(/ /, "", folder)
    known[folder] = 1
    may_include[folder] = " " field[2] " "; owns[folder] = " " field[3] " "
    num_allowed[folder] = split(field[4], prefixes, " ")
    for (p = 1; p <= num_allowed[folder]; p++) allowed[folder, p] = prefixes[p]
    num_owned = split(field[3], names, " ")
    for (n = 1; n <= num_owned; n++) owned[names[n]] = 1
  }
}
function end_file() {
  if (file == "") return
  if (num_lines > 600) print file " has " num_lines " lines (600 is the limit) split it by idea"
  if (file ~ /\.hpp$/ && !has_once) print file " lacks #pragma once"
}
# Everything with a slash, an upper-case letter or an ending is no header of the standard library; of
# the system's own those are free that every POSIX machine has.
function is_third_party(name) {
  if (name ~ /^sys\// || (name ~ /[a-z]_/ && name !~ /^Kokkos_/)) return 0
  if (name !~ /\.h$/ && name !~ /\// && name !~ /\.hpp$/) return 0
  return name !~ /^(unistd|fcntl|poll|cpuid|signal|time|sched)\.h$/
}
FNR == 1 {
  end_file()
  file = FILENAME; has_once = 0; start = 0
  floor = ""
  for (folder in known) if (index(file, folder "/") == 1) floor = folder
  if ($0 != "// SPDX-License-Identifier: Apache-2.0") print file " does not begin with the SPDX line"
}
{ num_lines = FNR }
/^#pragma once$/ { has_once = 1 }
floor != "" && /^#include "/ {
  split($0, part, "\""); target = part[2]; sub(/\/.*/, "", target)
  if (index(may_include[floor], " " target " ") == 0)
    print file " includes \"" part[2] "\" (floor: " floor " may include" may_include[floor] ")"
}
floor != "" && /^#include </ {
  name = $0; sub(/^#include </, "", name); sub(/>.*/, "", name)
  if (name in owned && index(owns[floor], " " name " ") == 0) print file " includes <" name "> (another folder owns it)"
  if (is_third_party(name)) {
    ok = 0
    for (p = 1; p <= num_allowed[floor]; p++) if (index(name, allowed[floor, p]) == 1) ok = 1
    if (!ok) print file " includes <" name "> (third-party header that " floor " may not use)"
  }
}
# A function at namespace level begins in column 0 and ends with a brace in column 0.
/^[A-Za-z].*[({,]$/ && !/^(namespace|class|struct|enum|union|using|extern)/ { if (!start) start = FNR }
/^template|^(namespace|class|struct|enum|union)/ { start = 0 }
/^}/ {
  if (start && FNR - start > 70) print file ":" start " has a function of " FNR - start " lines (70 is the limit)"
  start = 0
}
/^[A-Za-z].*;$/ { start = 0 }
END { end_file() }
