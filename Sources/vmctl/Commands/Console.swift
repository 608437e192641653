import ArgumentParser
import Foundation
import Machine
import Management

struct Console: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The serial console in this terminal. Ctrl-] leaves it; the machine runs on.")
  @OptionGroup var machine: ServiceArgument
  @Option(help: ArgumentHelp("The serial port: 1 to 4; without it, the first one.", valueName: "n")) var uart: Int?
  @Flag(help: "The virtio console (hvc0 of Linux), in place of a serial port.") var virtio = false

  func validate() throws {
    guard uart == nil || !virtio else { throw ValidationError("give --uart or --virtio, not both") }
  }

  @Flag(name: .customLong("break"), help: "Sends a break (SysRq on a Linux console) and leaves.") var sendsBreak = false

  func run() throws {
    let entry = try machine.entry(try ServiceArgument.services)
    let client = try ControlClient(entry)
    var request = ControlRequest(sendsBreak ? .sendbreak : .console)
    request.uart = virtio ? MachineConfiguration.virtioConsoleSlot : uart
    try client.request(request)
    if sendsBreak { return }
    let isTerminal = isatty(0) == 1
    // Whoever reads that it is connected may type: the terminal is the guest's by then.
    let stop = try Interruption()
    let saved = isTerminal ? RawTerminal(until: stop) : nil
    if isTerminal { Terminal.error("connected to \"\(entry.name)\"; Ctrl-] leaves\r") }
    // Only a virtio console can tell its guest. The console's own connection is the console by now.
    let sizes = isTerminal ? try? ControlClient(entry) : nil
    let (uart, report) = (request.uart, SerialTask())
    let resizes = sizes.map { sizes in
      { @Sendable in report.run { Self.tellSize(sizes, uart) } }
    }
    resizes?()
    let signals = resizes.map { SignalWatch([SIGWINCH], $0) }
    defer { withExtendedLifetime(signals) {} }
    var link = ConsoleLink(client.descriptor, keys: isTerminal ? .escape(0x1D) : .none)
    link.stop = stop.descriptor
    let why = link.join()
    saved?.restore()
    switch why {
    case .stopped: throw ExitCode(stop.status)
    case .outputFailed(let code) where code != EPIPE:
      throw ManagementError("what the guest says cannot be written: \(String(cString: strerror(code)))")
    default: break
    }
    let left = why == .left
    if isTerminal {
      Terminal.error(left ? "\r\nleft the console; the machine runs on" : "\r\nthe machine has ended or moved away")
    }
  }

  /// A machine that has gone is not told.
  private static func tellSize(_ client: ControlClient, _ uart: Int?) {
    var size = winsize()
    guard ioctl(0, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return }
    var request = ControlRequest(.consolesize)
    (request.uart, request.columns, request.rows) = (uart, size.ws_col, size.ws_row)
    _ = try? client.request(request)
  }
}

/// Does one thing after the other, off the thread that asks.
private final class SerialTask: Sendable {
  private let queue = DispatchQueue(label: "vmctl.console.size")
  func run(_ body: @escaping @Sendable () -> Void) { queue.async(execute: body) }
}
