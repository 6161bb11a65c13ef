/* The first process of every pod: holds its namespaces, collects the processes
   that nobody waits for, and ends when it is told to. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static void collect(int signal) {
  (void)signal;
  while (waitpid(-1, NULL, WNOHANG) > 0) {
  }
}

int main(void) {
  struct sigaction ending = {.sa_handler = end};
  struct sigaction collecting = {.sa_handler = collect, .sa_flags = SA_NOCLDSTOP};
  if (sigaction(SIGINT, &ending, NULL) || sigaction(SIGTERM, &ending, NULL) ||
      sigaction(SIGCHLD, &collecting, NULL)) {
    return EXIT_FAILURE;
  }
  for (;;) {
    pause();
  }
}
