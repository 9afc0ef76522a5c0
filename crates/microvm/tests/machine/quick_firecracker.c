/* A Firecracker that is none, and takes no time: it takes orders and calls as the real one does, and in the place of the guest
   runs the guest agent itself (GUEST, a part of this program), which ends with it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

__asm__(".section .rodata\n.global guest\nguest: .incbin \"" GUEST "\"\n.global guest_end\nguest_end:\n.previous\n");
extern const char guest[], guest_end[];

/* Where it takes calls for its guest, and how large its machine is: what its state is. */
static char calls[108], machine[256];

static void die(const char *what) {
  perror(what);
  exit(7);
}

static int listen_on(const char *path) {
  struct sockaddr_un place = {.sun_family = AF_UNIX};
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || strlen(path) >= sizeof place.sun_path) die("socket");
  strcpy(place.sun_path, path);
  if (bind(listener, (struct sockaddr *)&place, sizeof place) || listen(listener, 16)) die(path);
  return listener;
}

/* Reads until what was read ends with this, or nothing more comes; says how much that is. */
static size_t read_until(int from, char *into, size_t room, const char *end) {
  size_t length = 0, least = strlen(end);
  while (length + 1 < room) {
    ssize_t more = read(from, into + length, room - 1 - length);
    if (more <= 0) break;
    length += (size_t)more;
    if (length >= least && !memcmp(into + length - least, end, least)) break;
  }
  into[length] = 0;
  return length;
}

static void say(int to, const char *text) {
  if (write(to, text, strlen(text)) != (ssize_t)strlen(text)) die("write");
}

/* What the machine was told to call its boot. */
static void boot_id_of(const char *told, char id[37]) {
  static const char place[] = "fill\t/layer/.agentkernel/boot-id\t";
  const char *digits = strstr(told, place);
  if (!digits) die("boot-id");
  digits += strlen(place);
  for (int at = 0; at < 36; at++, digits += 2) {
    unsigned letter = 0;
    if (sscanf(digits, "%2x", &letter) != 1) die("boot-id");
    id[at] = (char)letter;
  }
  id[36] = 0;
}

/* What an agent says before it is greeted: that its machine waits, and that it is renewed. */
static void renew(int caller) {
  static char told[1 << 16];
  char id[37], answer[256];
  if (!read_until(caller, told, sizeof told, "\n")) exit(0);
  if (strcmp(told, "CONNECT 1024\n")) die(told);
  say(caller, "OK 1073741824\nwaiting\n");
  if (!read_until(caller, told, sizeof told, "go\n")) exit(0);
  boot_id_of(told, id);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(answer, sizeof answer, "renewed\t%s\t%032lx\t%ld.%09ld\n", id, (long)now.tv_nsec, (long)now.tv_sec,
           now.tv_nsec);
  say(caller, answer);
}

/* A process of its own: whoever calls must find that this one listens, and that ends with it. */
static void run_guest(void) {
  int listener = listen_on(calls);
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid > 0) {
    close(listener);
    return;
  }
  if (prctl(PR_SET_PDEATHSIG, SIGKILL)) die("prctl");
  int program = memfd_create("guest", MFD_CLOEXEC);
  if (program < 0 || write(program, guest, (size_t)(guest_end - guest)) != guest_end - guest) die("memfd");
  int caller = accept(listener, 0, 0);
  if (caller < 0) die("accept");
  renew(caller);
  if (dup2(caller, 0)) die("dup2");
  char *words[] = {"agentkernel-guest", 0}, *none[] = {0};
  fexecve(program, words, none);
  die("fexecve");
}

/* The text of this name in a body of JSON in which nothing has to be escaped. */
static void text_of(const char *body, const char *name, char *into, size_t room) {
  char key[64];
  snprintf(key, sizeof key, "\"%s\":\"", name);
  const char *begin = strstr(body, key), *end = begin ? strchr(begin += strlen(key), '"') : 0;
  if (!end || (size_t)(end - begin) >= room) die(name);
  memcpy(into, begin, (size_t)(end - begin));
  into[end - begin] = 0;
}

static void write_snapshot(const char *body) {
  char state[256], memory[256];
  text_of(body, "snapshot_path", state, sizeof state);
  text_of(body, "mem_file_path", memory, sizeof memory);
  FILE *file = fopen(state, "w");
  if (!file || fprintf(file, "%s\n%s\n", calls, machine) < 0 || fclose(file)) die(state);
  if (!(file = fopen(memory, "w")) || fputs("memory", file) < 0 || fclose(file)) die(memory);
}

static void read_snapshot(const char *body) {
  char state[256];
  text_of(body, "snapshot_path", state, sizeof state);
  FILE *file = fopen(state, "r");
  if (!file || fscanf(file, "%107s\n%255s", calls, machine) != 2 || fclose(file)) die(state);
}

/* Does what is asked for, and answers. */
static void obey(int caller, const char *what, const char *body) {
  char answer[1024], facts[512] = "";
  if (!strncmp(what, "PUT /vsock ", 11)) text_of(body, "uds_path", calls, sizeof calls);
  if (!strncmp(what, "PUT /machine-config ", 20)) snprintf(machine, sizeof machine, "%s", body);
  if (!strncmp(what, "PUT /snapshot/create ", 21)) write_snapshot(body);
  if (!strncmp(what, "PUT /snapshot/load ", 19)) read_snapshot(body);
  if (!strncmp(what, "PUT /snapshot/load ", 19) || !strncmp(what, "PUT /actions ", 13)) run_guest();
  if (!strncmp(what, "GET /vm/config ", 15))
    snprintf(facts, sizeof facts,
             "{\"machine-config\":%s,\"drives\":[{\"is_read_only\":true}],\"network-interfaces\":[]}", machine);
  else if (!strncmp(what, "GET ", 4))
    strcpy(facts, "{}");
  const char *status = *facts ? "200 OK" : "204 No Content";
  snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(facts),
           facts);
  say(caller, answer);
}

/* One request; one who calls and says nothing only wants to know who listens. */
static void serve(int caller) {
  static char request[1 << 16];
  size_t length = 0;
  for (;;) {
    ssize_t more = read(caller, request + length, sizeof request - 1 - length);
    if (more <= 0) return;
    length += (size_t)more;
    request[length] = 0;
    char *body = strstr(request, "\r\n\r\n"), *told = strcasestr(request, "content-length:");
    size_t expected = told && told < body ? strtoul(told + 15, 0, 10) : 0;
    if (body && strlen(body + 4) >= expected) return obey(caller, request, body + 4);
  }
}

/* Like the real one it has a filter of system calls; this one lets all pass. */
static void filter(void) {
  struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog program = {1, all};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) die("seccomp");
}

int main(int count, char **words) {
  const char *orders = 0;
  for (int at = 1; at < count; at++) {
    if (!strcmp(words[at], "--version")) return puts("Firecracker v" VERSION " (stand-in)") < 0;
    if (!strcmp(words[at], "--api-sock") && at + 1 < count) orders = words[at + 1];
  }
  if (!orders) return 2;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  filter();
  int listener = listen_on(orders);
  for (;;) {
    int caller = accept4(listener, 0, 0, SOCK_CLOEXEC);
    if (caller < 0) die("accept");
    serve(caller);
    close(caller);
  }
}
