/* JavaScript for `agentkernel eval`: QuickJS-ng as a command of WASI preview 1, of which a snapshot can be taken once it is
 * initialised.
 *
 *   main -e CODE    runs it
 *   main -p CODE    runs it, and prints the value of its last expression
 *   main -e|-p      the same, with the code on standard input
 *
 * Exit codes: 0; 1 for an exception that nobody caught, which is on standard error; 13 for a script whose promise nothing settles.
 *
 * The engine is included and not linked: upstream turns its stack limit off on WASI, and the limit is a private field. */
#include "frame.h"
#include "quickjs.h"
#include <stdint.h>
static inline __attribute__((always_inline)) uintptr_t js_get_stack_pointer(void);
static inline __attribute__((always_inline)) bool js_check_stack_overflow(JSRuntime *rt, size_t alloca_size);
#define __builtin_frame_address(level) ak_frame()
#include "quickjs_framed.c"
#include <errno.h>
#include <time.h>
#include <unistd.h>
#include "prelude.h" /* static const char prelude[], made of prelude.js */

/* At most 3/4 of the 4 MiB that the host gives to a module's own stack; the stack in memory is well above. */
#define AK_STACK (3 * 1024 * 1024)

static JSContext *context;
static JSValue js_tick, js_show, js_error_text;

static int write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            return -1;
        }
        data += n, size -= (size_t)n;
    }
    return 0;
}

/* Standard output goes through a small buffer of ours, which is emptied at the end, before waiting, and before a word on
 * standard error, so that the two keep their order. */
static char pending[8192];
static size_t pending_size;
static void flush(void)
{
    write_all(1, pending, pending_size);
    pending_size = 0;
}

static JSValue host_write(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv)
{
    int32_t fd;
    size_t size;
    if (JS_ToInt32(ctx, &fd, argv[0]))
        return JS_EXCEPTION;
    const char *text = JS_ToCStringLen(ctx, &size, argv[1]);
    if (!text)
        return JS_EXCEPTION;
    if (fd == 1 && size < sizeof pending) {
        if (pending_size + size > sizeof pending)
            flush();
        memcpy(pending + pending_size, text, size);
        pending_size += size;
    } else {
        flush();
        write_all(fd, text, size);
    }
    JS_FreeCString(ctx, text);
    return JS_UNDEFINED;
}

static JSValue host_sleep(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv)
{
    double ms;
    if (JS_ToFloat64(ctx, &ms, argv[0]))
        return JS_EXCEPTION;
    flush();
    struct timespec t = { .tv_sec = (time_t)(ms / 1e3) };
    t.tv_nsec = (long)((ms - t.tv_sec * 1e3) * 1e6);
    nanosleep(&t, NULL);
    return JS_UNDEFINED;
}

static JSValue host_now(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv)
{
    return js_float64(js__hrtime_ns() / 1e6);
}

/* Standard input to its end; NULL if there is no memory for it. */
static char *read_all(size_t *size)
{
    size_t room = 4096, n = 0;
    char *data = malloc(room);
    while (data) {
        ssize_t got = read(0, data + n, room - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
        if (n == room - 1)
            data = realloc(data, room *= 2);
    }
    if (data)
        data[n] = 0;
    *size = n;
    return data;
}

static JSValue host_read(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv)
{
    size_t size;
    char *data = read_all(&size);
    if (!data)
        return JS_ThrowOutOfMemory(ctx);
    JSValue text = JS_NewStringLen(ctx, data, size);
    free(data);
    return text;
}

static void limit_stack(JSRuntime *rt)
{
    rt->stack_top = js_get_stack_pointer();
    rt->stack_limit = rt->stack_top > AK_STACK ? rt->stack_top - AK_STACK : 1;
}

static void die(const char *why)
{
    write_all(2, why, strlen(why));
    _exit(70);
}

/* What the snapshot is taken after: an engine with its prelude. */
__attribute__((export_name("initialise"))) void initialise(void)
{
    JSRuntime *rt = JS_NewRuntime();
    JSContext *ctx = rt ? JS_NewContext(rt) : NULL;
    if (!ctx)
        die("no context\n");
    JSValue made = JS_Eval(ctx, prelude, sizeof prelude - 1, "<agentkernel>", JS_EVAL_TYPE_GLOBAL);
    JSValueConst args[] = {
        ctx->global_obj,
        JS_NewCFunction(ctx, host_write, "write", 2),
        JS_NewCFunction(ctx, host_sleep, "sleep", 1),
        JS_NewCFunction(ctx, host_now, "now", 0),
        JS_NewCFunction(ctx, host_read, "readStdin", 0),
    };
    JSValue tools = JS_Call(ctx, made, JS_UNDEFINED, countof(args), args);
    if (JS_IsException(tools))
        die("no prelude\n");
    js_tick = JS_GetPropertyStr(ctx, tools, "tick");
    js_show = JS_GetPropertyStr(ctx, tools, "show");
    js_error_text = JS_GetPropertyStr(ctx, tools, "errorText");
    JS_RunGC(rt);
    context = ctx;
}

/* What a snapshot must not carry from one run to the next: where random numbers begin, and when time does. */
static void begin_anew(JSContext *ctx)
{
    if (getentropy(&ctx->random_state, sizeof ctx->random_state))
        die("no random bytes\n");
    if (!ctx->random_state)
        ctx->random_state = 1;
    JS_AddPerformance(ctx);
}

/* Writes an exception to standard error. Always 1, the exit code. */
static int report(JSContext *ctx, JSValue why)
{
    flush();
    limit_stack(ctx->rt);
    JSValueConst args[] = { why };
    JSValue text = JS_Call(ctx, js_error_text, JS_UNDEFINED, 1, args);
    size_t size;
    const char *data = JS_IsException(text) ? NULL : JS_ToCStringLen(ctx, &size, text);
    if (data) {
        write_all(2, data, size);
        write_all(2, "\n", 1);
    } else {
        const char *none = "uncaught exception\n";
        write_all(2, none, strlen(none));
    }
    return 1;
}

/* Remembers the last promise that was rejected and that nobody heard. */
static void on_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, bool handled, void *opaque)
{
    JSValue *list = opaque;
    if (!handled) {
        JS_FreeValue(ctx, list[0]);
        JS_FreeValue(ctx, list[1]);
        list[0] = js_dup(promise), list[1] = js_dup(reason);
    } else if (JS_IsObject(list[0]) && JS_VALUE_GET_PTR(list[0]) == JS_VALUE_GET_PTR(promise)) {
        JS_FreeValue(ctx, list[0]);
        JS_FreeValue(ctx, list[1]);
        list[0] = list[1] = JS_UNDEFINED;
    }
}

