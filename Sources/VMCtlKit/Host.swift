import Foundation

/// The machines of one user on this computer, for programs that work with them: what commands do is done by vmctl, what a
/// running machine does is asked of its control socket (`MachineConnection`).
///
///     let host = Host()
///     try host.run("startvm", "box", "--wait", "kernel")
///     let box = try host.connect("box")
///     try box.pause()
public struct Host: Sendable {
  /// The path of vmctl, or its name, to be looked for in PATH.
  public var program: String
  /// `VMCTL_HOME`; nil: as the environment has it.
  public var home: String?

  /// The machines of a home.
  public init(program: String = "vmctl", home: String? = nil) {
    self.program = program
    self.home = home
  }

  /// Runs a command of vmctl to its end.
  /// - Returns: what it has printed.
  /// - Throws: `VMCtlError.command` when it fails, `VMCtlError.system` when it cannot be started.
  @discardableResult
  public func run(_ words: String...) throws -> String { try run(words) }

  /// The same.
  /// - Throws: the same errors as `run(_:)`.
  @discardableResult
  public func run(_ words: [String]) throws -> String {
    // Of this process's other children none may keep the pipes open: they are marked before anybody can be started.
    let (output, errors) = (try Self.pipe(), try Self.pipe())
    let process: pid_t
    do {
      defer {
        close(output.write)
        close(errors.write)
      }
      process = try spawn(words, output: output.write, errors: errors.write)
    } catch {
      close(output.read)
      close(errors.read)
      throw error
    }
    // Both at once: whichever is not read could fill up.
    let said = Received()
    Thread { said.set(Self.readAll(errors.read)) }.start()
    let text = String(decoding: Self.readAll(output.read), as: UTF8.self)
    let complaint = String(decoding: said.get(), as: UTF8.self)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    guard status == 0 else {
      // As shells have it for one that a signal has ended.
      throw VMCtlError.command(
        status: status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F,
        text: complaint.trimmingCharacters(in: .whitespacesAndNewlines))
    }
    return text
  }

  /// Two ends of a socket: unlike a pipe's they are marked as they are made.
  private static func pipe() throws -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw VMCtlError.system("cannot make a socket: \(String(cString: strerror(errno)))")
    }
    return (ends[0], ends[1])
  }

  private func spawn(_ words: [String], output: Int32, errors: Int32) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)
    var environment = ProcessInfo.processInfo.environment
    if let home { environment["VMCTL_HOME"] = home }
    let arguments = ([program] + words).map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var process = pid_t()
    let code = posix_spawnp(&process, program, &actions, nil, arguments, variables)
    guard code == 0 else { throw VMCtlError.system("cannot start \(program): \(String(cString: strerror(code)))") }
    return process
  }

  /// Reads to the end, and closes.
  private static func readAll(_ descriptor: Int32) -> Data {
    defer { close(descriptor) }
    var data = Data()
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return data }
      data.append(contentsOf: chunk[..<count])
    }
  }

  /// The names of all machines.
  /// - Throws: the same errors as `run(_:)`.
  public func machines() throws -> [String] {
    struct Entry: Decodable { var name: String }
    return try JSONDecoder().decode([Entry].self, from: Data(run("list", "vms", "--format", "json").utf8)).map(\.name)
  }

  /// What `showvminfo` says of a machine, by its keys (docs/showvminfo.schema.json).
  /// - Throws: the same errors as `run(_:)`.
  public func facts(_ machine: String) throws -> [String: Fact] {
    try JSONDecoder().decode(
      [String: Fact].self, from: Data(run("showvminfo", machine, "--format", "json").utf8))
  }

  /// Connects to a running machine, by its name or UUID.
  /// - Throws: `VMCtlError.command` when there is no such machine, `VMCtlError.notRunning` when it does not run.
  public func connect(_ machine: String) throws -> MachineConnection {
    guard case .text(let definition)? = try facts(machine)["CfgFile"] else {
      throw VMCtlError.protocol("showvminfo does not say where the definition is")
    }
    let folder = URL(fileURLWithPath: definition).deletingLastPathComponent().path
    return try MachineConnection(socket: folder + "/control.sock", machine: machine)
  }
}

/// A value of `showvminfo`.
public enum Fact: Codable, Equatable, Sendable {
  case text(String)
  case number(Double)
  case flag(Bool)
  case list([Fact])
  case object([String: Fact])

  /// - Throws: `DecodingError` for null.
  public init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if let flag = try? value.decode(Bool.self) {
      self = .flag(flag)
    } else if let number = try? value.decode(Double.self) {
      self = .number(number)
    } else if let text = try? value.decode(String.self) {
      self = .text(text)
    } else if let list = try? value.decode([Fact].self) {
      self = .list(list)
    } else {
      self = .object(try value.decode([String: Fact].self))
    }
  }

  /// - Throws: what the encoder throws.
  public func encode(to encoder: any Encoder) throws {
    var value = encoder.singleValueContainer()
    switch self {
    case .text(let text): try value.encode(text)
    case .number(let number): try value.encode(number)
    case .flag(let flag): try value.encode(flag)
    case .list(let list): try value.encode(list)
    case .object(let object): try value.encode(object)
    }
  }
}

/// What went wrong.
public enum VMCtlError: Error, Equatable, CustomStringConvertible {
  /// A command has failed, with this status and text.
  case command(status: Int32, text: String)
  /// The machine has refused a request, with this text.
  case refused(String)
  /// The machine does not run.
  case notRunning(String)
  /// The connection ended, or its process has been silent for too long.
  case ended(String)
  /// An answer that this library does not know.
  case `protocol`(String)
  case system(String)

  /// In words.
  public var description: String {
    switch self {
    case .command(let status, let text): text.isEmpty ? "vmctl ended with status \(status)" : text
    case .refused(let text), .ended(let text), .protocol(let text), .system(let text): text
    case .notRunning(let name): "the machine \"\(name)\" does not run: start it with vmctl startvm"
    }
  }
}

private final class Received: @unchecked Sendable {
  private let done = DispatchSemaphore(value: 0)
  private var data = Data()
  func set(_ new: Data) {
    data = new
    done.signal()
  }
  func get() -> Data {
    done.wait()
    return data
  }
}
