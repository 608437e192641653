import ArgumentParser
import HostNetwork
import Foundation
import Machine
import Management

struct CreateVM: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "createvm", abstract: "Makes a machine.")
  @Option(help: "Its name.") var name: String
  @Option(help: ArgumentHelp("Memory in MB.", valueName: "mb")) var memory: Int?
  @Option(help: "The folder in which its folder is made.", completion: .directory) var basefolder: String?
  @Option(help: "Its UUID, instead of a new one.") var uuid: String?
  @Flag(help: "As VBoxManage has it; a machine is always registered.") var register = false
  @Option(help: ArgumentHelp("As VBoxManage has it; every guest gets the same board.", valueName: "type")) var ostype:
    String?
  @Option(help: ArgumentHelp("As VBoxManage has it; there are no groups.", valueName: "group")) var groups: String?
  @Flag(name: .customLong("default"), help: "Gives it an IDE controller and a console on a free port.")
  var usesDefaults = false

  func run() throws {
    var definition = VMDefinition(name: name)
    if let uuid {
      guard let value = UUID(uuidString: uuid) else { throw ValidationError("\"\(uuid)\" is no UUID") }
      definition.uuid = value
    }
    if let memory { try definition.set("memory", [String(memory)]) }
    if usesDefaults { definition.addDefaults() }
    let entry = try Registry.fromEnvironment().create(definition, baseFolder: basefolder)
    Terminal.line("the machine \"\(entry.name)\" is made")
    Terminal.line("UUID: \(definition.uuid.uuidString.lowercased())")
    Terminal.line("Definition: \(entry.folder.definition)")
  }
}

struct RegisterVM: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "registervm", abstract: "Makes a machine known whose folder exists.")
  @Argument(help: "Its definition.toml, or its folder.", completion: .file(extensions: ["toml"])) var file: String

  func run() throws {
    let entry = try Registry.fromEnvironment().register(definitionFile: file)
    Terminal.line("the machine \"\(entry.name)\" is registered")
  }
}

struct UnregisterVM: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "unregistervm", abstract: "Forgets a machine.")
  @OptionGroup var machine: MachineArgument
  @Flag(help: "Deletes its definition, log and saved state. Disk images elsewhere stay.") var delete = false

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name)
    let place = registry.restingPlace(of: entry)
    for line in try registry.unregister(entry, delete: delete) { Terminal.error("note: \(line)") }
    Terminal.line(
      delete
        ? "the machine \"\(entry.name)\" is deleted"
        : "the machine \"\(entry.name)\" is unregistered; its folder is \(place)")
  }
}

struct List: ParsableCommand {
  enum Subject: String, ExpressibleByArgument, CaseIterable {
    case vms, runningvms, anchors
    case cpuProfiles = "cpu-profiles"
    case hostinfo
    case uartModes = "uart-modes"
    case ostypes, hdds, dvds, floppies, systemproperties
  }
  static let configuration = CommandConfiguration(abstract: "Lists machines, or what there is to choose from.")
  @Argument var subject: Subject
  @Option(help: "How to print it.") var format: OutputFormat?
  @Flag(name: [.customShort("l"), .long], help: "Says more of each machine.") var long = false
  @Flag(name: [.customShort("s"), .long], help: "As VBoxManage has it; lists are sorted.") var sorted = false

  private struct Row: Encodable {
    var name: String
    var uuid: String
    var state: String
    var memoryMB: Int
    var cpus: Int
    var consolePorts: [String: Int]
    /// Why it is inaccessible.
    var reason: String?
  }

  func run() throws {
    switch subject {
    case .vms: try listMachines(all: true)
    case .runningvms: try listMachines(all: false)
    case .anchors: try listAnchors()
    case .cpuProfiles: try listNames(HardwareLimits.cpuProfiles)
    case .uartModes: try listNames(MachineConfiguration.UartMode.forms.components(separatedBy: " | "))
    case .ostypes: try listFacts([("ID", "Other"), ("Description", "Any system: every guest gets the same board")])
    case .hdds: try listMedia(.hdd)
    case .dvds: try listMedia(.dvddrive)
    case .floppies: try listMedia(.fdd)
    case .systemproperties: try listFacts(try Registry.fromEnvironment().properties)
    case .hostinfo: try listFacts(Host.facts)
    }
  }

