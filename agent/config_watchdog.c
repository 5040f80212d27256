/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config_watchdog.c - the section watchdog: modes in all their spellings, the device, and the
 * time-out that follows from the times of the cluster (ha contract §22.1).
 */
#include "agent/config_private.h"
#include "agent/watchdog.h"
#include "base/log.h"

#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define WORD_BYTES 64

/* The mode as a word; true and 5 are words, too. Source: Patroni, parse_mode(). */
static void mode_word(const struct pgv_value *mode, char ret[WORD_BYTES])
{
    struct pgv_buf text;

    ret[0] = '\0';
    if (!mode) {
        pgv_copy_cut(ret, WORD_BYTES, PGV_STR("automatic"));
        return;
    }
    if (pgv_is(mode, PGV_BOOL) && !pgv_truthy(mode)) {
        pgv_copy_cut(ret, WORD_BYTES, PGV_STR("off"));
        return;
    }
    pgv_buf_init(&text, 4096);
    if (pgv_value_text(&text, mode))
        pgv_copy_cut(ret, WORD_BYTES, pgv_buf_view(&text));
    pgv_buf_done(&text);
}

/* False: nobody knows this word, which then means off. */
static bool parse_mode(const struct pgv_value *mode, enum ha_watchdog_mode *ret)
{
    static const struct {
        const char *word;
        enum ha_watchdog_mode mode;
    } words[] = {
        { "off", HA_WATCHDOG_OFF },
        { "disable", HA_WATCHDOG_OFF },
        { "disabled", HA_WATCHDOG_OFF },
        { "auto", HA_WATCHDOG_AUTOMATIC },
        { "automatic", HA_WATCHDOG_AUTOMATIC },
        { "require", HA_WATCHDOG_REQUIRED },
        { "required", HA_WATCHDOG_REQUIRED },
    };
    char word[WORD_BYTES];

    mode_word(mode, word);
    *ret = HA_WATCHDOG_OFF;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasecmp(word, words[i].word) == 0) {
            *ret = words[i].mode;
            return true;
        }
    return false;
}

static enum watchdog_driver parse_driver(const struct pgv_value *driver)
{
    const char *word = driver ? pgv_stringz(driver) : "default";

    if (word && strcmp(word, "default") == 0)
        return WATCHDOG_LINUX;
    return word && strcmp(word, "testing") == 0 ? WATCHDOG_TESTING : WATCHDOG_NONE;
}

void agent_config_warn_watchdog(const struct agent_config *c)
{
    const struct pgv_value *mode = pgv_path(c->effective, "watchdog.mode");
    enum ha_watchdog_mode ignored;
    char word[WORD_BYTES];

    if (parse_mode(mode, &ignored))
        return;
    mode_word(mode, word);
    pgv_log(PGV_WARNING, "config", "Watchdog mode %s not recognized, disabling watchdog", word);
}

bool agent_config_check_watchdog(const struct pgv_value *local, struct pgv_error *err)
{
    const struct pgv_value *w = pgv_get(local, "watchdog"), *device = pgv_get(w, "device");
    const struct pgv_value *driver = pgv_get(w, "driver"), *margin = pgv_get(w, "safety_margin");
    enum ha_watchdog_mode mode;
    int64_t seconds = pgv_int_like(margin, NULL, INT64_MIN);

    (void)parse_mode(pgv_get(w, "mode"), &mode);
    if (device && !pgv_string(device).n)
        return agent_config_bad(err, device, "watchdog.device", "is not a string");
    if (device && pgv_string(device).n >= WATCHDOG_PATH_BYTES)
        return agent_config_bad(err, device, "watchdog.device", "is longer than %d bytes",
                                WATCHDOG_PATH_BYTES - 1);
    if (margin && (seconds < -1 || seconds > INT32_MAX))
        return agent_config_bad(err, margin, "watchdog.safety_margin",
                                "is not an integer from -1 to %d", INT32_MAX);
    if (mode == HA_WATCHDOG_REQUIRED && parse_driver(driver) == WATCHDOG_NONE)
        return agent_config_bad(err, driver, "watchdog.driver",
                                "is not known, but watchdog.mode requires a watchdog; "
                                "use 'default'");
    return true;
}

void agent_config_watchdog_of(const struct pgv_value *section, int64_t ttl_s, int64_t loop_wait_s,
                              struct watchdog_config *ret)
{
    const char *device = pgv_stringz(pgv_get(section, "device"));
    int64_t margin =
        pgv_int_like(pgv_get(section, "safety_margin"), NULL, WATCHDOG_SAFETY_MARGIN_S_DEFAULT);

    memset(ret, 0, sizeof(*ret));
    (void)parse_mode(pgv_get(section, "mode"), &ret->mode);
    ret->driver = parse_driver(pgv_get(section, "driver"));
    pgv_copy_cut(ret->device, sizeof(ret->device),
                 pgv_str(device ? device : WATCHDOG_DEVICE_DEFAULT));
    ret->ttl_s = ttl_s;
    ret->loop_wait_s = loop_wait_s;
    ret->timeout_s = margin == -1 ? ttl_s / 2 : ttl_s - margin;
    ret->slack_s = ret->timeout_s - loop_wait_s;
    ret->possible = ret->slack_s >= 0 && ret->timeout_s >= HA_WATCHDOG_TIMEOUT_MIN_MS / 1000;
}

void agent_config_watchdog(const struct agent_config *c, struct watchdog_config *ret)
{
    agent_config_watchdog_of(pgv_get(c->effective, "watchdog"), (int64_t)(c->ttl_ms / 1000),
                             (int64_t)(c->loop_wait_ms / 1000), ret);
}
