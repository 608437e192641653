import ArgumentParser
import Foundation
import Management

struct Console: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The serial console in this terminal. Ctrl-] leaves it; the machine runs on.")
  @OptionGroup var machine: ServiceArgument
  @Option(help: ArgumentHelp("The serial port: 1 to 4; without it, the first one.", valueName: "n")) var uart: Int?

  func run() throws {
    let entry = try machine.entry(try ServiceArgument.services)
    let client = try ControlClient(entry)
    var request = ControlRequest(.console)
    request.uart = uart
    try client.request(request)
    let isTerminal = isatty(0) == 1
    // Whoever reads that it is connected may type: the terminal is the guest's by then.
    let saved = isTerminal ? RawTerminal() : nil
    if isTerminal { Terminal.error("connected to \"\(entry.name)\"; Ctrl-] leaves\r") }
    let left = ConsoleLink(client.descriptor, keys: isTerminal ? .escape(0x1D) : .none).join() == .left
    saved?.restore()
    if isTerminal {
      Terminal.error(left ? "\r\nleft the console; the machine runs on" : "\r\nthe machine has ended or moved away")
    }
  }
}
