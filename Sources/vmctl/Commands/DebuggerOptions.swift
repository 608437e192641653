import ArgumentParser
import Management

/// Where and as what a machine serves GDB.
struct DebuggerOptions: ParsableArguments {
  enum Architecture: String, ExpressibleByArgument, CaseIterable {
    case x86_64 = "x86-64"
    case i386, i8086
  }
  @Option(help: ArgumentHelp("gdbserver: a TCP port of localhost; 1234 without it, 0 a free one.", valueName: "port"))
  var port: Int?
  @Option(help: "gdbserver: a Unix socket.", completion: .file()) var socket: String?
  @Option(
    help: """
      gdbserver: which registers GDB is shown; without it those of the machine's widest mode. i8086: those of i386 with the \
      linear address as $pc, for real mode.
      """)
  var architecture: Architecture?

  var isEmpty: Bool { port == nil && socket == nil && architecture == nil }

  var place: DebuggerPlace? { socket.map { .socket(path: $0) } ?? port.map { .port($0) } }

  func validate() throws {
    guard port == nil || socket == nil else { throw ValidationError("give --port or --socket, not both") }
    guard (0...65535).contains(port ?? 0) else { throw ValidationError("--port is from 0 to 65535") }
  }
}
