#define _GNU_SOURCE
#include "include/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// MARK: Privileges

int vm_drop_privileges(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2];
  if (syscall(SYS_capget, &header, sets) != 0) return -1;
  const uint32_t kept = 1u << CAP_DAC_OVERRIDE | 1u << CAP_NET_BIND_SERVICE;
  sets[0].permitted &= kept;
  sets[0].effective &= kept;
  sets[1].permitted = sets[1].effective = 0;
  sets[0].inheritable = sets[1].inheritable = 0;
  if (syscall(SYS_capset, &header, sets) != 0) return -1;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

// MARK: Landlock

// Kernel headers may be older than the kernel: what follows is of its Documentation/userspace-api/landlock.rst.
#define CREATE_RULESET 444
#define ADD_RULE 445
#define RESTRICT_SELF 446
#define RULE_PATH_BENEATH 1

enum {
  EXECUTE = 1 << 0, WRITE_FILE = 1 << 1, READ_FILE = 1 << 2, READ_DIR = 1 << 3, REMOVE_FILE = 1 << 5, MAKE_REG = 1 << 8,
  MAKE_SOCK = 1 << 9, TRUNCATE = 1 << 14,
};

struct ruleset {
  uint64_t files, network, scoped;
};

struct path_beneath {
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));

/// All rights on files that the ABI knows: ABI 1 has thirteen; 2 adds moving between folders, 3 truncation, 5 ioctl on devices.
static uint64_t known_rights(int abi) { return (1u << (abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13)) - 1; }

