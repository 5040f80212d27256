# pgvigil_warnings: the warning set every target of ours is compiled with.
add_library(pgvigil_warnings INTERFACE)
target_compile_options(pgvigil_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes
    -Wmissing-prototypes -Wundef -Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings)
if(PGVIGIL_WERROR)
    target_compile_options(pgvigil_warnings INTERFACE -Werror)
endif()
