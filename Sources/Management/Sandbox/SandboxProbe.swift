import Foundation
import HostNetwork

/// Tries from within a VM process what a guest that has broken out of its machine would try, in ways that do no harm where they
/// succeed.
enum SandboxProbe {
  /// What the process tries its strength on: things of the user's that are none of the machine's.
  typealias Target = ProbeTarget

  /// - Returns: a line for each attempt: what it is, and "possible" or why not.
  static func report(_ target: Target) -> String {
    attempts(target).map { what, code in
      "\(what): \(code == 0 ? "possible" : "refused (\(String(cString: strerror(code))))")"
    }.joined(separator: "\n")
  }

  /// What is tried, and 0 or the error's number.
  static func attempts(_ target: Target) -> [(what: String, code: Int32)] {
    [
      ("write to another file", openFile(target.file, O_WRONLY)),
      ("read another file", openFile(target.file, O_RDONLY)),
      ("make a file", openFile(target.file + ".made", O_WRONLY | O_CREAT)),
      ("become another program", execute()),
      ("start a program", spawn()),
      ("signal another process", kill(target.process, 0) == 0 ? 0 : errno),
      ("listen on a TCP port", listenTCP()),
      ("connect to a service's socket in the file system", socket(AF_UNIX)),
      ("map memory that is writable and executable", mapWritableCode()),
    ]
  }

  private static func openFile(_ path: String, _ flags: Int32) -> Int32 {
    let descriptor = open(path, flags | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return errno }
    close(descriptor)
    return 0
  }

  /// With an environment that lies nowhere: where the program may be started the kernel finds that out as the last thing.
  private static func execute() -> Int32 {
    let nowhere = UnsafePointer<UnsafeMutablePointer<CChar>?>(bitPattern: 16)
    var arguments: [UnsafeMutablePointer<CChar>?] = [nil]
    execve("/bin/true", &arguments, nowhere)
    return errno == EFAULT ? 0 : errno
  }

  private static func spawn() -> Int32 {
    var process = pid_t()
    var arguments: [UnsafeMutablePointer<CChar>?] = [nil]
    let code = posix_spawn(&process, "/bin/true", nil, nil, &arguments, nil)
    if code == 0 { waitpid(process, nil, 0) }
    return code
  }

  private static func socket(_ family: Int32) -> Int32 {
    let descriptor = Glibc.socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return errno }
    close(descriptor)
    return 0
  }

  private static func listenTCP() -> Int32 {
    let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    // On a free port of all addresses, as listen(2) chooses where bind(2) was not called.
    return listen(descriptor, 1) == 0 ? 0 : errno
  }

  private static func mapWritableCode() -> Int32 {
    let size = 4096
    let memory = mmap(nil, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard memory != MAP_FAILED else { return errno }
    munmap(memory, size)
    return 0
  }
}
