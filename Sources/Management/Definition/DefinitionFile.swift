import Foundation
import Machine
import TOMLKit

/// A definition as its file has it. Every key may be missing but the name and the UUID.
struct DefinitionFile: Codable {
  var name: String
  var uuid: String
  var description: String?
  var hardware: Hardware?
  var teleporter: Teleporter?

  struct Hardware: Codable {
    var memory: Int?
    var vram: Int?
    var cpus: Int?
    var cpuProfile: String?
    var accelerator: String?
    var firmware: String?
    var bootOrder: [String]?
    var kernel: String?
    var initrd: String?
    var append: String?
    var rtcUseUTC: Bool?
    var hpet: Bool?
    var debugPorts: Bool?
    var cpuid: [CPUID]?
    var uart: [Uart]?
    var storage: [Storage]?

    enum CodingKeys: String, CodingKey {
      case memory, vram, cpus, accelerator, firmware, kernel, initrd, append, hpet, cpuid, uart, storage
      case cpuProfile = "cpu-profile"
      case bootOrder = "boot-order"
      case rtcUseUTC = "rtc-use-utc"
      case debugPorts = "debug-ports"
    }
  }

  struct CPUID: Codable {
    var leaf: Int
    var subleaf: Int?
    var registers: [Int]?
    var remove: Bool?
  }

  struct Uart: Codable {
    var slot: Int
    var ioBase: Int
    var irq: Int
    var mode: String?

    enum CodingKeys: String, CodingKey {
      case slot, irq, mode
      case ioBase = "io-base"
    }
  }

  struct Storage: Codable {
    var name: String
    var bus: String
    var attachment: [Attachment]?
  }

  struct Attachment: Codable {
    var port: Int
    var device: Int
    var type: String
    var medium: String?
    var mode: String?
    var format: String?
  }

  struct Teleporter: Codable {
    var enabled: Bool?
    var port: Int?
    var address: String?
    var password: String?
    var passwordFile: String?

    enum CodingKeys: String, CodingKey {
      case enabled, port, address, password
      case passwordFile = "password-file"
    }
  }
}

extension VMDefinition {
  /// Reads the text of a definition file.
  /// - Throws: `ManagementError` with "file:line: what is wrong and what is allowed".
  public init(toml text: String, file: String, checkingHost: Bool = true) throws {
    do throws(TOMLSyntax.Failure) {
      try TOMLSyntax.check(text)
    } catch {
      throw ManagementError("\(file):\(error.line): this is no TOML: \(error.message)")
    }
    let table: TOMLTable
    do {
      table = try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      throw ManagementError(
        "\(file):\(error.source.begin.line): \(ManagementError.line(for: error.description))",
        remedy: "correct the line")
    }
    let lines = TOMLLines(text)
    func fail(_ problem: DefinitionProblem) -> ManagementError {
      ManagementError("\(file):\(lines.line(of: problem.path)): \(problem.message)")
    }
    if let problem = Self.problem(in: table, DefinitionSchema.root, path: []) { throw fail(problem) }
    let contents: DefinitionFile
    do {
      contents = try TOMLDecoder().decode(DefinitionFile.self, from: table)
    } catch DecodingError.keyNotFound(let key, let context) {
      let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
      let place = path.isEmpty ? "" : " in \(path.joined(separator: "."))"
      throw fail(DefinitionProblem(path: path, message: "the key \"\(key.stringValue)\" is missing\(place)"))
    } catch {
      throw ManagementError("\(file):1: \(ManagementError.line(for: error))")
    }
    guard let uuid = UUID(uuidString: contents.uuid) else {
      throw fail(DefinitionProblem(path: ["uuid"], message: "\"\(contents.uuid)\" is no UUID"))
    }
    do {
      try Registry.checkName(contents.name)
    } catch {
      throw fail(DefinitionProblem(path: ["name"], message: ManagementError.line(for: error)))
    }
    self.init(name: contents.name, uuid: uuid)
    description = contents.description ?? ""
    if let hardware = contents.hardware {
      do throws(DefinitionFailure) {
        try self.hardware.apply(hardware)
      } catch {
        throw fail(error.problem)
      }
    }
    if let settings = contents.teleporter {
      teleporter.enabled = settings.enabled ?? false
      teleporter.port = settings.port ?? 0
      teleporter.address = settings.address
      teleporter.password = settings.password
      teleporter.passwordFile = settings.passwordFile
    }
    if checkingHost, let problem = HardwareLimits.problems(self.hardware).first { throw fail(problem) }
  }

  /// The first thing in `value` that the schema does not allow.
  private static func problem(
    in value: any TOMLValueConvertible, _ schema: DefinitionSchema, path: [String]
  ) -> DefinitionProblem? {
    let name = path.last { Int($0) == nil } ?? ""
    let wrong = DefinitionProblem(path: path, message: "\"\(name)\" must be \(schema.expectation)")
    switch schema {
    case .text: return value.string == nil ? wrong : nil
    case .choice(let allowed): return value.string.map(allowed.contains) == true ? nil : wrong
    case .boolean: return value.type == .bool ? nil : wrong
    case .integer(let range): return value.type == .int && value.int.map(range.contains) == true ? nil : wrong
    case .list(let element):
      guard let array = value.array else { return wrong }
      for (index, item) in array.enumerated() {
        if let problem = problem(in: item, element, path: path + [String(index)]) { return problem }
      }
      return nil
    case .table(let keys):
      guard let table = value.table else { return wrong }
      for key in table.keys.sorted() {
        guard let schema = keys.first(where: { $0.key == key })?.value else {
          let place = path.isEmpty ? "" : " in \(path.filter { Int($0) == nil }.joined(separator: "."))"
          let allowed = keys.map(\.key).joined(separator: ", ")
          return DefinitionProblem(
            path: path + [key], message: "unknown key \"\(key)\"\(place); allowed are \(allowed)")
        }
        if let item = table[key], let problem = problem(in: item, schema, path: path + [key]) { return problem }
      }
      return nil
    }
  }

