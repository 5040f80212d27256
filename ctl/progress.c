/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/progress.c - what a terminal shows while something takes its time: one line that is written
 * again and again, and lines that stay. All of it on standard error, none of it in a pipe.
 */
#include "ctl/ctl.h"

#include "base/clock.h"
#include "ctl/sheet.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/banned.h"

#define PROGRESS_MS 100
#define LINE_BYTES_MAX 8192

bool ctl_shows_progress(void)
{
    return isatty(STDERR_FILENO);
}

size_t ctl_terminal_columns(int fd)
{
    const char *text = getenv("COLUMNS");
    unsigned long columns = text ? strtoul(text, NULL, 10) : 0;
    struct winsize size;

    if (columns == 0 && ioctl(fd, TIOCGWINSZ, &size) == 0)
        columns = size.ws_col;
    return columns > 0 && columns < 10000 ? columns : 80;
}

static double seconds_since(uint64_t ms)
{
    return (double)(pgv_clock_ms() - ms) / 1000.0;
}

/** Over the last one; names in it are others', so nothing in it may steer the terminal or wrap. */
static void on_progress(uv_timer_t *timer)
{
    struct ctl *c = timer->data;
    size_t columns = ctl_terminal_columns(STDERR_FILENO), used;
    struct pgv_buf line;
    char tail[32];

    used = (size_t)snprintf(tail, sizeof(tail), "… %.1f s", seconds_since(c->waiting_since_ms));
    pgv_buf_init(&line, LINE_BYTES_MAX);
    if (ctl_put_shown(&line, pgv_str(c->waiting_for), columns > used ? columns - used : 0)) {
        fprintf(stderr, "\r%s%s\033[K", pgv_buf_cstr(&line), tail);
        c->progress_shown = true;
    }
    pgv_buf_done(&line);
}

static void take_away(struct ctl *c)
{
    if (c->progress_shown)
        fputs("\r\033[K", stderr);
    c->progress_shown = false;
}

void ctl_clock_start(struct ctl *c)
{
    c->clock_ms = pgv_clock_ms();
}

void ctl_clock_stop(struct ctl *c)
{
    c->clock_ms = 0;
}

void ctl_note(struct ctl *c, const char *fmt, ...)
{
    struct pgv_buf shown;
    char text[1024];
    va_list args;

    if (!ctl_shows_progress())
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    take_away(c);
    pgv_buf_init(&shown, LINE_BYTES_MAX);
    if (ctl_put_shown(&shown, pgv_str(text), SIZE_MAX))
        fprintf(stderr, "%6.1f s  %s\n", c->clock_ms ? seconds_since(c->clock_ms) : 0.0,
                pgv_buf_cstr(&shown));
    pgv_buf_done(&shown);
}

void ctl_progress_begin(struct ctl *c, const char *what)
{
    if (!what || !ctl_shows_progress())
        return;
    c->waiting_for = what;
    c->waiting_since_ms = c->clock_ms ? c->clock_ms : pgv_clock_ms();
    uv_update_time(&c->loop);
    uv_timer_start(&c->progress, on_progress, PROGRESS_MS, PROGRESS_MS);
}

void ctl_progress_end(struct ctl *c)
{
    uv_timer_stop(&c->progress);
    c->waiting_for = NULL;
    take_away(c);
}
