import ArgumentParser
import Foundation
import Management

struct Events: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Follows what happens to a running machine, a line an event, until it ends.",
    discussion: """
      States, resets, how far a teleport is, discs and network cards that are changed, warnings of its log. \
      docs/control-socket.md describes the events.
      """)
  @OptionGroup var machine: MachineArgument
  @Option(help: "How to print them: json is an object a line.") var format: OutputFormat?

  func run() throws {
    let client = try ControlClient(try machine.entry())
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let isJSON = format == .json
    try client.request(ControlRequest(.events)) { reply in
      guard let event = reply.event else { return }
      if !isJSON { return Terminal.line(event.line) }
      if let bytes = try? encoder.encode(event) { Terminal.line(String(decoding: bytes, as: UTF8.self)) }
    }
  }
}