  /// The text of a definition file.
  public func toml() throws -> String {
    let contents = DefinitionFile(
      name: name, uuid: uuid.uuidString.lowercased(), description: description.isEmpty ? nil : description,
      hardware: hardware.fileForm,
      teleporter: DefinitionFile.Teleporter(
        enabled: teleporter.enabled, port: teleporter.port, address: teleporter.address, password: teleporter.password,
        passwordFile: teleporter.passwordFile))
    let encoder = TOMLEncoder(options: [.allowLiteralStrings, .allowUnicodeStrings, .allowHexadecimalIntegers])
    let text: String = try encoder.encode(contents)
    return "# A vmctl machine. Change it with vmctl modifyvm, or here while the machine is off.\n" + text + "\n"
  }
}

/// A value that the schema let pass and the hardware does not take.
struct DefinitionFailure: Error {
  var problem: DefinitionProblem
}

extension MachineConfiguration {
  fileprivate mutating func apply(_ file: DefinitionFile.Hardware) throws(DefinitionFailure) {
    memoryMB = file.memory ?? memoryMB
    vramMB = file.vram ?? vramMB
    cpus = file.cpus ?? cpus
    cpuProfile = file.cpuProfile ?? cpuProfile
    accelerator = file.accelerator.flatMap(Accelerator.init) ?? accelerator
    firmware = file.firmware
    bootOrder = file.bootOrder.map { $0.compactMap(BootDevice.init) } ?? bootOrder
    kernel = file.kernel
    initrd = file.initrd
    append = file.append
    rtcUseUTC = file.rtcUseUTC ?? rtcUseUTC
    hpet = file.hpet ?? hpet
    debugPorts = file.debugPorts ?? debugPorts
    cpuidOverrides = (file.cpuid ?? []).map { entry in
      CPUIDOverride(
        leaf: UInt32(clamping: entry.leaf), subleaf: UInt32(clamping: entry.subleaf ?? 0),
        registers: entry.remove == true ? nil : entry.registers?.map { UInt32(clamping: $0) })
    }
    if let list = file.uart {
      uarts = []
      for (index, uart) in list.enumerated() {
        let mode: UartMode
        do {
          mode = try uart.mode.map { try UartMode(text: $0) } ?? .disconnected
        } catch {
          throw DefinitionFailure(
            problem: DefinitionProblem(
              path: ["hardware", "uart", String(index), "mode"], message: ManagementError.line(for: error)))
        }
        uarts.append(Uart(slot: uart.slot, ioBase: UInt16(clamping: uart.ioBase), irq: uart.irq, mode: mode))
      }
    }
    storageControllers = (file.storage ?? []).map { controller in
      StorageController(
        name: controller.name, bus: StorageController.Bus(rawValue: controller.bus) ?? .ide,
        attachments: (controller.attachment ?? []).map { attachment in
          Attachment(
            port: attachment.port, device: attachment.device, kind: Attachment.Kind(rawValue: attachment.type) ?? .hdd,
            medium: attachment.medium, mode: attachment.mode.flatMap(Attachment.Mode.init) ?? .normal,
            format: attachment.format.flatMap(Attachment.Format.init))
        })
    }
  }

  fileprivate var fileForm: DefinitionFile.Hardware {
    DefinitionFile.Hardware(
      memory: memoryMB, vram: vramMB, cpus: cpus, cpuProfile: cpuProfile, accelerator: accelerator.rawValue,
      firmware: firmware, bootOrder: bootOrder.map(\.rawValue), kernel: kernel, initrd: initrd, append: append,
      rtcUseUTC: rtcUseUTC, hpet: hpet, debugPorts: debugPorts,
      cpuid: cpuidOverrides.isEmpty ? nil : cpuidOverrides.map(\.fileForm),
      uart: uarts.map { DefinitionFile.Uart(slot: $0.slot, ioBase: Int($0.ioBase), irq: $0.irq, mode: $0.mode.text) },
      storage: storageControllers.isEmpty ? nil : storageControllers.map(\.fileForm))
  }
}

extension MachineConfiguration.CPUIDOverride {
  fileprivate var fileForm: DefinitionFile.CPUID {
    DefinitionFile.CPUID(
      leaf: Int(leaf), subleaf: Int(subleaf), registers: registers.map { $0.map(Int.init) },
      remove: registers == nil ? true : nil)
  }
}

extension MachineConfiguration.StorageController {
  fileprivate var fileForm: DefinitionFile.Storage {
    let list = attachments.map {
      DefinitionFile.Attachment(
        port: $0.port, device: $0.device, type: $0.kind.rawValue, medium: $0.medium, mode: $0.mode.rawValue,
        format: $0.format?.rawValue)
    }
    return DefinitionFile.Storage(name: name, bus: bus.rawValue, attachment: list.isEmpty ? nil : list)
  }
}