int vm_landlock_abi(void) {
  long abi = syscall(CREATE_RULESET, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
  return abi > 0 ? (int)abi : 0;
}

int vm_landlock_create(int abi) {
  struct ruleset rules = {known_rights(abi), 0, abi >= 6 ? 3 : 0};
  return (int)syscall(CREATE_RULESET, &rules, sizeof rules, 0);
}

int vm_landlock_allow(int rules, int abi, const char *path, int rights) {
  struct stat status;
  int file = open(path, O_PATH | O_CLOEXEC);
  if (file < 0) return -1;
  int result = fstat(file, &status);
  if (result == 0) {
    uint64_t allowed = 0;
    if (rights & VM_MAY_READ) allowed |= READ_FILE | READ_DIR;
    if (rights & VM_MAY_WRITE) allowed |= WRITE_FILE | TRUNCATE;
    if (rights & VM_MAY_CHANGE) allowed |= MAKE_REG | MAKE_SOCK | REMOVE_FILE;
    if (rights & VM_MAY_RUN) allowed |= EXECUTE;
    if (!S_ISDIR(status.st_mode)) allowed &= EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE;
    struct path_beneath rule = {allowed & known_rights(abi), file};
    result = (int)syscall(ADD_RULE, rules, RULE_PATH_BENEATH, &rule, 0);
  }
  int reason = errno;
  close(file);
  errno = reason;
  return result;
}

int vm_landlock_enforce(int rules) { return (int)syscall(RESTRICT_SELF, rules, 0); }

// MARK: seccomp

/// What needs no look at its arguments. Files are Landlock's to guard.
static const uint16_t allowed_calls[] = {
  // files and descriptors that are open
  SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_lseek, SYS_close,
  SYS_close_range, SYS_fstat, SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_fallocate, SYS_dup, SYS_dup2, SYS_dup3,
  // names of files
  SYS_open, SYS_openat, SYS_stat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_access, SYS_faccessat, SYS_faccessat2,
  SYS_readlink, SYS_readlinkat, SYS_getdents64, SYS_getcwd, SYS_rename, SYS_renameat, SYS_renameat2, SYS_unlink, SYS_unlinkat,
  SYS_statfs, SYS_fstatfs,
  // waiting and waking
  SYS_pipe, SYS_pipe2, SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2,
  SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime,
  SYS_signalfd4, SYS_futex, SYS_nanosleep, SYS_clock_nanosleep, SYS_restart_syscall,
  // sockets that are open, and connections to others
  SYS_connect, SYS_accept, SYS_accept4, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto,
  SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_shutdown,
  // memory
  SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_memfd_create, SYS_mincore, SYS_membarrier,
  // threads and signals
  SYS_set_robust_list, SYS_get_robust_list, SYS_rseq, SYS_set_tid_address, SYS_exit, SYS_exit_group, SYS_sched_yield,
  SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_get_priority_max,
  SYS_sched_get_priority_min, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_rt_sigpending,
  SYS_sigaltstack, SYS_gettid, SYS_getpid, SYS_getppid,
  // facts
  SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_sysinfo, SYS_getrusage, SYS_times, SYS_getrlimit, SYS_getcpu,
  SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_time, SYS_getrandom,
};

/// Of who opens servers.
static const uint16_t server_calls[] = {SYS_bind, SYS_listen, SYS_setsid};

/// Of who starts programs, and of programs until they have put up their own walls.
static const uint16_t starter_calls[] = {
  SYS_execve, SYS_wait4, SYS_waitid, SYS_kill, SYS_tgkill, SYS_socketpair, SYS_arch_prctl, SYS_prctl, SYS_capget, SYS_capset,
  SYS_seccomp, CREATE_RULESET, ADD_RULE, RESTRICT_SELF,
};

struct program {
  struct sock_filter code[512];
  unsigned short count;
};

static void emit(struct program *program, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false) {
  program->code[program->count++] = (struct sock_filter){code, if_true, if_false, k};
}

static void load(struct program *program, size_t offset) { emit(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0); }

/// The lower half of argument number `index`: what an int is passed in.
static void load_argument(struct program *program, int index) {
  load(program, offsetof(struct seccomp_data, args) + (size_t)index * 8);
}

static void finish(struct program *program, uint32_t action) { emit(program, BPF_RET | BPF_K, action, 0, 0); }

#define REFUSE (SECCOMP_RET_ERRNO | EPERM)
#define UNKNOWN (SECCOMP_RET_ERRNO | ENOSYS)

/// What follows, up to the matching `end_call`, is for one system call only.
static unsigned short begin_call(struct program *program, uint32_t number) {
  emit(program, BPF_JMP | BPF_JEQ | BPF_K, number, 0, 0);
  return program->count;
}

static void end_call(struct program *program, unsigned short start) {
  finish(program, REFUSE);
  program->code[start - 1].jf = (uint8_t)(program->count - start);
}

/// Allows the call when what is loaded is the value.
static void allow_value(struct program *program, uint32_t value) {
  emit(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
  finish(program, SECCOMP_RET_ALLOW);
}

/// Allows a call when one of its arguments is one of some values.
static void allow_values(struct program *program, uint32_t call, int argument, const uint32_t *values, size_t count) {
  unsigned short start = begin_call(program, call);
  load_argument(program, argument);
  for (size_t index = 0; index < count; index++) allow_value(program, values[index]);
  end_call(program, start);
}

/// Allows a call when some bits of one of its arguments are as wanted (or, with `unless`, when they are not).
static void allow_bits(struct program *program, uint32_t call, int argument, uint32_t mask, uint32_t value, int unless) {
  unsigned short start = begin_call(program, call);
  load_argument(program, argument);
  emit(program, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
  emit(program, BPF_JMP | BPF_JEQ | BPF_K, value, unless ? 1 : 0, unless ? 0 : 1);
  finish(program, SECCOMP_RET_ALLOW);
  end_call(program, start);
}

#define ALLOW_VALUES(program, call, argument, ...) \
  allow_values(program, call, argument, (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void allow_calls(struct program *program, const uint16_t *calls, size_t count) {
  for (size_t index = 0; index < count; index++) allow_value(program, calls[index]);
}

static void write_program(struct program *program, int work) {
  load(program, offsetof(struct seccomp_data, arch));
  emit(program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
  finish(program, SECCOMP_RET_KILL_PROCESS);
  load(program, offsetof(struct seccomp_data, nr));
  allow_calls(program, allowed_calls, sizeof allowed_calls / sizeof *allowed_calls);
  if (work & VM_MAY_SERVE) allow_calls(program, server_calls, sizeof server_calls / sizeof *server_calls);
  if (work & VM_MAY_START) allow_calls(program, starter_calls, sizeof starter_calls / sizeof *starter_calls);

  // A thread, no process; of who starts programs a process, too, but in no namespace of its own. The flags of clone3 are in
  // memory, where a filter cannot look: the C library then takes clone.
  const uint32_t namespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  if (work & VM_MAY_START)
    allow_bits(program, SYS_clone, 0, namespaces, 0, 0);
  else
    allow_bits(program, SYS_clone, 0, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD, 0);
  emit(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
  finish(program, UNKNOWN);
  // The translator's code is mapped twice; no mapping is both.
  allow_bits(program, SYS_mmap, 2, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC, 1);
  allow_bits(program, SYS_mprotect, 2, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC, 1);
  // The network. Sockets in the file system (of other services on this host) and raw ones are none of it.
  {
    unsigned short start = begin_call(program, SYS_socket);
    load_argument(program, 1);
    emit(program, BPF_ALU | BPF_AND | BPF_K, 0xFF, 0, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 2, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, SOCK_DGRAM, 1, 0);
    finish(program, REFUSE);
    load_argument(program, 0);
    allow_value(program, AF_INET);
    allow_value(program, AF_INET6);
    if (work & VM_MAY_CONNECT_PATHS) allow_value(program, AF_UNIX);
    end_call(program, start);
  }
  // FIONREAD, FIONBIO; TCGETS, TIOCGWINSZ: whether standard output is a terminal. None that types into it.
  ALLOW_VALUES(program, SYS_ioctl, 1, 0x541B, 0x5421, 0x5401, 0x5413);
  ALLOW_VALUES(
    program, SYS_fcntl, 1, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW,
    F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_ADD_SEALS);
  ALLOW_VALUES(program, SYS_prctl, 0, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA);
  // Itself only; limits are read, not set.
  ALLOW_VALUES(program, SYS_kill, 0, (uint32_t)getpid());
  ALLOW_VALUES(program, SYS_tgkill, 0, (uint32_t)getpid());
  ALLOW_VALUES(program, SYS_prlimit64, 2, 0);

  emit(program, BPF_JMP | BPF_JGE | BPF_K, SYS_faccessat2 + 1, 0, 1);
  finish(program, UNKNOWN);
  finish(program, REFUSE);
}

int vm_seccomp_enforce(int work) {
  struct program program = {.count = 0};
  write_program(&program, work);
  struct sock_fprog code = {program.count, program.code};
  // Without SPEC_ALLOW a kernel before 5.16 slows the process down to be safe from its own code.
  long result = syscall(
    SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &code);
  if (result == 0) return 0;
  // The number of a thread that has a filter of its own.
  if (result > 0) errno = ESRCH;
  return -1;
}
