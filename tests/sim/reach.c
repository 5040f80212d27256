/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/reach.c - the states of a node x the events of its brain: which pairs have occurred,
 * and which cannot (reach.def). One that cannot and does is a violation.
 */
#include "tests/sim/sim.h"

#include <string.h>

#define EVENTS (HA_EV_SHUTDOWN + 1)

/* In twos: without a job under way, with one. */
static const char *const classes[SIM_CLASSES] = {
    "down",           "down+job",           "starting",    "starting+job",
    "standby",        "standby+job",        "leaderless",  "leaderless+job",
    "standby key",    "standby key+job",    "primary key", "primary key+job",
    "primary no key", "primary no key+job", "down key",    "down key+job"
};

#define WITHOUT_JOB 0x5555u
#define WITH_JOB 0xaaaau
static const struct {
    unsigned classes; /* a set of bits */
    enum ha_event_type event;
    const char *why;
} rules[] = {
#define SIM_IMPOSSIBLE(classes, event, why) { classes, event, why },
#include "tests/sim/reach.def"
#undef SIM_IMPOSSIBLE
};

const char *reach_impossible(unsigned class, enum ha_event_type event)
{
    static const char *why[EVENTS][SIM_CLASSES];
    static bool made;

    for (unsigned i = 0; !made && i < sizeof(rules) / sizeof(rules[0]); i++)
        for (unsigned c = 0; c < SIM_CLASSES; c++)
            if (rules[i].classes >> c & 1)
                why[rules[i].event][c] = rules[i].why;
    made = true;
    return why[event][class];
}

unsigned reach_class(const struct sim_node *n)
{
    const struct ha *ha = &n->ha;
    bool lock = ha_has_lock(ha);
    unsigned base;

    if (!ha->pg.alive)
        base = lock ? 7 : 0;
    else if (pgv_state_is_starting(ha->pg.state))
        base = 1;
    else if (!ha->pg.in_recovery)
        base = lock ? 5 : 6;
    else if (lock)
        base = 4;
    else
        base = ha->view.has_leader ? 2 : 3;
    return base * 2 + (ha->job.kind != PM_JOB_NONE);
}

int reach_class_by_name(const char *name)
{
    for (unsigned c = 0; c < SIM_CLASSES; c++) {
        const char *a = classes[c], *b = name;

        while (*a && (*a == *b || (*a == ' ' && *b == '_')))
            a++, b++;
        if (!*a && !*b)
            return (int)c;
    }
    return -1;
}

void reach_note(struct sim *s, struct sim_node *n, enum ha_event_type event)
{
    unsigned class = reach_class(n);
    const char *why = reach_impossible(class, event);

    s->stats.pairs[event][class]++;
    if (why)
        check_violation(s, n, SIM_RULE_impossible, "%s in '%s': %.100s", ha_event_name(event),
                        classes[class], why);
}

void reach_print(const struct sim *s)
{
    unsigned possible = 0, reached = 0;

    printf("\nstates x events (-: impossible, see reach.def):\n%-20s", "");
    for (unsigned e = 0; e < EVENTS; e++)
        printf(" %10.10s", ha_event_name((enum ha_event_type)e));
    for (unsigned c = 0; c < SIM_CLASSES; c++) {
        printf("\n%-20s", classes[c]);
        for (unsigned e = 0; e < EVENTS; e++)
            if (reach_impossible(c, (enum ha_event_type)e)) {
                printf(" %10s", "-");
            } else {
                printf(" %10llu", (unsigned long long)s->stats.pairs[e][c]);
                possible++;
                reached += s->stats.pairs[e][c] != 0;
            }
    }
    printf("\nreached: %u of %u possible (%u pairs)\n", reached, possible,
           (unsigned)(SIM_CLASSES * EVENTS));
}

bool reach_missing(const struct sim *s)
{
    bool missing = false;

    for (unsigned c = 0; c < SIM_CLASSES; c++)
        for (unsigned e = 0; e < EVENTS; e++)
            if (!s->stats.pairs[e][c] && !reach_impossible(c, (enum ha_event_type)e)) {
                printf("not reached: %s in '%s'\n", ha_event_name((enum ha_event_type)e),
                       classes[c]);
                missing = true;
            }
    return missing;
}
