# SPDX-License-Identifier: PostgreSQL
# cmake -DSOURCE=… -DOUT=… -P: the commit that is built, for a failing seed to name. Run by each build;
# the file is written, and hence compiled, only when it is another commit, or the tree no longer clean.
execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
    set(commit "unknown") # no repository
endif()
file(CONFIGURE OUTPUT "${OUT}" @ONLY CONTENT "/* SPDX-License-Identifier: PostgreSQL */
/* made by tests/sim/commit.cmake */
#include \"tests/sim/sim.h\"

const char sim_commit[] = \"${commit}\";
")
