/* SPDX-License-Identifier: PostgreSQL */
/* pg/pgguc_table.h - the shape of the table of parameters; only pgguc.c and its tests look in. */
#pragma once

#include "pg/pgguc.h"

#define PGGUC_LIST_BYTES 80
#define PGGUC_NAME_BYTES 44

/** No pointers: the table needs no relocation and stays shared with the file. */
struct pgguc_row {
    char name[PGGUC_NAME_BYTES];        /* lower case; rows are sorted by it */
    uint8_t type;                       /* enum pgguc_type */
    uint8_t unit, values;               /* into pgguc_units, pgguc_lists; 0: none */
    int32_t from, till;                 /* from <= version < till */
    int32_t restart_from, restart_till; /* a change waits for a restart; 0, 0: never */
    double min, max;
};
extern const char pgguc_units[][8];
extern const char pgguc_lists[][PGGUC_LIST_BYTES]; /* 'on|off|…' */
extern const struct pgguc_row pgguc_general[], pgguc_recovery[];
extern const unsigned pgguc_general_rows, pgguc_recovery_rows;