  private func listFacts(_ facts: [(String, String)]) throws {
    if format == .json {
      try Terminal.json(Dictionary(facts, uniquingKeysWith: { first, _ in first }))
    } else {
      for fact in facts { Terminal.line("\(fact.0): \(fact.1)") }
    }
  }

  /// The NAT processes that carry on connections of machines that have gone to other hosts.
  private func listAnchors() throws {
    struct Row: Encodable {
      var name: String
      var anchor: AnchorStatus
    }
    let rows = try Registry.fromEnvironment().list().entries.flatMap { entry in
      AnchorFile.list(entry.folder).map { Row(name: entry.name, anchor: $0.status) }
    }
    if format == .json { return try Terminal.json(rows) }
    for row in rows {
      let flows = row.anchor.report.map { "\($0.count) flows" } ?? "flows"
      Terminal.line(
        "\"\(row.name)\" network card \(row.anchor.card): \(flows) for the machine at \(row.anchor.towards), process "
          + "\(row.anchor.process)")
    }
  }

  private struct MediumRow: Encodable {
    var location: String
    var usedBy: [String]
    var state: String
  }

  /// The images that machines have.
  private func listMedia(_ kind: MachineConfiguration.Attachment.Kind) throws {
    var users: [String: [String]] = [:]
    for entry in try Registry.fromEnvironment().list().entries {
      for attachment in entry.definition.hardware.storageControllers.flatMap(\.attachments)
      where attachment.kind == kind {
        if let path = attachment.medium { users[path, default: []].append(entry.name) }
      }
    }
    let rows = users.sorted { $0.key < $1.key }.map { path, names in
      MediumRow(
        location: path, usedBy: names,
        state: FileManager.default.fileExists(atPath: path) ? "created" : "inaccessible")
    }
    if format == .json { return try Terminal.json(rows) }
    for row in rows {
      Terminal.line("Location: \(row.location)")
      Terminal.line("State: \(row.state)")
      Terminal.line("In use by: \(row.usedBy.joined(separator: ", "))\n")
    }
  }

  private func listNames(_ names: [String]) throws {
    if format == .json { return try Terminal.json(names) }
    for name in names { Terminal.line(name) }
  }

  private func listMachines(all: Bool) throws {
    let list = try Registry.fromEnvironment().list()
    var rows: [Row] = []
    for entry in list.entries {
      let status = try entry.folder.currentStatus()
      guard all || status.state.isLive else { continue }
      let ports = status.consolePorts.map { (ConsoleName.key($0.key), $0.value) }
      rows.append(
        Row(
          name: entry.name, uuid: entry.definition.uuid.uuidString.lowercased(), state: status.state.rawValue,
          memoryMB: entry.definition.hardware.memoryMB, cpus: entry.definition.hardware.cpus,
          consolePorts: Dictionary(uniqueKeysWithValues: ports)))
    }
    if all {
      rows += list.inaccessible.map {
        Row(
          name: $0.name, uuid: $0.uuid ?? "", state: "inaccessible", memoryMB: 0, cpus: 0, consolePorts: [:],
          reason: $0.reason)
      }
    }
    if format == .json {
      try Terminal.json(rows)
    } else if format == .table || long {
      Terminal.table(
        ["NAME", "STATE", "MEMORY", "CPUS", "CONSOLE", "UUID"],
        rows.map { row in
          let ports = row.consolePorts.sorted { $0.key < $1.key }.map { String($0.value) }.joined(separator: ",")
          if row.reason != nil { return [row.name, row.state, "-", "-", "-", row.uuid.isEmpty ? "-" : row.uuid] }
          return [row.name, row.state, "\(row.memoryMB) MB", String(row.cpus), ports.isEmpty ? "-" : ports, row.uuid]
        })
    } else {
      for row in rows {
        let isRead = row.reason == nil
        Terminal.line(
          "\"\(isRead ? row.name : "<inaccessible>")\" {\(isRead || !row.uuid.isEmpty ? row.uuid : row.name)}")
      }
    }
    for problem in list.inaccessible { Terminal.error("vmctl: \"\(problem.name)\" is inaccessible: \(problem.reason)") }
  }
}
