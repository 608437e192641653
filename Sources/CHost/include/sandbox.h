/// System calls by which a process gives up what it does not need: no_new_privs (prctl(2)), Landlock (landlock(7)) for files
/// and seccomp (seccomp(2)) for system calls. Nothing of it can be taken back.
#ifndef VMCTL_SANDBOX_H
#define VMCTL_SANDBOX_H

/// What may be done at a path and below it.
enum {
  /// Files are opened for reading, folders listed.
  VM_MAY_READ = 1,
  /// Files that are there are opened for writing and cut.
  VM_MAY_WRITE = 2,
  /// Files and sockets are made, renamed within a folder and removed.
  VM_MAY_CHANGE = 4,
  /// Programs are executed.
  VM_MAY_RUN = 8,
};

/// Gives up, for the calling thread and those it starts, the capabilities of a process that root has started
/// (capabilities(7)) but for two, which root's users count on: files of others (Landlock says which) and ports below 1024.
/// No program brings any back.
/// - Returns: 0, or -1 with errno.
int vm_drop_privileges(void);

/// Which version of Landlock the kernel has; 0: none, or it is switched off.
int vm_landlock_abi(void);

/// A set of rules that as yet forbids everything that the ABI can forbid about files, and signals and abstract sockets to
/// processes outside (ABI 6).
/// - Returns: a descriptor, or -1 with errno.
int vm_landlock_create(int abi);

/// Allows something at a path and below it. Symbolic links are followed now, once: the rule is for the file, not its name.
/// - Returns: 0, or -1 with errno.
int vm_landlock_allow(int rules, int abi, const char *path, int rights);

/// Puts the calling thread, and each that it starts from now on, under the rules. After `vm_drop_privileges`.
/// - Returns: 0, or -1 with errno.
int vm_landlock_enforce(int rules);

/// What a process may do besides, if it is its work.
enum {
  /// Opens servers on the network, and leaves the session of who started it.
  VM_MAY_SERVE = 1,
  /// Starts programs (Landlock says which), ends them, and has them put up walls of their own.
  VM_MAY_START = 2,
  /// Connects to sockets in the file system.
  VM_MAY_CONNECT_PATHS = 4,
};

/// Allows all threads of the process, from now on, the system calls of a VM process that has its sockets and its programs:
/// none that starts a program or a process, opens a server or reaches into another process, but for what is among `work`. The
/// others fail with EPERM, those this file does not know with ENOSYS, as on a kernel that does not have them. Programs that it
/// starts are held to the same. After `vm_drop_privileges`.
/// - Returns: 0, or -1 with errno.
int vm_seccomp_enforce(int work);
#endif
