# Input for jobs that are measured, to be sourced.
# Lines of random token ids: requests COUNT TOKENS PREFIX SUFFIX
requests() {
  awk -v count="$1" -v tokens="$2" -v prefix="$3" -v suffix="$4" 'BEGIN {
    srand(7)
    for (i = 0; i < count; i++) {
      printf "{\"custom_id\":\"%d\",%s[", i, prefix
      for (j = 0; j < tokens; j++) printf "%s%d", j ? "," : "", 4 + int(rand() * 4000)
      print "]" suffix "}"
    }
  }'
}
