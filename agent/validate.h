/* SPDX-License-Identifier: PostgreSQL */
/* agent/validate.h - --validate-config: everything that is wrong with a configuration, at once. */
#pragma once

#include "base/value.h"

/** What a look at a configuration found. Lines are complete, with their newline. */
struct agent_findings {
    struct pgv_buf errors;   /* each makes the exit code 1; Patroni's words come first */
    struct pgv_buf warnings; /* unknown keys, thread options, impossible times */
    unsigned errors_n, warnings_n;
    const char *below; /* what paths are told without; NULL: nothing */
};

#define AGENT_FINDINGS_BYTES_MAX (1u << 20)

void agent_findings_init(struct agent_findings *f);
void agent_findings_done(struct agent_findings *f);

/** What else to look at. */
#define AGENT_LOOK_PORTS 1u /* addresses to listen on are free */
#define AGENT_LOOK_NAMES 2u /* hosts are known, and stores accept connections */
#define AGENT_LOOK_FILES 4u /* PostgreSQL's programs are there, and data_dir is theirs */

/**
 * Check the merged local configuration against agent/options.def. @look: AGENT_LOOK_*; looking
 * blocks. False only when memory ran out or there was too much to say.
 */
bool agent_validate(const struct pgv_value *local, unsigned look, struct agent_findings *f,
                    struct pgv_error *err) PGV_MUST_CHECK;
/**
 * The same for a document of the key /config, whose paths are told as they stand in it. Also looks
 * at the server's parameters: their names, and values of which the agents would make another. A
 * value that the agents refuse or correct is an error where --validate-config says so of
 * bootstrap.dcs, else a warning.
 */
bool agent_validate_dynamic(const struct pgv_value *document, struct agent_findings *f,
                            struct pgv_error *err) PGV_MUST_CHECK;
/** The worst cases that follow from the times of bootstrap.dcs, in words. */
void agent_validate_times(const struct pgv_value *local, struct pgv_buf *b);
/** Is there an option at this dotted path? */
bool agent_option_known(const char *path);
/** Is @v at @path a secret, or could it hold one? */
bool agent_option_is_secret(const char *path, const struct pgv_value *v);

/** What it takes for a change of the local configuration to have an effect. */
enum agent_option_effect {
    AGENT_OPTION_NOW,       /* a reload */
    AGENT_OPTION_RESTART,   /* of the agent */
    AGENT_OPTION_SERVER,    /* PostgreSQL's reload, or its restart */
    AGENT_OPTION_BOOTSTRAP, /* counts when a cluster begins */
    AGENT_OPTION_SHARED,    /* belongs into the dynamic configuration */
    AGENT_OPTION_NONE,      /* unknown, or accepted without effect */
};
/** Of the option at @path, or of what it stands in: 'postgresql.parameters.work_mem'. */
enum agent_option_effect agent_option_effect(const char *path);
/** Is there the section of a store? */
bool agent_names_store(const struct pgv_value *local);
/** docs/configuration.md, from the table. */
bool agent_options_markdown(struct pgv_buf *b);
/** pgvigil --validate-config: the exit code. Takes the environment. */
int agent_validate_main(const char *path, bool print, bool ignore_listen_port);
