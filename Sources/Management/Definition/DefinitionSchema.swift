import Foundation
import Machine

/// What a definition file may hold: the keys, their kinds and their allowed values. Checking a file against it gives
/// errors that name the line and what is allowed; what passes can be decoded without surprises.
indirect enum DefinitionSchema: Sendable {
  case text
  case choice([String])
  case boolean
  case integer(ClosedRange<Int>)
  case list(DefinitionSchema)
  case table([(key: String, value: DefinitionSchema)])

  var expectation: String {
    switch self {
    case .text: "a text in quotes"
    case .choice(let values): "one of " + values.map { "\"\($0)\"" }.joined(separator: ", ")
    case .boolean: "true or false"
    case .integer(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .list(.table): "a table in double brackets"
    case .list(let element): "a list, each element \(element.expectation)"
    case .table: "a table"
    }
  }

  static let root: DefinitionSchema = .table([
    ("name", .text), ("uuid", .text), ("description", .text), ("hardware", hardware), ("teleporter", teleporter),
  ])

  private static let hardware: DefinitionSchema = .table([
    ("memory", .integer(1...(1 << 24))), ("vram", .integer(1...256)), ("cpus", .integer(1...64)),
    ("cpu-profile", .choice(HardwareLimits.cpuProfiles)),
    ("accelerator", .choice(HardwareLimits.accelerators)),
    ("firmware", .text),
    ("boot-order", .list(.choice(MachineConfiguration.BootDevice.allCases.map(\.rawValue)))),
    ("kernel", .text), ("initrd", .text), ("append", .text),
    ("rtc-use-utc", .boolean), ("hpet", .boolean), ("debug-ports", .boolean),
    ("cpuid", .list(cpuid)), ("uart", .list(uart)), ("storage", .list(storage)),
  ])

  private static let cpuid: DefinitionSchema = .table([
    ("leaf", .integer(0...0xFFFF_FFFF)), ("subleaf", .integer(0...0xFFFF_FFFF)),
    ("registers", .list(.integer(0...0xFFFF_FFFF))), ("remove", .boolean),
  ])

  private static let uart: DefinitionSchema = .table([
    ("slot", .integer(1...4)), ("io-base", .integer(0...0xFFF8)), ("irq", .integer(0...15)), ("mode", .text),
  ])

  private static let storage: DefinitionSchema = .table([
    ("name", .text), ("bus", .choice(MachineConfiguration.StorageController.Bus.allCases.map(\.rawValue))),
    ("attachment", .list(attachment)),
  ])

  private static let attachment: DefinitionSchema = .table([
    ("port", .integer(0...1)), ("device", .integer(0...1)),
    ("type", .choice(MachineConfiguration.Attachment.Kind.allCases.map(\.rawValue))),
    ("medium", .text), ("mode", .choice(MachineConfiguration.Attachment.Mode.allCases.map(\.rawValue))),
    ("format", .choice(MachineConfiguration.Attachment.Format.allCases.map(\.rawValue))),
  ])

  private static let teleporter: DefinitionSchema = .table([
    ("enabled", .boolean), ("port", .integer(0...65535)), ("address", .text), ("password", .text),
    ("password-file", .text),
  ])
}

/// One wrong thing in a definition file.
struct DefinitionProblem: Equatable {
  /// Keys and, after a list's key, the element's index: ["hardware", "uart", "0", "irq"].
  var path: [String]
  var message: String
}
