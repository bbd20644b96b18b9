/* The real ps, which reads /proc: here there is one in this process's mount namespace only. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (unshare(CLONE_NEWNS) || mount("/.realproc", "/proc", 0, MS_BIND, 0)) { perror("ps"); return 1; }
    execv("/usr/bin/ps.real", argv);
    perror("ps.real");
    return 1;
}
