import ArgumentParser
import Foundation
import Machine
import Management

struct ShowVMInfo: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "showvminfo", abstract: "Shows a machine, its state or its log.",
    discussion: "docs/showvminfo.schema.json describes what --format json prints.")
  @OptionGroup var machine: MachineArgument
  @Flag(help: "Prints key=\"value\" lines.") var machinereadable = false
  @Flag(help: "As VBoxManage has it; all details are always shown.") var details = false
  @Option(help: "How to print it.") var format: OutputFormat?
  @Option(help: ArgumentHelp("Prints its log instead: 0 the present one, 1 the one before.", valueName: "n")) var log:
    Int?

  func run() throws {
    let entry = try machine.entry()
    if let log {
      guard let text = entry.folder.readLog(log) else {
        throw ManagementError(
          "there is no log \(log) of \"\(entry.name)\"", remedy: "0 is the present one, 1 to 3 are those before")
      }
      print(text, terminator: "")
      return
    }
    let facts = try VMFacts.of(entry)
    if machinereadable {
      for fact in facts { Terminal.line("\(fact.quotedKey)=\(fact.quoted)") }
    } else if format == .json {
      try Terminal.json(VMFact.typed(facts))
    } else {
      let shown = facts.filter { !$0.isOfAbsentDevice }
      let width = shown.map(\.label.count).max() ?? 0
      for fact in shown {
        Terminal.line((fact.label + ":").padding(toLength: width + 2, withPad: " ", startingAt: 0) + fact.value)
      }
    }
  }
}
