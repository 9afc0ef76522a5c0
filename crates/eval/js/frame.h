#ifndef AK_FRAME_H
#define AK_FRAME_H
/* How deep a script may go. The host's own stack cannot be seen from inside; what can is the stack in memory, of which
 * many functions use nothing. So each function that asks whether the stack is full gets AK_PAD bytes of it, that the two
 * grow together, and those that recurse without asking get AK_PARSE_PAD. The limit (AK_STACK in main.c) is then reached before the
 * host's, whose end would be that of the whole script. */
#define AK_PAD 1024
#define AK_PARSE_PAD 192

static inline __attribute__((always_inline)) void *ak_frame(void)
{
    char pad[AK_PAD];
    __asm__ volatile("" : : "r"(pad) : "memory");
    return pad;
}

#define AK_FRAME() char ak_pad[AK_PARSE_PAD]; __asm__ volatile("" : : "r"(ak_pad) : "memory")
#endif