/* Runs all jobs: 0, or 1 with an exception pending. */
static int run_jobs(JSContext *ctx)
{
    JSContext *one;
    for (;;) {
        int n = JS_ExecutePendingJob(ctx->rt, &one);
        if (n <= 0)
            return n < 0;
    }
}

/* Runs jobs and timers until there are none: 0, or the exit code of what failed. */
static int settle(JSContext *ctx, JSValue done, JSValue *unhandled)
{
    for (;;) {
        if (run_jobs(ctx))
            return report(ctx, JS_GetException(ctx));
        if (JS_PromiseState(ctx, done) == JS_PROMISE_REJECTED)
            return report(ctx, JS_PromiseResult(ctx, done));
        if (!JS_IsUndefined(unhandled[0]))
            return report(ctx, unhandled[1]);
        JSValue more = JS_Call(ctx, js_tick, JS_UNDEFINED, 0, NULL);
        if (JS_IsException(more))
            return report(ctx, JS_GetException(ctx));
        if (!JS_ToBool(ctx, more))
            break;
    }
    if (JS_PromiseState(ctx, done) != JS_PROMISE_PENDING)
        return 0;
    flush();
    const char *why = "the script waits for a promise that nothing settles\n";
    write_all(2, why, strlen(why));
    return 13;
}

static int print_value(JSContext *ctx, JSValue value)
{
    JSValueConst args[] = { value };
    JSValue text = JS_Call(ctx, js_show, JS_UNDEFINED, 1, args);
    if (JS_IsException(text))
        return report(ctx, JS_GetException(ctx));
    JSValueConst line[] = { js_int32(1), text };
    host_write(ctx, JS_UNDEFINED, 2, line);
    JSValueConst end[] = { js_int32(1), JS_NewString(ctx, "\n") };
    host_write(ctx, JS_UNDEFINED, 2, end);
    return 0;
}

int main(int argc, char **argv)
{
    if (!context)
        initialise();
    JSContext *ctx = context;
    limit_stack(ctx->rt);
    begin_anew(ctx);
    size_t size = argc > 2 ? strlen(argv[2]) : 0;
    char *code = argc > 2 ? argv[2] : read_all(&size);
    if (!code)
        die("out of memory\n");
    JSValue unhandled[2] = { JS_UNDEFINED, JS_UNDEFINED };
    JS_SetHostPromiseRejectionTracker(ctx->rt, on_rejection, unhandled);
    JSValue done = JS_Eval(ctx, code, size, "<eval>",
        JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_ASYNC | JS_EVAL_FLAG_BACKTRACE_BARRIER);
    int failed = JS_IsException(done) ? report(ctx, JS_GetException(ctx)) : settle(ctx, done, unhandled);
    if (!failed && argc > 1 && !strcmp(argv[1], "-p")) {
        JSValue value = JS_GetPropertyStr(ctx, JS_PromiseResult(ctx, done), "value");
        failed = JS_IsUndefined(value) ? 0 : print_value(ctx, value);
    }
    flush();
    _exit(failed); /* nothing is freed: the instance goes as a whole */
}
