import Foundation
import Machine

/// File names as users give them.
public enum Paths {
  public static func absolute(_ path: String) -> String { Files.absolute(path) }

  /// A list of boot modules (`BootModule.list`), each an existing file, made absolute.
  public static func modules(_ text: String, none: String) throws -> String? {
    if text.isEmpty || text == none { return nil }
    let modules = try BootModule.list(text).map { module in
      guard let path = try file(module.path, none: "", what: "initrd") else {
        throw ManagementError("\"\(text)\" names a module without a file", remedy: "give it as \"FILE ARGUMENTS,FILE\"")
      }
      return BootModule(path: path, arguments: module.arguments)
    }
    return BootModule.text(modules)
  }

  /// An existing file, made absolute, so that the machine finds it from any folder. The word `none` and an empty text
  /// stand for no file.
  public static func file(_ path: String, none: String, what: String) throws -> String? {
    if path.isEmpty || path == none { return nil }
    let full = Files.absolute(path)
    guard access(full, R_OK) == 0 else { throw ManagementError.system("cannot read the \(what) \(full)") }
    return full
  }
}

/// What `modifyvm`, `storagectl` and `storageattach` do to the hardware.
extension MachineConfiguration {
  public mutating func setKernel(_ path: String?) {
    kernel = path
    if path == nil {
      initrd = nil
      append = nil
    }
  }

  public mutating func setAccelerator(_ name: String) throws {
    guard HardwareLimits.accelerators.contains(name), let value = Accelerator(rawValue: name) else {
      throw ManagementError(
        "no accelerator \"\(name)\"", remedy: "possible are \(HardwareLimits.accelerators.joined(separator: ", "))")
    }
    accelerator = value
  }

  /// - Parameter words: "off", or I/O base and interrupt.
  public mutating func setUart(_ slot: Int, words: [String]) throws {
    if words == ["off"] {
      uarts.removeAll { $0.slot == slot }
      return
    }
    guard words.count == 2, let base = Number.parse(words[0]), base <= 0xFFFF, let irq = Number.parse(words[1]),
      irq < 16
    else {
      throw ManagementError(
        "\"\(words.joined(separator: " "))\" is not possible for --uart\(slot)",
        remedy: "give off, or I/O base and interrupt, as 0x3f8 4")
    }
    if let index = uarts.firstIndex(where: { $0.slot == slot }) {
      uarts[index].ioBase = UInt16(base)
      uarts[index].irq = irq
    } else {
      uarts.append(Uart(slot: slot, ioBase: UInt16(base), irq: irq))
      uarts.sort { $0.slot < $1.slot }
    }
  }

  public mutating func setUartMode(_ slot: Int, words: [String]) throws {
    guard let index = uarts.firstIndex(where: { $0.slot == slot }) else {
      throw ManagementError("there is no uart \(slot)", remedy: "give it one with --uart\(slot) IOBASE IRQ")
    }
    uarts[index].mode = try UartMode(words: words)
  }

  /// - Parameter words: leaf, EAX, EBX, ECX, EDX.
  public mutating func setCPUID(_ words: [String]) throws {
    let numbers = words.dropFirst().compactMap { Number.parse($0) }
    guard words.count == 5, numbers.count == 4, numbers.allSatisfy({ $0 <= 0xFFFF_FFFF }) else {
      throw ManagementError(
        "--cpuid-set needs LEAF[:SUB] EAX EBX ECX EDX", remedy: "as in --cpuid-set 0x40000000 1 2 3 4")
    }
    let (leaf, subleaf) = try Self.leaf(words[0])
    cpuidOverrides.removeAll { $0.leaf == leaf && $0.subleaf == subleaf }
    cpuidOverrides.append(CPUIDOverride(leaf: leaf, subleaf: subleaf, registers: numbers.map { UInt32($0) }))
  }

  /// The leaf reads as zero from now on.
  public mutating func removeCPUID(_ text: String) throws {
    let (leaf, subleaf) = try Self.leaf(text)
    cpuidOverrides.removeAll { $0.leaf == leaf && $0.subleaf == subleaf }
    cpuidOverrides.append(CPUIDOverride(leaf: leaf, subleaf: subleaf, registers: nil))
  }

  private static func leaf(_ text: String) throws -> (UInt32, UInt32) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { Number.parse(String($0)) }
    guard (1...2).contains(parts.count), let leaf = parts[0], let subleaf = parts.count == 2 ? parts[1] : 0,
      leaf <= 0xFFFF_FFFF, subleaf <= 0xFFFF_FFFF
    else {
      throw ManagementError("\"\(text)\" is no CPUID leaf", remedy: "give LEAF or LEAF:SUB, as 7:0 or 0x80000001")
    }
    return (UInt32(leaf), UInt32(subleaf))
  }

  // MARK: Storage

  public mutating func addController(name: String, bus: StorageController.Bus) throws {
    guard !storageControllers.contains(where: { $0.name == name }) else {
      throw ManagementError("there is a storage controller \"\(name)\" already", remedy: "choose another --name")
    }
    guard !storageControllers.contains(where: { $0.bus == bus }) else {
      throw ManagementError(
        "the board has one \(bus.rawValue) controller, and it is there already", remedy: "attach media to it")
    }
    storageControllers.append(StorageController(name: name, bus: bus))
  }

  public mutating func removeController(name: String) throws {
    let index = try controller(name)
    storageControllers.remove(at: index)
  }

  private func controller(_ name: String) throws -> Int {
    guard let index = storageControllers.firstIndex(where: { $0.name == name }) else {
      let list = storageControllers.map { "\"\($0.name)\"" }.joined(separator: ", ")
      throw ManagementError(
        "there is no storage controller \"\(name)\"",
        remedy: list.isEmpty ? "add one with vmctl storagectl --name NAME --add ide" : "there is \(list)")
    }
    return index
  }

  /// - Parameter medium: nil: the place becomes free.
  public mutating func attach(_ attachment: Attachment?, controller name: String, port: Int, device: Int) throws {
    let index = try controller(name)
    guard (0...1).contains(port), (0...1).contains(device) else {
      throw ManagementError(
        "port \(port) device \(device) is not possible", remedy: "IDE has the ports 0 and 1 with the devices 0 and 1")
    }
    storageControllers[index].attachments.removeAll { $0.port == port && $0.device == device }
    if let attachment {
      storageControllers[index].attachments.append(attachment)
      storageControllers[index].attachments.sort { ($0.port, $0.device) < ($1.port, $1.device) }
    }
  }
}

/// Numbers as users write them: decimal, or hexadecimal after 0x.
public enum Number {
  public static func parse(_ text: String) -> Int? {
    if text.hasPrefix("0x") || text.hasPrefix("0X") {
      return Int(text.dropFirst(2), radix: 16).flatMap { $0 < 0 ? nil : $0 }
    }
    return Int(text).flatMap { $0 < 0 ? nil : $0 }
  }
}
