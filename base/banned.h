/* SPDX-License-Identifier: PostgreSQL */
/* base/banned.h - calls that have bitten everyone become compile errors. Include last. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol gmtime localtime
